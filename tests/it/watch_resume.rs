//! Resuming at revision r: the stream delivers r+1 and everything after it, once, in order; or it is refused at once.

use policyhub::client::pb::watch_active_response::Message;
use policyhub::client::{ActiveSetOptions, Client, Cursor, SetChange, WatchOptions, pb, watch};
use tonic::Code;

use crate::harness::calls::{activate, draft, publish};
use crate::harness::watching::{self, LIVELY, everything, held, in_force, read_to, resume};
use crate::harness::{Hub, on_both_databases};

const SMALLEST_RING: &[&str] =
    &["--watch-ring-events", "16", "--heartbeat-interval-ms", "100", "--poll-interval-ms", "50"];

/// Returns the revisions of the activations of a log.
async fn activations(client: &Client) -> Vec<i64> {
    let log = watching::log(client).await;
    let places: Vec<i64> = log.iter().map(|event| event.cursor.expect("a cursor").revision).collect();
    assert_eq!(places, (1..=i64::try_from(places.len()).expect("small")).collect::<Vec<_>>(), "the log has a gap");
    log.iter().filter(|event| !event.changes.is_empty()).map(|event| event.cursor.expect("a cursor").revision).collect()
}

/// Activates two versions alternately, with drafts between the activations.
async fn busy(client: &Client, rounds: i64) {
    for round in 0..rounds {
        activate(client, "p", 1 + round % 2).await;
        if round % 3 == 0 {
            draft(client, "other", "a: 1").await;
        }
    }
}

async fn two_versions(client: &Client) {
    publish(client, "p", "a: 1").await;
    publish(client, "p", "a: 2").await;
}

fn after(activations: &[i64], revision: i64) -> Vec<i64> {
    activations.iter().copied().filter(|place| *place > revision).collect()
}

/// Opens a stream at every revision around the head and checks what each of them gets, also of later events.
async fn streams_around_the_head(hub: &Hub) {
    let client = hub.client().await;
    let before = watching::head(&client).await;
    let mut streams = Vec::new();
    for revision in (before - 12).max(0)..=before + 4 {
        streams.push((revision, resume(&client, revision).await));
    }
    busy(&client, 9).await;
    let head = watching::head(&client).await;
    let all = activations(&client).await;
    for (revision, mut watch) in streams {
        assert_eq!(read_to(&mut watch, head).await, after(&all, revision), "resumed at {revision}, head was {before}");
    }
}

on_both_databases! {
    with LIVELY;

    async fn a_stream_resumed_anywhere_gets_exactly_the_rest(hub: Hub) {
        let client = hub.client().await;
        two_versions(&client).await;
        busy(&client, 10).await;
        // Nobody has watched yet: everything before the head comes from the database.
        streams_around_the_head(&hub).await;
        // Now the ring has the newest events.
        streams_around_the_head(&hub).await;
        // A new process has an empty ring again.
        let hub = hub.restart_in_order().await;
        streams_around_the_head(&hub).await;
    }

    async fn events_that_moved_nothing_are_passed_over(hub: Hub) {
        let client = hub.client().await;
        two_versions(&client).await;
        let revision = activate(&client, "p", 1).await;
        draft(&client, "other", "a: 1").await;
        draft(&client, "other", "a: 2").await;
        let head = watching::head(&client).await;
        for from in 0..=head {
            let mut watch = resume(&client, from).await;
            assert_eq!(read_to(&mut watch, head).await, after(&[revision], from), "resumed at {from} of {head}");
        }
    }

    async fn a_stream_ahead_of_the_head_waits(hub: Hub) {
        let client = hub.client().await;
        two_versions(&client).await;
        let head = watching::head(&client).await;
        let mut ahead = resume(&client, head + 2).await;
        // The stream is alive and has no change.
        assert!(matches!(watching::next(&mut ahead).await.1, SetChange::Alive { .. }));
        let places = [activate(&client, "p", 1).await, activate(&client, "p", 2).await, activate(&client, "p", 1).await];
        assert_eq!(places, [head + 1, head + 2, head + 3]);
        assert_eq!(read_to(&mut ahead, head + 3).await, [head + 3]);
    }

    async fn another_epoch_is_refused_at_once(hub: Hub) {
        let client = hub.client().await;
        for epoch in [0, 2, i64::MAX] {
            let error = watching::raw(&client, Some(pb::Cursor { epoch, revision: 1, ..Default::default() })).await.expect_err("refused");
            assert_eq!((error.code(), error.reason()), (Code::OutOfRange, "RESUME_POINT_GONE"), "epoch {epoch}");
            assert_eq!(error.metadata().get("current_epoch").map(String::as_str), Some("1"));
        }
        let error = watching::raw(&client, Some(pb::Cursor { epoch: 1, revision: -1, ..Default::default() })).await.expect_err("refused");
        assert_eq!(error.code(), Code::InvalidArgument);
    }
}

on_both_databases! {
    with SMALLEST_RING;

    async fn far_behind_a_small_ring_nothing_is_lost(hub: Hub) {
        let client = hub.client().await;
        two_versions(&client).await;
        // The ring fills while somebody watches.
        let mut level = watching::open(&client).await;
        watching::change(&mut level).await;
        busy(&client, 60).await;
        let all = activations(&client).await;
        let head = watching::head(&client).await;
        assert_eq!(all.len(), 60);
        assert_eq!(read_to(&mut level, head).await, all);

        // From the start, and from each revision around the oldest one in the ring.
        let floor = all[60 - 16];
        for from in [vec![0, 1], (floor - 4..floor + 4).collect()].concat() {
            let mut watch = resume(&client, from).await;
            assert_eq!(read_to(&mut watch, head).await, after(&all, from), "resumed at {from}");
        }
    }

    async fn in_mode_latest_the_newest_state_is_enough(hub: Hub) {
        let client = hub.client().await;
        two_versions(&client).await;
        let mut level = watching::open(&client).await;
        watching::change(&mut level).await;
        busy(&client, 60).await;
        let head = watching::head(&client).await;
        read_to(&mut level, head).await;
        let set = ActiveSetOptions { latest: true, ..Default::default() };
        let resume = Some(Cursor { epoch: 1, revision: 0 });
        let options = WatchOptions { set, resume, ..everything(&client).await };
        let mut latest = watch(&client, options).await.expect("a watch");
        let (message, _) = watching::next(&mut latest).await;
        assert!(matches!(message.message, Some(Message::Snapshot(part)) if part.complete), "not the newest state");
        assert_eq!(latest.set().cursor().map(|cursor| cursor.revision), Some(head));
        assert_eq!(held(&latest), in_force(&client).await);
        let revision = activate(&client, "p", 1).await;
        assert_eq!(watching::activation(&mut latest).await.0, revision);
    }
}

on_both_databases! {
    /// Given a stream that ended with a killed server, it resumes at the next process at its cursor.
    async fn a_crash_costs_a_watcher_nothing(database: Database) {
        let mut hub = Hub::start_with(database, LIVELY).await;
        let client = hub.client().await;
        two_versions(&client).await;
        let mut watch = watching::open(&client).await;
        let mut seen = Vec::new();
        for round in 0..3 {
            busy(&client_of(&hub).await, 5 + round).await;
            if round == 1 {
                let head = watching::head(&client_of(&hub).await).await;
                seen.extend(read_to(&mut watch, head).await);
            }
            let place = watch.set().cursor();
            hub.kill().await;
            hub = hub.restart().await;
            let from = place.map_or(0, |cursor| cursor.revision);
            watch = resume(&client_of(&hub).await, from).await;
        }
        let client = client_of(&hub).await;
        let head = watching::head(&client).await;
        seen.extend(read_to(&mut watch, head).await);
        assert_eq!(seen, activations(&client).await);
    }
}

async fn client_of(hub: &Hub) -> Client {
    hub.client().await
}

on_both_databases! {
    with LIVELY;

    /// Given a server that stops, each stream is asked to reconnect, wherever it is.
    async fn every_stream_is_asked_to_come_back(hub: Hub) {
        let client = hub.client().await;
        two_versions(&client).await;
        activate(&client, "p", 1).await;
        let head = watching::head(&client).await;
        let place = |revision| Some(pb::Cursor { epoch: 1, revision, ..Default::default() });
        let mut streams = Vec::new();
        for resume in [None, place(head), place(head + 5)] {
            let mut stream = watching::raw(&client, resume).await.expect("a stream");
            stream.message().await.expect("a stream").expect("a first message");
            streams.push(stream);
        }
        hub.signal("TERM");
        for mut stream in streams {
            let last = loop {
                match stream.message().await.expect("a stream").expect("a last message").message {
                    Some(Message::Reconnect(last)) => break last,
                    other => assert!(matches!(other, Some(Message::Heartbeat(_))), "{other:?}"),
                }
            };
            assert_eq!(last.reason(), pb::ReconnectReason::Draining);
        }
    }
}
