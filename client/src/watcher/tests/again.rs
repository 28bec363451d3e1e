//! Versions that are activated again: another try of what was rejected, news to the server, and one offer for each activation
//! where that is wanted. And what ends nothing: a store that is not well.

use super::*;
use crate::active_set::tests::signed_messages::heartbeat;

pub(super) fn moved(signer: &MessageSigner, at: i64, to: i64, from: i64) -> ScriptedItem {
    Ok(activation_message(signer.activation_after(&[], at, &[("a", to, from)])))
}

/// Returns a snapshot at 5 with `a@1`, in force since 3.
pub(super) fn first(signer: &MessageSigner) -> ScriptedItem {
    Ok(signer.last_part(vec![signer.active("a", 1, 3)], 5, &[("a", 1, 3)]))
}

pub(super) fn open(endpoint: &str, signer: &MessageSigner, every_activation: bool) -> Watcher {
    Watcher::open(WatcherOptions { every_activation, ..options(endpoint, signer, None) }).expect("open")
}

#[tokio::test]
async fn what_was_rejected_is_offered_again_when_it_is_activated_again() {
    let signer = MessageSigner::new();
    for every_activation in [false, true] {
        let come_back = Ok(message(Message::Reconnect(pb::Reconnect::default())));
        let streams = vec![vec![first(&signer), moved(&signer, 6, 2, 1), come_back], vec![moved(&signer, 7, 2, 2)]];
        let server = script(streams);
        let endpoint = listen(server.clone()).await;
        let mut watcher = open(&endpoint, &signer, every_activation);
        while offered(&mut watcher).await.active.cursor.revision < 6 {
            watcher.accept().await;
        }
        watcher.reject("the runtime is broken").await;
        let update = offered(&mut watcher).await;
        assert_eq!((versions(&update.active), update.active.cursor.revision), (vec![("a".to_owned(), 2)], 7));
        watcher.accept().await;
        assert_eq!(reports(&server).last(), Some(&(7, pb::ApplyStatus::Applied, String::new())));
        assert_ne!(watcher.view().status().state, State::Rejected);
    }
}

#[tokio::test]
async fn what_is_in_force_already_is_reported_at_once_and_offered_only_where_each_activation_counts() {
    let signer = MessageSigner::new();
    let again = || vec![first(&signer), moved(&signer, 6, 1, 1), moved(&signer, 7, 1, 1)];
    let server = script(vec![again()]);
    let endpoint = listen(server.clone()).await;
    let mut watcher = open(&endpoint, &signer, false);
    offered(&mut watcher).await;
    watcher.accept().await;
    // No heartbeat comes: what the server hears, it hears with the activation.
    let reported = |revision| {
        let server = server.clone();
        async move {
            while reports(&server).last() != Some(&(revision, pb::ApplyStatus::Applied, String::new())) {
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::select! {
        update = watcher.next() => panic!("offered {update:?}"),
        reported = tokio::time::timeout(DEADLINE, reported(7)) => reported.expect("reported"),
    }
    assert_eq!(watcher.view().status().in_force.map(|cursor| cursor.revision), Some(7));

    let server = script(vec![again()]);
    let endpoint = listen(server.clone()).await;
    let mut watcher = open(&endpoint, &signer, true);
    offered(&mut watcher).await;
    works_until(&mut watcher, 7).await;
    watcher.accept().await;
    for revision in [6, 7] {
        assert_eq!(
            offered(&mut watcher).await.active.cursor.revision,
            revision,
            "each of them, though they are the same"
        );
        watcher.accept().await;
    }
    let revisions: Vec<i64> = reports(&server).iter().map(|(revision, ..)| *revision).collect();
    assert_eq!(revisions, [5, 6, 7]);
}

#[tokio::test]
async fn what_the_server_says_of_its_store_is_shown_while_the_stream_is_open() {
    let signer = MessageSigner::new();
    let mut doubtful = heartbeat(5, signer.checkpoint(1, 5, &[("a", 1, 3)]));
    if let Some(Message::Heartbeat(heartbeat)) = &mut doubtful.message {
        (heartbeat.in_doubt, heartbeat.degraded) = (true, true);
    }
    let endpoint = listen(script(vec![vec![first(&signer), Ok(doubtful)]])).await;
    let mut watcher = open(&endpoint, &signer, false);
    offered(&mut watcher).await;
    watcher.accept().await;
    let in_doubt = StoreState { is_degraded: true, is_in_doubt: true };
    offers_nothing(&mut watcher, |status| status.store == in_doubt).await;
    assert!(in_doubt.problem().is_some_and(|problem| problem.contains("in doubt")), "the worse of the two is said");
}
