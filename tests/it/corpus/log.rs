//! The log, read completely and verified as an auditor would: chain, event signatures, cursors and statements.

use std::collections::BTreeMap;

use policyhub::client::signing::{digest_of, event_hash, verify_event_signature, verify_statement};
use policyhub::client::{Client, pb};
use policyhub::domain::digest::Hash;
use policyhub::domain::event::Payload;

use super::history::CorpusHistory;
use super::keys::CorpusKeys;
use super::publisher::REASON;
use super::replay::CorpusReplay;
use crate::harness::calls::NAMESPACE;

/// Returns every event, in the order of the log.
pub async fn read(client: &Client) -> Vec<pb::Event> {
    let mut request = pb::ListEventsRequest { parent: NAMESPACE.to_owned(), page_size: 1_000, ..Default::default() };
    let mut events = Vec::new();
    loop {
        let mut page = client.list_events(request.clone()).await.expect("a page of the log");
        events.append(&mut page.events);
        if page.next_page_token.is_empty() {
            return events;
        }
        request.page_token = page.next_page_token;
    }
}

/// Verifies every event and its payload, and returns the pointers that the events moved.
pub fn verify(events: &[pb::Event], keys: &CorpusKeys) -> CorpusReplay {
    let mut replay = CorpusReplay::default();
    let mut prev = Hash::default();
    for (event, revision) in events.iter().zip(1..) {
        let place = event.cursor.map(|cursor| (cursor.epoch, cursor.revision));
        assert_eq!(place, Some((1, revision)), "revisions have no gaps");
        assert_eq!(event.prev_hash.as_ref(), prev, "revision {revision} follows the one before");
        let hash = event_hash(&prev, &event.payload);
        assert_eq!(event.hash.as_ref(), hash, "hash of revision {revision}");
        let key = keys.seals.get(&event.seal_key_id).unwrap_or_else(|| panic!("revision {revision}: unknown seal key"));
        assert!(verify_event_signature(&hash, &event.seal, key), "seal of revision {revision}");
        let payload: Payload = serde_json::from_slice(&event.payload).expect("a payload");
        check_payload(event, &payload, keys);
        if payload.changes.is_empty() {
            assert_eq!((event.statement.as_str(), &payload.statement_digest), ("", &None), "revision {revision}");
        } else {
            check_statement(event, &payload, &prev, keys);
        }
        replay.apply(revision, &event.statement, payload.changes);
        prev = hash;
    }
    replay
}

/// Checks that the fields of an event equal those of its signed payload.
fn check_payload(event: &pb::Event, payload: &Payload, keys: &CorpusKeys) {
    let revision = payload.revision;
    assert_eq!((&payload.store, &payload.namespace), (&keys.store, &keys.namespace), "revision {revision}");
    let cursor = event.cursor.expect("a cursor");
    assert_eq!((cursor.epoch, cursor.revision), (payload.epoch, revision));
    assert_eq!(event.namespace, NAMESPACE);
    assert_eq!(event.kind().as_str_name(), format!("EVENT_KIND_{}", payload.kind.as_str()), "revision {revision}");
    assert_eq!((&event.actor, &event.reason), (&payload.actor, &payload.reason), "revision {revision}");
    let policy = |id: &dyn std::fmt::Display| format!("{NAMESPACE}/policies/{id}");
    assert_eq!(event.policy, payload.policy.as_ref().map(|id| policy(id)).unwrap_or_default(), "revision {revision}");
    let versions = payload.versions.iter().map(|change| pb::VersionChange {
        version_name: format!("{}/versions/{}", policy(&change.policy), change.version),
        state: state_of(change.state.as_str()).into(),
        digest: change.digest.to_string(),
        adopted: None,
    });
    assert!(event.versions.iter().cloned().eq(versions), "versions of revision {revision}");
    let changes = payload.changes.iter().map(|change| pb::PointerChange {
        policy: policy(&change.policy),
        version: change.version,
        digest: change.digest.as_ref().map(ToString::to_string).unwrap_or_default(),
        previous_version: change.previous,
    });
    assert!(event.changes.iter().cloned().eq(changes), "changes of revision {revision}");
}

/// Checks that the statement is signed, covered by the chain, and consistent with the event.
fn check_statement(event: &pb::Event, payload: &Payload, prev: &Hash, keys: &CorpusKeys) {
    let revision = payload.revision;
    assert_eq!(payload.statement_digest, Some(digest_of(event.statement.as_bytes())), "revision {revision}");
    let statement = verify_statement(&event.statement, &keys.bundles)
        .unwrap_or_else(|error| panic!("statement of revision {revision}: {error}"));
    assert_eq!((&statement.store, &statement.namespace), (&keys.store, &keys.namespace), "revision {revision}");
    assert_eq!((statement.epoch, statement.revision), (payload.epoch, revision));
    assert_eq!(&statement.prev, prev, "revision {revision}");
    assert_eq!(statement.kind, payload.kind.as_str(), "revision {revision}");
    assert_eq!(statement.actor, payload.actor, "revision {revision}");
    assert_eq!(payload.reason, REASON, "revision {revision}");
    assert_eq!(statement.reason_digest, digest_of(REASON.as_bytes()), "revision {revision}");
    let stated = statement.changes.iter().map(|it| (&it.policy, it.version, &it.digest, it.previous));
    assert!(
        stated.eq(payload.changes.iter().map(|it| (&it.policy, it.version, &it.digest, it.previous))),
        "changes of the statement of revision {revision}"
    );
}

/// Checks that every accepted change is exactly one event, and that there is no other event.
pub fn check_counts(events: &[pb::Event], history: &CorpusHistory) {
    let mut counts = BTreeMap::<&str, usize>::new();
    for event in events {
        *counts.entry(event.kind().as_str_name()).or_default() += 1;
    }
    let versions = history.entries.len();
    let expected = BTreeMap::from([
        ("EVENT_KIND_CREATE_POLICY", history.newest().len()),
        ("EVENT_KIND_DRAFT", versions),
        ("EVENT_KIND_PUBLISH", versions),
        ("EVENT_KIND_ACTIVATE", versions),
    ]);
    assert_eq!(counts, expected);
}

/// Checks that the namespace's head is the end of the log.
pub async fn check_head(client: &Client, events: &[pb::Event]) {
    let request = pb::GetNamespaceRequest { name: NAMESPACE.to_owned() };
    let namespace = client.get_namespace(request).await.expect("a namespace").namespace.expect("a namespace");
    let last = events.last().expect("an event");
    assert_eq!((namespace.head, &namespace.head_hash), (last.cursor, &last.hash));
}

fn state_of(word: &str) -> pb::VersionState {
    pb::VersionState::from_str_name(&format!("VERSION_STATE_{word}")).expect("a state")
}
