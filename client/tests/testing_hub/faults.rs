//! What a hub does on purpose to try a runtime: broken signatures, silence, and its own end.

use std::time::Duration;

use policyhub_client::internal::{Client, Code, State, Status};
use policyhub_client::testing::TestHub;

use super::{hub, in_time, offered, shown, watcher, works_until};

#[tokio::test]
async fn a_message_with_a_broken_signature_is_refused_and_what_was_in_force_stays() {
    let hub = hub().await;
    hub.activate([("a", "1")]).await.expect("activated");
    let mut watcher = watcher(&hub);
    offered(&mut watcher).await;
    watcher.accept().await;
    hub.tamper_next();
    let cursor = hub.activate([("a", "2")]).await.expect("activated");
    works_until(&mut watcher, |status| status.state == State::Rejected).await;
    let status = watcher.view().status();
    assert!(status.problem.contains("signature"), "{status:?}");
    assert_eq!(shown(&watcher.view().active().expect("in force")), [("a", 1, "1")]);
    assert_eq!(
        shown(&offered(&mut watcher).await.active),
        [("a", 2, "2")],
        "the next stream begins with a good snapshot"
    );
    watcher.accept().await;
    assert_eq!(watcher.view().status().state, State::Ready);
    let refused = in_time("a refusal", hub.wait_for_report(|report| report.rejection().is_some())).await;
    assert_eq!(refused.cursor, cursor);
    assert!(refused.rejection().is_some_and(|reason| reason.contains("signature")), "{refused:?}");
}

#[tokio::test]
async fn a_snapshot_with_a_broken_signature_is_refused_too() {
    let hub = hub().await;
    hub.activate([("a", "1")]).await.expect("activated");
    hub.tamper_next();
    let mut watcher = watcher(&hub);
    works_until(&mut watcher, |status| status.state == State::Rejected).await;
    assert_eq!(watcher.view().active(), None);
    assert_eq!(shown(&offered(&mut watcher).await.active), [("a", 1, "1")]);
}

#[tokio::test]
async fn a_hub_that_is_paused_lets_what_is_held_get_stale() {
    let lifetime = Duration::from_secs(2);
    let hub = TestHub::builder().checkpoint_lifetime(lifetime).start().await.expect("a hub");
    hub.activate([("a", "1")]).await.expect("activated");
    let mut watcher = watcher(&hub);
    offered(&mut watcher).await;
    watcher.accept().await;
    // Beyond the lifetime of the first checkpoint: it is heartbeats that keep it fresh.
    let first = watcher.view().status().fresh_until_seconds;
    let is_renewed = |status: &Status| status.state == State::Ready && status.fresh_until_seconds > first + 1;
    works_until(&mut watcher, is_renewed).await;
    hub.pause();
    hub.activate([("a", "2")]).await.expect("activated");
    works_until(&mut watcher, |status| status.state == State::Stale).await;
    let status = watcher.view().status();
    assert!(status.is_stale && status.behind.is_none(), "nothing was told: {status:?}");
    assert_eq!(shown(&watcher.view().active().expect("in force")), [("a", 1, "1")]);
    hub.resume();
    assert_eq!(shown(&offered(&mut watcher).await.active), [("a", 2, "2")]);
    watcher.accept().await;
    works_until(&mut watcher, |status| status.state == State::Ready).await;
}

#[tokio::test]
async fn calls_of_a_paused_hub_are_answered_when_it_goes_on() {
    let hub = hub().await;
    let client = Client::connect(&hub.endpoint(), None, None).await.expect("a connection");
    hub.pause();
    let listing = client.list_signing_keys(Default::default());
    let mut listing = std::pin::pin!(listing);
    tokio::select! {
        biased;
        answer = &mut listing => unreachable!("a paused hub answered {answer:?}"),
        () = tokio::time::sleep(Duration::from_millis(50)) => {}
    }
    hub.resume();
    assert_eq!(in_time("an answer", listing).await.expect("keys").keys.len(), 1);
}

#[tokio::test]
async fn a_hub_ends_with_its_last_handle() {
    let hub = hub().await;
    let other = hub.in_namespace("tenant-b").expect("a namespace");
    let endpoint = hub.endpoint();
    let client = Client::connect(&endpoint, None, None).await.expect("a connection");
    let target =
        policyhub_client::internal::pb::WatchTarget { parent: "namespaces/tenant-b".to_owned(), ..Default::default() };
    let request = policyhub_client::internal::pb::WatchActiveRequest { targets: vec![target], ..Default::default() };
    let mut stream = client.watch_active(request).await.expect("a stream");
    drop(hub);
    client.list_signing_keys(Default::default()).await.expect("another handle holds it");
    drop(other);
    let end = in_time("the end of the stream", async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                end => break end,
            }
        }
    });
    assert_eq!(end.await.expect_err("no end in order").code(), Code::Unavailable);
    in_time("the end of the port", async {
        while Client::connect(&endpoint, None, None).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
