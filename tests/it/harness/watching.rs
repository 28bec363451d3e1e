//! Watches whose every message is verified, and common checks on them.
//!
//! Invariant: nothing here sleeps for a fixed time; the deadline only ends a test that would wait for ever.

use std::collections::BTreeMap;
use std::time::Duration;

use policyhub::client::Watch;
use policyhub::client::name::{NamespaceId, PolicyId};
use policyhub::client::signing::{KeySet, active_set_digest};
use policyhub::client::{
    ActiveSetOptions, Client, ClientError, Cursor, SetChange, WatchOptions, pb, trusted_keys, watch,
};
use policyhub::domain::digest::Digest;

use super::calls::NAMESPACE;

/// A test that waits longer than this fails.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Makes heartbeats frequent enough for a test to wait for them.
pub const LIVELY: &[&str] = &["--heartbeat-interval-ms", "100", "--poll-interval-ms", "50"];

/// The policies in force: version and digest by id.
pub type WatchedSet = BTreeMap<String, (i64, String)>;

/// Returns the keys that bundles and statements are verified with.
pub async fn keys(client: &Client) -> KeySet {
    let listed = client.list_signing_keys(pb::ListSigningKeysRequest::default()).await.expect("keys");
    trusted_keys(&listed).expect("public keys")
}

/// Returns options of a watch of all policies that begins with a snapshot.
pub async fn everything(client: &Client) -> WatchOptions {
    WatchOptions {
        namespace: NamespaceId::parse("namespace", "default").expect("an id"),
        keys: keys(client).await,
        learn_keys: true,
        set: ActiveSetOptions::default(),
        resume: None,
        subscriber_id: String::new(),
        attributes: BTreeMap::new(),
    }
}

/// Opens a watch of all policies.
pub async fn open(client: &Client) -> Watch {
    watch(client, everything(client).await).await.expect("a watch")
}

/// Opens a watch that resumes at a revision of the first epoch.
pub async fn resume(client: &Client, revision: i64) -> Watch {
    let options = WatchOptions { resume: Some(Cursor { epoch: 1, revision }), ..everything(client).await };
    watch(client, options).await.expect("a watch")
}

/// Returns the raw stream after its first message, for what the SDK hides.
pub async fn raw(
    client: &Client,
    resume: Option<pb::Cursor>,
) -> Result<tonic::Streaming<pb::WatchActiveResponse>, ClientError> {
    let request = pb::WatchActiveRequest {
        targets: vec![pb::WatchTarget { parent: NAMESPACE.to_owned(), resume, ..Default::default() }],
        ..Default::default()
    };
    let mut stream = client.watch_active(request).await?;
    let first = tokio::time::timeout(DEADLINE, stream.message()).await.expect("a message before the deadline")?;
    let first = first.and_then(|first| first.message);
    assert!(matches!(first, Some(pb::watch_active_response::Message::Opened(_))), "{first:?}");
    Ok(stream)
}

/// Returns a cursor without the fingerprint of its event, so that tests can compare it.
pub fn without_fingerprint(cursor: Option<pb::Cursor>) -> Option<pb::Cursor> {
    cursor.map(|cursor| pb::Cursor { fingerprint: 0, ..cursor })
}

/// Returns the next verified message after the first one, which only says that the stream is open.
pub async fn next(watch: &mut Watch) -> (pb::WatchActiveResponse, SetChange) {
    loop {
        let next = tokio::time::timeout(DEADLINE, watch.next()).await.expect("a message before the deadline");
        match next.expect("a message that verifies").expect("a stream that goes on") {
            (_, SetChange::Opened { .. }) => {}
            next => return next,
        }
    }
}

/// Returns the next change of the set; heartbeats are skipped.
pub async fn change(watch: &mut Watch) -> SetChange {
    let wait = async {
        loop {
            match next(watch).await.1 {
                SetChange::Alive { .. } | SetChange::ActivationPart { .. } => {}
                change => return change,
            }
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.expect("a change before the deadline")
}

/// Returns the next activation: its revision, the policies that changed (`id@version`) and those that were removed.
pub async fn activation(watch: &mut Watch) -> (i64, Vec<String>, Vec<String>) {
    match change(watch).await {
        SetChange::Activated { cursor, changed, removed, .. } => {
            let changed = changed.iter().map(|active| format!("{}@{}", active.policy, active.version)).collect();
            (cursor.revision, changed, removed.iter().map(ToString::to_string).collect())
        }
        other => panic!("not an activation: {other:?}"),
    }
}

/// Reads until a revision is reached and returns the revisions of the activations on the way, in order of arrival.
pub async fn read_to(watch: &mut Watch, revision: i64) -> Vec<i64> {
    let mut seen = Vec::new();
    let read = async {
        while watch.set().cursor().is_none_or(|cursor| cursor.revision < revision) {
            if let SetChange::Activated { cursor, .. } = next(watch).await.1 {
                assert!(seen.last().is_none_or(|last| *last < cursor.revision), "{cursor:?} after {seen:?}");
                seen.push(cursor.revision);
            }
        }
    };
    tokio::time::timeout(DEADLINE, read).await.unwrap_or_else(|_| panic!("never came to revision {revision}"));
    seen
}

/// Returns the policies that a watch holds.
pub fn held(watch: &Watch) -> WatchedSet {
    watch
        .set()
        .policies()
        .map(|active| (active.policy.to_string(), (active.version, active.digest.to_string())))
        .collect()
}

/// Returns the whole active set from ListActive: the bundles of all pages, with the other fields of the last page.
pub async fn list_set(client: &Client, request: pb::ListActiveRequest) -> Result<pb::ListActiveResponse, ClientError> {
    let (mut request, mut bundles) = (pb::ListActiveRequest { page_size: 1_000, ..request }, Vec::new());
    loop {
        let mut page = client.list_active(request.clone()).await?;
        bundles.append(&mut page.bundles);
        if page.next_page_token.is_empty() {
            return Ok(pb::ListActiveResponse { bundles, ..page });
        }
        request.page_token = page.next_page_token;
    }
}

/// Returns a request for the active set of the default namespace.
pub fn whole_set() -> pb::ListActiveRequest {
    pb::ListActiveRequest { parent: NAMESPACE.to_owned(), ..Default::default() }
}

/// Returns the whole current active set.
pub async fn get_set(client: &Client) -> pb::ListActiveResponse {
    list_set(client, whole_set()).await.expect("the active set")
}

/// Returns the digest of an active set, as in reports.
pub fn digest_of_set(bundles: &[pb::Bundle]) -> String {
    let entries: Vec<(PolicyId, i64, Digest)> = bundles
        .iter()
        .map(|bundle| {
            let id = bundle.name.split('/').nth(3).expect("a policy");
            let digest = Digest::parse("digest", &bundle.digest).expect("a digest");
            (PolicyId::parse("policy", id).expect("an id"), bundle.version, digest)
        })
        .collect();
    active_set_digest(entries.iter().map(|(id, version, digest)| (id, *version, digest))).to_string()
}

/// Returns the policies in force by ListActive, in the form of [`held`].
pub async fn in_force(client: &Client) -> WatchedSet {
    let bundles = get_set(client).await.bundles.into_iter();
    let entry = |bundle: pb::Bundle| {
        let id = bundle.name.split('/').nth(3).expect("a policy").to_owned();
        (id, (bundle.version, bundle.digest))
    };
    bundles.map(entry).collect()
}

/// Returns the revision at the head of the log.
pub async fn head(client: &Client) -> i64 {
    let request = pb::GetNamespaceRequest { name: NAMESPACE.to_owned() };
    let namespace = client.get_namespace(request).await.expect("a namespace").namespace.expect("a namespace");
    namespace.head.expect("a head").revision
}

/// Returns the whole log, in order.
pub async fn log(client: &Client) -> Vec<pb::Event> {
    let mut events = Vec::new();
    let mut page_token = String::new();
    loop {
        let request =
            pb::ListEventsRequest { parent: NAMESPACE.to_owned(), page_size: 1_000, page_token, ..Default::default() };
        let page = client.list_events(request).await.expect("events");
        events.extend(page.events);
        if page.next_page_token.is_empty() {
            return events;
        }
        page_token = page.next_page_token;
    }
}
