//! Reads back what was accepted: every version by its label, and the active set now and in the past.

use std::sync::Arc;
use std::time::Instant;

use policyhub::client::name::PolicyId;
use policyhub::client::pb::list_active_request::At;
use policyhub::client::signing::{active_set_digest, verify_bundle};
use policyhub::client::{Client, pb, verify_saved};
use ring::digest::{SHA256, digest};

use super::history::{CorpusEntry, CorpusHistory};
use super::keys::CorpusKeys;
use super::publisher::CONTENT_TYPE;
use super::queues;
use super::replay::CorpusReplay;
use super::table::CorpusTable;
use crate::harness::calls::version;
use crate::harness::watching::{digest_of_set, list_set, whole_set, without_fingerprint};

/// Number of revisions at which the active set is read.
const SAMPLES: u64 = 20;

/// Reads every version by its label and compares it with its file and its manifest.
pub async fn versions(client: &Client, history: &Arc<CorpusHistory>, keys: &CorpusKeys, table: &mut CorpusTable) {
    let started = Instant::now();
    let read = queues::run(history, |places| {
        let (client, history, keys) = (client.clone(), Arc::clone(history), keys.clone());
        async move {
            for place in &places {
                check_version(&client, &history.entries[*place], &keys).await;
            }
            places.len()
        }
    });
    let read: usize = read.await.into_iter().sum();
    assert_eq!(read, history.entries.len(), "every version was read");
    table.rate("versions read back and verified", read, started);
}

async fn check_version(client: &Client, entry: &CorpusEntry, keys: &CorpusKeys) {
    let name = version(&entry.policy, format!("v{}", entry.label));
    let request = pb::GetVersionRequest { name: name.clone(), view: pb::VersionView::Full.into() };
    let found = client.get_version(request).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    let found = found.version.expect("a version");
    assert!(found.content == entry.content, "{name}: its bytes are not those of the file");
    assert_eq!(found.name, version(&entry.policy, entry.number));
    assert_eq!((found.version, found.state()), (entry.number, pb::VersionState::Published), "{name}");
    assert_eq!((&found.label, &found.digest), (&entry.label, &entry.digest), "{name}");
    assert_eq!(found.change_note, entry.note, "{name}");
    assert_eq!(found.content_type, CONTENT_TYPE, "{name}");
    assert_eq!(usize::try_from(found.size_bytes), Ok(entry.content.len()), "{name}");
    let manifest = verify_bundle(&found.manifest, &found.content, &keys.bundles)
        .unwrap_or_else(|error| panic!("manifest of {name}: {error}"));
    assert_eq!((manifest.store, manifest.namespace), (keys.store.clone(), keys.namespace.clone()), "{name}");
    assert_eq!((manifest.policy.as_str(), manifest.version), (entry.policy.as_str(), entry.number), "{name}");
    assert_eq!(manifest.label.as_ref(), Some(&entry.label), "{name}");
    assert_eq!(manifest.digest.as_str(), entry.digest, "{name}");
    assert_eq!(manifest.content_type, CONTENT_TYPE, "{name}");
}

/// Checks that the active set is the newest version of every policy, and returns its digest.
pub async fn active_now(client: &Client, history: &CorpusHistory, replay: &CorpusReplay, keys: &CorpusKeys) -> String {
    let now = active(client, None).await;
    check_set(&now, replay.head(), history, replay, keys);
    let newest = history.newest();
    assert_eq!(now.bundles.len(), newest.len(), "every policy is active");
    for (active, entry) in now.bundles.iter().zip(newest.values()) {
        let bundle = active;
        assert_eq!((&bundle.name, &bundle.label), (&version(&entry.policy, entry.number), &entry.label));
    }
    digest_of_set(&now.bundles)
}

/// Checks the active set at some past revisions against the log.
pub async fn active_then(
    client: &Client,
    history: &CorpusHistory,
    replay: &CorpusReplay,
    keys: &CorpusKeys,
    table: &mut CorpusTable,
) {
    let head = u64::try_from(replay.head()).expect("a revision");
    let (mut bundles, mut calls) = (0, Vec::new());
    let all = Instant::now();
    for sample in 0..SAMPLES {
        // Selects the same revisions of the same log each time.
        let random = digest(&SHA256, format!("corpus {sample}").as_bytes());
        let random = u64::from_be_bytes(random.as_ref()[..8].try_into().expect("eight bytes"));
        let revision = i64::try_from(random % head + 1).expect("a revision");
        let started = Instant::now();
        let then = active(client, Some(revision)).await;
        calls.push(started.elapsed());
        bundles += then.bundles.len();
        check_set(&then, revision, history, replay, keys);
    }
    table.rate("bundles in force then, verified", bundles, all);
    table.latency("  ListActive of all at a revision", calls);
}

async fn active(client: &Client, revision: Option<i64>) -> pb::ListActiveResponse {
    let request = pb::ListActiveRequest {
        at: revision.map(|revision| At::Cursor(pb::Cursor::of_revision(revision))),
        ..whole_set()
    };
    list_set(client, request).await.unwrap_or_else(|error| panic!("active set at {revision:?}: {error}"))
}

/// Checks that a set is exactly what the log and the files have at that revision.
fn check_set(
    found: &pb::ListActiveResponse,
    revision: i64,
    history: &CorpusHistory,
    replay: &CorpusReplay,
    keys: &CorpusKeys,
) {
    assert_eq!(without_fingerprint(found.cursor), Some(pb::Cursor { epoch: 1, revision, ..Default::default() }));
    let expected = replay.state_at(revision);
    assert_eq!(found.bundles.len(), expected.len(), "policies active at {revision}");
    for (active, (policy, (number, digest))) in found.bundles.iter().zip(&expected) {
        let bundle = active;
        let entry = history.get(policy.as_str(), *number);
        assert_eq!(bundle.name, version(policy.as_str(), number), "at {revision}");
        assert_eq!((&entry.digest, bundle.digest.as_str()), (&bundle.digest, digest.as_str()), "{}", bundle.name);
        assert!(bundle.content == entry.content, "{}: its bytes are not those of the file", bundle.name);
        check_proof(active, bundle, policy, revision, replay, keys);
    }
    let set_digest = active_set_digest(expected.iter().map(|(policy, (version, digest))| (policy, *version, digest)));
    assert_eq!(digest_of_set(&found.bundles), set_digest.as_str(), "digest of the set at {revision}");
}

/// Checks that the activation is the one of the log, whose statement activates exactly this bundle.
fn check_proof(
    active: &pb::Bundle,
    bundle: &pb::Bundle,
    policy: &PolicyId,
    revision: i64,
    replay: &CorpusReplay,
    keys: &CorpusKeys,
) {
    let (activated, statement) = replay.in_force(policy, revision);
    assert_eq!(active.activation.map_or(0, |cursor| cursor.revision), activated, "{} at {revision}", bundle.name);
    let proof = verify_saved(&bundle.manifest, &bundle.content, Some(statement), &keys.bundles);
    let (manifest, _) = proof.unwrap_or_else(|refusal| panic!("{} at {revision}: {refusal}", bundle.name));
    assert_eq!((&manifest.policy, manifest.version), (policy, bundle.version));
    assert!(!active.preview, "{}", bundle.name);
}
