//! Reports reach an honest server, whatever was answered before: no answer to a report is signed.

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::again::{first, moved, open};
use super::*;
use crate::active_set::tests::signed_messages::{SetInForce, heartbeat};
use policyhub_core::domain::event::Fingerprint;

fn refusal(reason: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, "policyhub", std::collections::HashMap::new());
    Status::with_error_details(Code::PermissionDenied, "shop-1 is another principal's", details)
}

fn come_back() -> ScriptedItem {
    Ok(message(Message::Reconnect(pb::Reconnect::default())))
}

/// Returns a heartbeat whose checkpoint is of now.
fn alive(signer: &MessageSigner, revision: i64, set: &[SetInForce<'_>]) -> ScriptedItem {
    Ok(heartbeat(revision, signer.checkpoint_at(now_seconds(), 1, revision, set)))
}

fn applied(revision: i64) -> (i64, pb::ApplyStatus, String) {
    (revision, pb::ApplyStatus::Applied, String::new())
}

/// Waits, as a runtime does that looks at each change of what is shown, and so stops waiting for `next` all the time.
async fn looks_at_each_change_until(watcher: &mut Watcher, holds: impl Fn() -> bool) {
    let mut view = watcher.view();
    let wait = async {
        while !holds() {
            tokio::select! {
                biased;
                is_there = view.changed() => assert!(is_there),
                update = watcher.next() => panic!("offered {update:?}"),
                () = tokio::task::yield_now() => {}
            }
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.expect("in time");
}

#[tokio::test]
async fn a_refused_id_is_left_out_of_one_stream_and_asked_for_again() {
    let signer = MessageSigner::new();
    let taken = Err(refusal("SUBSCRIBER_ID_TAKEN"));
    let server = script(vec![
        vec![first(&signer), taken],
        vec![moved(&signer, 6, 2, 1), come_back()],
        vec![alive(&signer, 6, &[("a", 2, 6)])],
    ]);
    let endpoint = listen(server.clone()).await;
    let mut watcher = open(&endpoint, &signer, false);
    offered(&mut watcher).await;
    watcher.accept().await;
    let update = offered(&mut watcher).await;
    assert_eq!(versions(&update.active), [("a".to_owned(), 2)]);
    watcher.accept().await;
    assert_eq!(reports(&server), [applied(5)], "nothing is reported without an id");
    looks_at_each_change_until(&mut watcher, || reports(&server).len() > 1).await;
    assert_eq!(reports(&server).last(), Some(&applied(6)));
    let asked = server.asked.lock().expect("lock");
    let ids: Vec<&str> = asked.iter().map(|(_, request)| request.subscriber_id.as_str()).collect();
    assert_eq!(ids, ["shop-1", "", "shop-1"]);
}

#[tokio::test]
async fn a_report_that_was_refused_is_sent_again_on_the_next_stream() {
    let signer = MessageSigner::new();
    let here = || alive(&signer, 5, &[("a", 1, 3)]);
    let server = script(vec![vec![first(&signer), here(), here(), come_back()], vec![here()]]);
    server.report_refusals.lock().expect("lock").push_back(refusal("PERMISSION_DENIED"));
    let endpoint = listen(server.clone()).await;
    let mut watcher = open(&endpoint, &signer, true);
    offered(&mut watcher).await;
    watcher.accept().await;
    looks_at_each_change_until(&mut watcher, || !reports(&server).is_empty()).await;
    assert_eq!(reports(&server), [applied(5)]);
    assert_eq!(server.asked.lock().expect("lock").len(), 2, "once for each stream");
    assert!(server.report_refusals.lock().expect("lock").is_empty(), "the first one was refused");
}

/// A server may lose a report after it took it, and an answer may be made up.
#[tokio::test]
async fn what_is_in_force_is_reported_once_on_each_stream() {
    let signer = MessageSigner::new();
    let here = || alive(&signer, 5, &[("a", 1, 3)]);
    let later = || alive(&signer, 9, &[("a", 1, 3)]);
    let server = script(vec![
        vec![first(&signer), here(), here(), come_back()],
        vec![here(), later(), come_back()],
        vec![later()],
    ]);
    let endpoint = listen(server.clone()).await;
    let mut watcher = open(&endpoint, &signer, true);
    offered(&mut watcher).await;
    watcher.accept().await;
    looks_at_each_change_until(&mut watcher, || reports(&server).len() == 3).await;
    assert_eq!(reports(&server), [applied(5), applied(5), applied(9)]);
}

/// What was rejected is said again too, and not that all is well.
#[tokio::test]
async fn a_rejection_is_reported_again() {
    let signer = MessageSigner::new();
    let later = alive(&signer, 9, &[("a", 2, 6)]);
    let server = script(vec![vec![first(&signer), moved(&signer, 6, 2, 1), come_back()], vec![later]]);
    let endpoint = listen(server.clone()).await;
    let mut watcher = open(&endpoint, &signer, true);
    offered(&mut watcher).await;
    watcher.accept().await;
    offered(&mut watcher).await;
    watcher.reject("too strict").await;
    looks_at_each_change_until(&mut watcher, || reports(&server).len() == 3).await;
    let rejected = (6, pb::ApplyStatus::Rejected, "too strict".to_owned());
    assert_eq!(reports(&server), [applied(5), rejected.clone(), rejected]);
}

/// The answer takes its time: the runtime that stops waiting meanwhile must not take the report back.
#[tokio::test]
async fn a_report_outlives_whoever_stops_waiting() {
    let signer = MessageSigner::new();
    let here = || alive(&signer, 5, &[("a", 1, 3)]);
    let server = script(vec![vec![first(&signer), come_back()], vec![here(), here(), here()]]);
    let endpoint = listen(server.clone()).await;
    let mut watcher = open(&endpoint, &signer, true);
    offered(&mut watcher).await;
    watcher.accept().await;
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    *server.report_gate.lock().expect("lock") = Some(Arc::clone(&gate));
    let begun = || server.reports_begun.load(std::sync::atomic::Ordering::Relaxed);
    looks_at_each_change_until(&mut watcher, || begun() == 2).await;
    let stamp = |watcher: &Watcher| watcher.published.send_modify(|_| {});
    // Views change, and the runtime looks at each change.
    for _ in 0..3 {
        stamp(&watcher);
        let mut view = watcher.view();
        tokio::select! {
            biased;
            update = watcher.next() => panic!("offered {update:?}"),
            _ = view.changed() => {}
            () = tokio::task::yield_now() => {}
        }
    }
    assert_eq!(reports(&server).len(), 1, "nobody was answered yet");
    gate.add_permits(1);
    looks_at_each_change_until(&mut watcher, || reports(&server).len() == 2).await;
    assert_eq!(begun(), 2, "it was sent once");
}

/// Nothing signs which event stands where an activation is, until a checkpoint does.
#[tokio::test]
async fn a_made_up_fingerprint_is_corrected_by_the_next_checkpoint() {
    let signer = MessageSigner::new();
    let mut forged = signer.activation_after(&[], 6, &[("a", 2, 1)]);
    forged.cursor.as_mut().expect("a cursor").fingerprint = 0xdead_beef;
    let server = script(vec![
        vec![first(&signer), Ok(activation_message(forged)), come_back()],
        vec![alive(&signer, 6, &[("a", 2, 6)])],
    ]);
    let endpoint = listen(server.clone()).await;
    let mut watcher = open(&endpoint, &signer, true);
    offered(&mut watcher).await;
    watcher.accept().await;
    server.report_refusals.lock().expect("lock").push_back(refusal("RESUME_POINT_GONE"));
    offered(&mut watcher).await;
    watcher.accept().await;
    looks_at_each_change_until(&mut watcher, || reports(&server).len() == 2).await;
    let reported = server.reported.lock().expect("lock");
    let last = reported.last().and_then(|report| report.cursor).expect("a cursor");
    let signed = Fingerprint::of(&[9; 32]).map(Fingerprint::number);
    assert_eq!((last.revision, Some(last.fingerprint)), (6, signed));
}
