//! A watcher before a server that does as it is told: what is offered, what is kept, what is never taken.

use std::path::Path;

use super::*;
use crate::active_set::tests::signed_messages::{MessageSigner, activation_message, message, namespace, policy};
use crate::target::Target;
use crate::token::TokenSource;
use crate::watch::tests::{ScriptedItem, ScriptedServer, listen};
use policyhub_core::api::pb;
use policyhub_core::api::pb::watch_active_response::Message;

mod again;
mod reports;

/// Returns a server whose streams are these, one after the other.
fn script(streams: Vec<Vec<ScriptedItem>>) -> ScriptedServer {
    let script = ScriptedServer::default();
    script.streams.lock().expect("lock").extend(streams);
    script
}

fn options(endpoint: &str, signer: &MessageSigner, directory: Option<&Path>) -> WatcherOptions {
    WatcherOptions {
        source: Target::new(endpoint).with_token(TokenSource::Text("secret".to_owned())).into(),
        namespace: namespace(),
        keys: Keys::Pinned(signer.keys()),
        set: ActiveSetOptions::default(),
        every_activation: true,
        subscriber_id: "shop-1".to_owned(),
        attributes: BTreeMap::new(),
        directory: directory.map(Path::to_owned),
    }
}

fn nowhere() -> &'static str {
    "http://127.0.0.1:1"
}

fn versions(active: &Active) -> Vec<(String, i64)> {
    active.policies.values().map(|policy| (policy.policy.to_string(), policy.version)).collect()
}

fn reports(script: &ScriptedServer) -> Vec<(i64, pb::ApplyStatus, String)> {
    let reported = script.reported.lock().expect("lock");
    let revision = |report: &pb::ReportStatusRequest| report.cursor.map_or(0, |cursor| cursor.revision);
    reported.iter().map(|report| (revision(report), report.status(), report.reason.clone())).collect()
}

fn resumes(script: &ScriptedServer) -> Vec<Option<i64>> {
    let asked = script.asked.lock().expect("lock");
    asked.iter().map(|(_, request)| request.targets[0].resume.map(|cursor| cursor.revision)).collect()
}

/// Longest wait for what must come.
const DEADLINE: Duration = Duration::from_secs(30);

async fn offered(watcher: &mut Watcher) -> Update {
    let status = watcher.view();
    let update = tokio::time::timeout(DEADLINE, watcher.next()).await;
    update.unwrap_or_else(|_| panic!("nothing is offered: {:?}", status.status()))
}

/// Checks that nothing is offered while the server has nothing new: the watcher is given time without a clock.
async fn offers_nothing(watcher: &mut Watcher, until: impl Fn(&Status) -> bool) {
    let mut view = watcher.view();
    tokio::select! {
        update = watcher.next() => panic!("offered {update:?}"),
        () = async { while !until(&view.status()) { assert!(view.changed().await); } } => {}
    }
}

#[tokio::test]
async fn a_set_is_kept_over_a_restart_and_nothing_older_is_taken_after_it() {
    let (signer, directory) = (MessageSigner::new(), tempfile::tempdir().expect("a directory"));
    let first = signer.last_part(vec![signer.active("a", 1, 3)], 5, &[("a", 1, 3)]);
    let server = script(vec![vec![
        Ok(first.clone()),
        Ok(activation_message(signer.activation_after(&[("a", 1, 3)], 6, &[("a", 2, 1)]))),
    ]]);
    let endpoint = listen(server.clone()).await;
    let mut watcher = Watcher::open(options(&endpoint, &signer, Some(directory.path()))).expect("open");
    assert_eq!(watcher.view().status().state, State::Stale, "nothing is in force yet");
    for expected in [1, 2] {
        let update = offered(&mut watcher).await;
        assert_eq!((versions(&update.active), update.from_disk), (vec![("a".to_owned(), expected)], false));
        assert_eq!(watcher.view().active().is_some(), expected == 2, "only what was accepted is in force");
        watcher.accept().await;
    }
    assert_eq!(
        reports(&server),
        [(5, pb::ApplyStatus::Applied, String::new()), (6, pb::ApplyStatus::Applied, String::new())]
    );
    let busy = Watcher::open(options(nowhere(), &signer, Some(directory.path()))).expect_err("it is taken");
    assert_eq!(busy.kind(), io::ErrorKind::ResourceBusy);
    drop(watcher);

    // A restart without a server, then before one that replays.
    let mut watcher = Watcher::open(options(nowhere(), &signer, Some(directory.path()))).expect("open");
    let update = offered(&mut watcher).await;
    assert_eq!((versions(&update.active), update.from_disk), (vec![("a".to_owned(), 2)], true));
    assert_eq!(update.active.get("a").and_then(|policy| policy.content.clone()), Some(r#"{"a":2}"#.into()));
    drop(watcher);
    let replaying = script(vec![vec![Ok(first.clone())], vec![Ok(first)]]);
    let endpoint = listen(replaying.clone()).await;
    let mut watcher = Watcher::open(options(&endpoint, &signer, Some(directory.path()))).expect("open");
    offered(&mut watcher).await;
    watcher.accept().await;
    offers_nothing(&mut watcher, |status| status.state == State::Diverged).await;
    assert_eq!(versions(&watcher.view().active().expect("in force")), [("a".to_owned(), 2)]);
    assert_eq!(resumes(&replaying).first(), Some(&Some(6)), "it goes on where it was");
}

#[tokio::test]
async fn what_the_runtime_can_not_use_never_gets_in_force_and_is_offered_again_after_a_restart() {
    let (signer, directory) = (MessageSigner::new(), tempfile::tempdir().expect("a directory"));
    let first = signer.last_part(vec![signer.active("a", 1, 3)], 5, &[("a", 1, 3)]);
    let second = signer.last_part(vec![signer.active("a", 2, 6)], 8, &[("a", 2, 6)]);
    let again = signer.last_part(vec![signer.active("a", 2, 6)], 7, &[("a", 2, 6)]);
    let come_back = message(Message::Reconnect(pb::Reconnect::default()));
    let rejected = vec![
        Ok(first),
        Ok(activation_message(signer.activation_after(&[("a", 1, 3)], 6, &[("a", 2, 1)]))),
        Ok(come_back),
    ];
    let server = script(vec![rejected, vec![Ok(again)], vec![Ok(second)]]);
    let endpoint = listen(server.clone()).await;
    let mut watcher = Watcher::open(options(&endpoint, &signer, Some(directory.path()))).expect("open");
    offered(&mut watcher).await;
    watcher.accept().await;
    offered(&mut watcher).await;
    watcher.reject("too strict").await;
    let status = watcher.view().status();
    assert_eq!((status.state, status.problem.as_str()), (State::Rejected, "too strict"));
    assert_eq!(versions(&watcher.view().active().expect("in force")), [("a".to_owned(), 1)]);
    assert_eq!(reports(&server).last(), Some(&(6, pb::ApplyStatus::Rejected, "too strict".to_owned())));
    offers_nothing(&mut watcher, |status| status.newest.is_some_and(|newest| newest.revision == 7)).await;
    assert_eq!(watcher.view().status().state, State::Rejected, "it is the same set at a newer place");
    drop(watcher);

    let mut watcher = Watcher::open(options(&endpoint, &signer, Some(directory.path()))).expect("open");
    let update = offered(&mut watcher).await;
    assert_eq!((versions(&update.active), update.from_disk), (vec![("a".to_owned(), 1)], true));
    watcher.accept().await;
    let update = offered(&mut watcher).await;
    assert_eq!(versions(&update.active), [("a".to_owned(), 2)], "a newer build may be able to use it");
    assert_eq!(resumes(&server), [None, Some(6), None], "after a restart what was rejected comes by a snapshot");
}

#[tokio::test]
async fn a_saved_set_that_was_touched_is_not_used_and_is_written_anew() {
    let (signer, directory) = (MessageSigner::new(), tempfile::tempdir().expect("a directory"));
    let first = signer.last_part(vec![signer.active("a", 1, 3)], 5, &[("a", 1, 3)]);
    let endpoint = listen(script(vec![vec![Ok(first.clone())], vec![Ok(first)]])).await;
    let open = |endpoint: &str| Watcher::open(options(endpoint, &signer, Some(directory.path()))).expect("open");
    let mut watcher = open(&endpoint);
    offered(&mut watcher).await;
    watcher.accept().await;
    drop(watcher);
    let content =
        std::fs::read_dir(directory.path().join("contents")).expect("there").next().expect("one").expect("read");
    std::fs::write(content.path(), r#"{"a":7}"#).expect("written");

    let mut watcher = open(&endpoint);
    let status = watcher.view().status();
    assert!(status.in_force.is_none() && status.problem.contains("saved set is not used"), "{status:?}");
    assert_eq!(status.newest.map(|newest| newest.revision), Some(5), "but its place is remembered");
    let update = offered(&mut watcher).await;
    assert!(!update.from_disk);
    watcher.accept().await;
    drop(watcher);
    assert!(offered(&mut open(nowhere())).await.from_disk, "what rotted was replaced");
    let fewer = ActiveSetOptions { policies: [policy("b")].into(), ..Default::default() };
    let other = WatcherOptions { set: fewer, ..options(nowhere(), &signer, Some(directory.path())) };
    let status = Watcher::open(other).expect("open").view().status();
    assert!(status.problem.contains("of other policies"), "{status:?}");
    assert_eq!(status.newest.map(|newest| newest.revision), Some(5), "the log is the same one");
    assert!(offered(&mut open(nowhere())).await.from_disk, "what was kept for the filter before is still there");
    let namespace = NamespaceId::parse("namespace", "elsewhere").expect("an id");
    let elsewhere = WatcherOptions { namespace, ..options(nowhere(), &signer, Some(directory.path())) };
    let error = Watcher::open(elsewhere).expect_err("the directory is of another namespace");
    assert!(error.to_string().contains("take another directory"), "{error}");
    assert!(offered(&mut open(nowhere())).await.from_disk, "and still there");
    for broken in ["", "{", r#"{"format":9}"#] {
        std::fs::write(directory.path().join("active.json"), broken).expect("written");
        assert!(open(nowhere()).view().status().problem.contains("saved set is not used"), "{broken}");
    }
}

#[tokio::test]
async fn after_a_refusal_the_next_stream_begins_with_a_snapshot() {
    let signer = MessageSigner::new();
    let first = signer.last_part(vec![signer.active("a", 1, 3)], 5, &[("a", 1, 3)]);
    let second = signer.last_part(vec![signer.active("a", 2, 6)], 6, &[("a", 2, 6)]);
    let mut forged = signer.activation_after(&[("a", 1, 3)], 6, &[("a", 2, 1)]);
    forged.bundles[0].content = "forged".into();
    let server = script(vec![vec![Ok(first), Ok(activation_message(forged))], vec![Ok(second)]]);
    let endpoint = listen(server.clone()).await;
    let mut watcher = Watcher::open(options(&endpoint, &signer, None)).expect("open");
    offered(&mut watcher).await;
    watcher.accept().await;
    let update = offered(&mut watcher).await;
    assert_eq!(versions(&update.active), [("a".to_owned(), 2)]);
    assert_eq!(watcher.view().status().state, State::Rejected, "until it is accepted");
    let received = reports(&server);
    assert!(
        matches!(received.last(), Some((6, pb::ApplyStatus::Rejected, reason)) if reason.contains("manifest of a")),
        "{received:?}"
    );
    assert_eq!(resumes(&server), [None, None]);
}

#[tokio::test]
async fn who_stops_waiting_loses_nothing() {
    let signer = MessageSigner::new();
    let first = signer.last_part(vec![signer.active("a", 1, 3)], 5, &[("a", 1, 3)]);
    let moves: Vec<ScriptedItem> =
        (6..40).map(|at| Ok(activation_message(signer.activation_after(&[], at, &[("a", at - 4, at - 5)])))).collect();
    let endpoint = listen(script(vec![[vec![Ok(first)], moves].concat()])).await;
    let mut watcher = Watcher::open(options(&endpoint, &signer, None)).expect("open");
    let mut seen = Vec::new();
    while seen.last() != Some(&39) {
        tokio::select! {
            biased;
            update = watcher.next() => {
                seen.push(update.active.cursor.revision);
                watcher.accept().await;
            }
            () = tokio::task::yield_now() => {}
        }
    }
    assert_eq!(seen, (5..40).collect::<Vec<_>>());
}

/// Works on what was offered until a cursor was verified.
async fn works_until(watcher: &mut Watcher, revision: i64) {
    let mut view = watcher.view();
    let work = async {
        while view.status().newest.is_none_or(|newest| newest.revision < revision) {
            assert!(view.changed().await);
            assert_ne!(view.status().state, State::Ready, "a set was offered and not taken");
        }
    };
    tokio::time::timeout(DEADLINE, watcher.drive(work)).await.expect("it is verified while the runtime works");
}

fn behind(watcher: &Watcher) -> Option<i64> {
    watcher.view().status().behind.map(|behind| behind.revisions)
}

#[tokio::test]
async fn a_runtime_that_is_behind_is_offered_the_newest_alone() {
    let signer = MessageSigner::new();
    let first = signer.last_part(vec![signer.active("a", 1, 3)], 5, &[("a", 1, 3)]);
    let moves: Vec<ScriptedItem> =
        (6..40).map(|at| Ok(activation_message(signer.activation_after(&[], at, &[("a", at - 4, at - 5)])))).collect();
    for every_activation in [false, true] {
        let endpoint = listen(script(vec![[vec![Ok(first.clone())], moves.clone()].concat()])).await;
        let options = WatcherOptions { every_activation, ..options(&endpoint, &signer, None) };
        let mut watcher = Watcher::open(options).expect("open");
        let mut seen = Vec::new();
        while seen.last() != Some(&39) {
            let at = offered(&mut watcher).await.active.cursor.revision;
            assert!(behind(&watcher).is_some(), "it is not taken yet");
            if seen.is_empty() {
                // With every activation, no more than so many are verified ahead.
                works_until(&mut watcher, if every_activation { 12 } else { 39 }).await;
            }
            seen.push(at);
            watcher.accept().await;
        }
        assert_eq!(behind(&watcher), None);
        if every_activation {
            assert_eq!(seen, (5..40).collect::<Vec<_>>());
        } else {
            assert!(seen.len() <= 2, "{seen:?}");
        }
    }
}

#[tokio::test]
async fn what_came_meanwhile_is_compared_with_what_the_runtime_answered() {
    let signer = MessageSigner::new();
    let first = signer.last_part(vec![signer.active("a", 1, 3)], 5, &[("a", 1, 3)]);
    let moved = |at, to, from| Ok(activation_message(signer.activation_after(&[], at, &[("a", to, from)])));
    let back = vec![Ok(first.clone()), moved(6, 2, 1), moved(7, 3, 2), moved(8, 2, 3)];
    let endpoint = listen(script(vec![back])).await;
    let mut watcher = Watcher::open(options(&endpoint, &signer, None)).expect("open");
    offered(&mut watcher).await;
    watcher.accept().await;
    offered(&mut watcher).await;
    watcher.reject("not 2").await;
    offered(&mut watcher).await;
    works_until(&mut watcher, 8).await;
    watcher.accept().await;
    assert_eq!(behind(&watcher), Some(1), "2 is in force again, and was not taken");
    assert_eq!(versions(&offered(&mut watcher).await.active), [("a".to_owned(), 2)]);

    let come_back = || Ok(message(Message::Reconnect(pb::Reconnect::default())));
    let streams = vec![vec![Ok(first), come_back()], vec![moved(6, 2, 1), come_back()], vec![moved(7, 1, 2)]];
    let server = script(streams);
    let endpoint = listen(server.clone()).await;
    let newest_alone = WatcherOptions { every_activation: false, ..options(&endpoint, &signer, None) };
    let mut watcher = Watcher::open(newest_alone).expect("open");
    offered(&mut watcher).await;
    watcher.accept().await;
    offered(&mut watcher).await;
    works_until(&mut watcher, 7).await;
    watcher.reject("not 2").await;
    let status = watcher.view().status();
    assert_eq!(
        (status.in_force.map(|cursor| cursor.revision), status.behind),
        (Some(7), None),
        "1 is what it runs with"
    );
    assert_ne!(status.state, State::Rejected);
    assert_eq!(reports(&server).last(), Some(&(7, pb::ApplyStatus::Applied, String::new())));
}

#[test]
fn a_task_of_its_own_may_drive_it() {
    fn is_send<T: Send>(_: T) {}
    fn is_shared<T: Clone + Send + Sync + 'static>(_: T) {}
    let mut watcher = Watcher::open(options(nowhere(), &MessageSigner::new(), None)).expect("open");
    is_shared(watcher.view());
    is_send(async move {
        watcher.next().await;
        watcher.reject("no").await;
        watcher.accept().await;
    });
}

#[tokio::test]
async fn a_server_whose_clock_is_ahead_is_followed_and_proves_nothing() {
    let signer = MessageSigner::new();
    let mut first = signer.last_part(vec![signer.active("a", 1, 3)], 5, &[("a", 1, 3)]);
    if let Some(Message::Snapshot(snapshot)) = &mut first.message {
        snapshot.checkpoint = signer.checkpoint_at(now_seconds() + 3_600, 1, 5, &[("a", 1, 3)]);
    }
    let moved = activation_message(signer.activation_after(&[("a", 1, 3)], 6, &[("a", 2, 1)]));
    let server = script(vec![vec![Ok(first), Ok(moved)]]);
    let endpoint = listen(server.clone()).await;
    let mut watcher = Watcher::open(options(&endpoint, &signer, None)).expect("open");
    for expected in [1, 2] {
        assert_eq!(versions(&offered(&mut watcher).await.active), [("a".to_owned(), expected)]);
        watcher.accept().await;
    }
    let status = watcher.view().status();
    assert!(status.state == State::Stale && status.is_connected && status.is_stale, "{status:?}");
    let said = status.problem.strip_prefix("the server's clock is ").and_then(|rest| rest.split_once(" s ahead"));
    let ahead_seconds: i64 = said.expect(&status.problem).0.parse().expect(&status.problem);
    assert!((3_000..=3_600).contains(&ahead_seconds), "an hour, less what has passed since: {status:?}");
    assert_eq!(resumes(&server), [None], "one stream, not cut");
}
