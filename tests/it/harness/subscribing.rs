//! Runtimes that watch under a subscriber id and report, and the calls that show their status.

use std::collections::BTreeMap;
use std::time::Duration;

use policyhub::client::{Client, ClientError, pb};
use tonic::Streaming;

use super::calls::{NAMESPACE, NamedEvent as _};
use super::watching::{DEADLINE, digest_of_set, list_set, whole_set};

/// The response stream of a runtime.
pub type SubscriberStream = Streaming<pb::WatchActiveResponse>;

/// Returns the name of a subscriber.
pub fn subscriber_name(id: &str) -> String {
    format!("{NAMESPACE}/subscribers/{id}")
}

/// Returns a cursor of the first epoch.
pub fn at(revision: i64) -> pb::Cursor {
    pb::Cursor { epoch: 1, revision, ..Default::default() }
}

/// Returns a watch request under an id.
pub fn watch_request(id: &str, policies: &[&str]) -> pb::WatchActiveRequest {
    pb::WatchActiveRequest {
        targets: vec![pb::WatchTarget {
            parent: NAMESPACE.to_owned(),
            policies: policies.iter().map(ToString::to_string).collect(),
            ..Default::default()
        }],
        subscriber_id: id.to_owned(),
        ..Default::default()
    }
}

/// Returns the same request, resumed at a cursor.
pub fn resumed(mut request: pb::WatchActiveRequest, from: pb::Cursor) -> pb::WatchActiveRequest {
    request.targets[0].resume = Some(from);
    request
}

/// Opens a watch of all policies under an id.
pub async fn subscribe(client: &Client, id: &str) -> SubscriberStream {
    client.watch_active(watch_request(id, &[])).await.expect("a watch")
}

/// Returns the digest of the active set right after a revision.
pub async fn digest_at(client: &Client, revision: i64) -> String {
    let at = Some(pb::list_active_request::At::Cursor(pb::Cursor::of_revision(revision)));
    let request = pb::ListActiveRequest { at, metadata_only: true, ..whole_set() };
    digest_of_set(&list_set(client, request).await.expect("a set").bundles)
}

/// Returns a report of APPLIED at a revision, with the digest of the active set there.
pub async fn applied(client: &Client, id: &str, revision: i64) -> pb::ReportStatusRequest {
    pb::ReportStatusRequest {
        name: subscriber_name(id),
        cursor: Some(at(revision)),
        digest: digest_at(client, revision).await,
        status: pb::ApplyStatus::Applied.into(),
        reason: String::new(),
    }
}

/// Returns a report of REJECTED at a revision.
pub async fn rejected(client: &Client, id: &str, revision: i64, reason: &str) -> pb::ReportStatusRequest {
    pb::ReportStatusRequest {
        status: pb::ApplyStatus::Rejected.into(),
        reason: reason.to_owned(),
        ..applied(client, id, revision).await
    }
}

/// Returns every subscriber by its id, from all pages. Fails when the ids are out of order.
pub async fn subscribers(client: &Client) -> BTreeMap<String, pb::Subscriber> {
    let mut found = Vec::new();
    let mut request = pb::ListSubscribersRequest { parent: NAMESPACE.to_owned(), page_size: 100, ..Default::default() };
    loop {
        let page = client.list_subscribers(request.clone()).await.expect("subscribers");
        found.extend(page.subscribers);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert!(found.is_sorted_by(|a, b| a.id() < b.id()), "out of order");
    found.into_iter().map(|each| (each.id(), each)).collect()
}

/// Returns one subscriber, which must exist.
pub async fn subscriber(client: &Client, id: &str) -> pb::Subscriber {
    subscribers(client).await.remove(id).unwrap_or_else(|| panic!("{id} is not listed"))
}

/// Returns the convergence of an activation.
pub async fn convergence(
    client: &Client,
    cursor: pb::Cursor,
    wait: Duration,
) -> Result<pb::GetConvergenceResponse, ClientError> {
    let wait = prost_types::Duration::try_from(wait).ok().filter(|wait| *wait != prost_types::Duration::default());
    let request = pb::GetConvergenceRequest { parent: NAMESPACE.to_owned(), cursor: Some(cursor), wait };
    client.get_convergence(request).await
}

/// Returns the current counts of applied, rejected, pending and offline subscribers.
pub async fn counts(client: &Client, revision: i64) -> [i32; 4] {
    let found = convergence(client, at(revision), Duration::ZERO).await.expect("an answer");
    assert_eq!(found.settled, found.pending == 0);
    [found.applied, found.rejected, found.pending, found.offline]
}

/// Polls until the condition holds.
pub async fn eventually(what: &str, holds: impl AsyncFnMut() -> bool) {
    eventually_within(DEADLINE, what, holds).await;
}

/// Polls until the condition holds; `deadline` bounds a test that has failed.
pub async fn eventually_within(deadline: Duration, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(deadline, looking).await.unwrap_or_else(|_| panic!("never came about: {what}"));
}
