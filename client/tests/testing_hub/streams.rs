//! Streams: resumed, filtered, in parts, of several namespaces, and many of them.

use std::collections::BTreeMap;

use policyhub_client::internal::ActiveSet;
use policyhub_client::internal::now_seconds;
use policyhub_client::internal::pb::watch_active_response::Message;
use policyhub_client::internal::{
    ActiveSetOptions, Client, Cursor, Keys, SetChange, State, Watcher, WatcherOptions, pb,
};

use super::{assert_nothing_refused, hub, in_time, offered, options, policies, shown, watcher, works_until};

#[tokio::test]
async fn a_stream_that_was_cut_goes_on_without_a_loss() {
    let hub = hub().await;
    hub.activate([("a", "1")]).await.expect("activated");
    let mut watcher =
        Watcher::open(WatcherOptions { every_activation: true, ..options(&hub, "shop-1") }).expect("a watcher");
    offered(&mut watcher).await;
    watcher.accept().await;
    hub.disconnect();
    works_until(&mut watcher, |status| !status.is_connected).await;
    assert!(watcher.view().status().problem.contains("ended its streams"), "{:?}", watcher.view().status());
    let mut expected = Vec::new();
    for content in ["2", "3", "4"] {
        expected.push(hub.activate([("a", content)]).await.expect("activated"));
    }
    let mut seen = Vec::new();
    while seen.len() < expected.len() {
        seen.push(offered(&mut watcher).await.active.cursor);
        watcher.accept().await;
    }
    assert_eq!(seen, expected, "a snapshot would have left out those in between");
}

#[tokio::test]
async fn a_filtered_watch_is_proven_and_hears_of_nothing_else() {
    let hub = hub().await;
    hub.activate([("a", "1"), ("b", "1"), ("c", "1")]).await.expect("activated");
    let set = ActiveSetOptions { policies: policies(&["a", "c", "not-there-yet"]), ..Default::default() };
    let mut watcher = Watcher::open(WatcherOptions { set, ..options(&hub, "shop-1") }).expect("a watcher");
    assert_eq!(shown(&offered(&mut watcher).await.active), [("a", 1, "1"), ("c", 1, "1")]);
    watcher.accept().await;
    let other = hub.activate([("b", "2")]).await.expect("activated");
    works_until(&mut watcher, |status| status.newest == Some(other)).await;
    let status = watcher.view().status();
    assert_eq!((status.state, status.behind), (State::Ready, None), "a heartbeat proved it: {status:?}");
    hub.activate([("b", "3"), ("not-there-yet", "1")]).await.expect("activated");
    let third = offered(&mut watcher).await;
    assert_eq!(shown(&third.active), [("a", 1, "1"), ("c", 1, "1"), ("not-there-yet", 1, "1")]);
    watcher.accept().await;
    hub.deactivate(&["a", "b"]).await.expect("deactivated");
    assert_eq!(shown(&offered(&mut watcher).await.active), [("c", 1, "1"), ("not-there-yet", 1, "1")]);
    watcher.accept().await;
    assert_eq!(watcher.view().status().state, State::Ready);
    assert_nothing_refused(&hub);
}

#[tokio::test]
async fn what_is_too_large_for_a_message_comes_in_parts() {
    let hub = hub().await;
    let content = vec![b'x'; 900 * 1024];
    let large = ["a", "b", "c", "d", "e"].map(|id| (id, content.as_slice()));
    hub.activate(large).await.expect("activated");
    let client = Client::connect(&hub.endpoint(), None, None).await.expect("a connection");
    let mut set = ActiveSet::new(hub.namespace(), hub.keys(), ActiveSetOptions::default());
    let request = set.request(String::new(), BTreeMap::new(), None);
    let mut stream = client.watch_active(request).await.expect("a stream");
    let (mut snapshot_parts, mut activation_parts) = (0, 0);
    let activated = loop {
        let message = in_time("a message", stream.message()).await.expect("no error").expect("no end");
        match set.apply(&message, now_seconds()).expect("verified") {
            SetChange::SnapshotPart { .. } => snapshot_parts += 1,
            SetChange::Replaced { policies, .. } => {
                assert_eq!(policies.len(), large.len());
                hub.activate(large).await.expect("activated");
            }
            SetChange::ActivationPart { .. } => activation_parts += 1,
            SetChange::Activated { changed, .. } => break changed.len(),
            SetChange::Opened { .. } | SetChange::Alive { .. } => {}
            other => unreachable!("{other:?}"),
        }
    };
    assert_eq!((snapshot_parts, activation_parts, activated), (2, 2, 5), "two contents fit into a message");
}

#[tokio::test]
async fn one_stream_carries_several_namespaces() {
    let first = hub().await;
    let second = first.in_namespace("tenant-b").expect("a namespace");
    first.activate([("a", "of the first")]).await.expect("activated");
    second.activate([("a", "of the second"), ("b", "1")]).await.expect("activated");
    let client = Client::connect(&first.endpoint(), None, None).await.expect("a connection");
    let mut sets: BTreeMap<String, ActiveSet> = [&first, &second]
        .map(|hub| {
            let set = ActiveSet::new(hub.namespace(), hub.keys(), ActiveSetOptions::default());
            (hub.namespace().name(), set)
        })
        .into();
    let named = sets.keys().cloned().chain(["namespaces/unknown".to_owned()]);
    let targets = named.map(|parent| pb::WatchTarget { parent, ..Default::default() }).collect();
    let request = pb::WatchActiveRequest { targets, ..Default::default() };
    let mut stream = client.watch_active(request).await.expect("a stream");
    let mut ended = None;
    let is_told = |sets: &BTreeMap<String, ActiveSet>| sets.values().all(|set| set.policies().count() > 0);
    in_time("a message about each namespace", async {
        while ended.is_none() || !is_told(&sets) {
            let message = stream.message().await.expect("no error").expect("no end");
            match (&message.message, sets.get_mut(&message.parent)) {
                (Some(Message::Ended(refusal)), None) => ended = Some((message.parent, refusal.reason.clone())),
                (Some(Message::Opened(_)), None) => {}
                (_, Some(set)) => drop(set.apply(&message, now_seconds()).expect("verified")),
                (other, None) => unreachable!("{other:?}"),
            }
        }
    })
    .await;
    assert_eq!(ended, Some(("namespaces/unknown".to_owned(), "NAMESPACE_NOT_FOUND".to_owned())));
    let counts: Vec<usize> = sets.values().map(|set| set.policies().count()).collect();
    assert_eq!(counts, [1, 2]);
}

#[tokio::test]
async fn fifty_watchers_hold_the_newest_set() {
    let hub = hub().await;
    hub.activate([("a", "1")]).await.expect("activated");
    let mut watchers: Vec<Watcher> =
        (0..50).map(|index| Watcher::open(options(&hub, &format!("shop-{index}"))).expect("a watcher")).collect();
    for (content, version) in [("1", 1), ("2", 2)] {
        if version > 1 {
            hub.activate([("a", content)]).await.expect("activated");
        }
        let all = watchers.iter_mut().map(|watcher| async move {
            let update = offered(watcher).await;
            watcher.accept().await;
            shown(&update.active) == [("a", version, content)]
        });
        let taken = futures_util::future::join_all(all).await;
        assert!(taken.iter().all(|is_newest| *is_newest), "{taken:?}");
    }
    let newest = hub.cursor();
    let ids: std::collections::BTreeSet<String> = hub
        .reports()
        .into_iter()
        .filter(|report| report.cursor == newest && report.is_applied())
        .map(|report| report.subscriber_id)
        .collect();
    assert_eq!(ids.len(), 50);
}

#[tokio::test]
async fn a_hub_whose_keys_are_learned_is_followed() {
    let hub = hub().await;
    hub.activate([("a", "1")]).await.expect("activated");
    let mut learning = Watcher::open(WatcherOptions { keys: Keys::Learned, ..options(&hub, "") }).expect("a watcher");
    assert_eq!(shown(&offered(&mut learning).await.active), [("a", 1, "1")]);
    let stranger = super::hub().await;
    let keys = Keys::Pinned(stranger.keys());
    let mut pinned = Watcher::open(WatcherOptions { keys, ..options(&hub, "") }).expect("a watcher");
    works_until(&mut pinned, |status| status.state == State::Rejected).await;
    assert_eq!(pinned.view().active(), None, "the keys of another hub verify nothing of this one");
}

#[tokio::test]
async fn a_resume_point_that_the_log_does_not_have_is_gone() {
    let hub = hub().await;
    let at = hub.activate([("a", "1")]).await.expect("activated");
    let client = Client::connect(&hub.endpoint(), None, None).await.expect("a connection");
    let target = |epoch, revision, fingerprint| pb::WatchTarget {
        parent: hub.namespace().name(),
        resume: Some(pb::Cursor { epoch, revision, fingerprint }),
        ..Default::default()
    };
    for gone in [target(1, 99, 0), target(7, at.revision, 0), target(1, at.revision, 1), target(1, i64::MAX, 0)] {
        let request = pb::WatchActiveRequest { targets: vec![gone.clone()], ..Default::default() };
        let error = client.watch_active(request).await.expect_err("refused");
        assert_eq!(
            (error.code(), error.reason()),
            (policyhub_client::Code::OutOfRange, "RESUME_POINT_GONE"),
            "{gone:?}"
        );
    }
    let Cursor { epoch, revision } = at;
    let request = pb::WatchActiveRequest { targets: vec![target(epoch, revision, 0)], ..Default::default() };
    client.watch_active(request).await.expect("a stream from a cursor that is there");
}

#[tokio::test]
async fn contents_are_left_out_for_who_wants_none() {
    let hub = hub().await;
    hub.activate([("a", "1")]).await.expect("activated");
    let set = ActiveSetOptions { metadata_only: true, latest: true, ..Default::default() };
    let mut bare = Watcher::open(WatcherOptions { set, ..options(&hub, "") }).expect("a watcher");
    let mut full = watcher(&hub);
    let contents = [&mut bare, &mut full].map(|watcher| async move {
        let active = offered(watcher).await.active;
        active.get("a").and_then(|policy| policy.content.clone())
    });
    let [bare, full] = contents;
    assert_eq!((bare.await, full.await), (None, Some("1".into())));
}
