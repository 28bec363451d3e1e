//! Reads the log and verifies it: everything that is sent to subscribers is built from committed rows that were verified.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::verify::{Proof, SetTree, Verify};
use super::view::ActiveBundles;
use crate::domain::bundle::{Activation, ActiveEntry, Bundle};
use crate::domain::digest::ActiveSetRoot;
use crate::domain::event::{Cursor, Event, EventKind, Head, Payload};
use crate::domain::limits::{ACTIVATION_CONTENT_MAX_BYTES, CONTENT_MAX_BYTES};
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::version::Version;
use crate::domain::{Error, Result};
use crate::store::ReadTx;

/// Number of events read at once. Pages end at multiples of it, so that readers at different cursors soon read the same pages.
const PAGE_EVENTS: i64 = 64;
/// Bytes of content read at once, unless a single activation has more: the maximum of one activation.
const PAGE_CONTENT_MAX_BYTES: i64 = ACTIVATION_CONTENT_MAX_BYTES;
/// Number of contents that can't exceed that, whatever their size.
const PAGE_SMALL_CONTENTS: usize = 16;
const _: () = assert!(PAGE_SMALL_CONTENTS * CONTENT_MAX_BYTES <= PAGE_CONTENT_MAX_BYTES as usize);

/// Number of rows of an active set that are verified before other calls have their turn. More: these wait for longer, 0.1 s for 500. Less:
/// a statement that activated many policies is verified more often.
const ROWS_VERIFIED_AT_ONCE: usize = 500;

/// Consecutive events, with frames for those that moved pointers.
#[derive(Debug)]
pub(super) struct VerifiedEvents {
    /// Every event that was read, in order.
    pub(super) events: Vec<Head>,
    pub(super) activations: Vec<Activation>,
    /// The last event that was read.
    pub(super) end: Head,
    /// The last event among them that raised the epoch.
    pub(super) raised: Option<Cursor>,
}

/// Returns the verified active set at the head.
///
/// # Errors
/// `DATA_LOSS`, also when the pointers do not make the root that the event at the head names.
pub(super) async fn active(
    tx: &ReadTx,
    proof: &dyn Proof,
    namespace: &NamespaceId,
    head: Head,
) -> Result<ActiveBundles> {
    let sealed = match head.cursor.revision {
        0 => Some(ActiveSetRoot::default()),
        revision => proof.head(&tx.event(namespace, revision).await?, head)?.active_set_root,
    };
    let mut rows = tx.active_now(namespace, head.cursor.revision).await?;
    let mut bundles = BTreeMap::new();
    while !rows.is_empty() {
        let rest = rows.split_off(rows.len().min(ROWS_VERIFIED_AT_ONCE));
        for active in proof.active_bundles(rows)? {
            bundles.insert(active.bundle.version.policy.policy.clone(), active);
        }
        rows = rest;
        // A large set takes a second or more: other calls must not wait for that long.
        tokio::task::yield_now().await;
    }
    let active = ActiveBundles::new(bundles, proof);
    // An event that was written before events carried a root has none to compare.
    if sealed.is_none_or(|sealed| sealed == active.tree().root()) {
        Ok(active)
    } else {
        Err(other_root(namespace, head))
    }
}

/// Returns the active set after each of these consecutive activations.
///
/// # Errors
/// `DATA_LOSS` when its root is not the one that the signed event names.
pub(super) fn trees_after(
    namespace: &NamespaceId,
    before: Arc<dyn SetTree>,
    activations: &[Activation],
) -> Result<Vec<Arc<dyn SetTree>>> {
    let mut tree = before;
    let after = |activation: &Activation| {
        let gone = activation.tombstones.iter().map(|policy| (policy.clone(), None));
        let there = activation.bundles.iter().map(|bundle| {
            let version = &bundle.version;
            let (version, digest, policy) = (version.number, version.digest.clone(), version.policy.policy.clone());
            (policy, Some(ActiveEntry { version, digest, activation: activation.cursor }))
        });
        tree = tree.with(&gone.chain(there).collect::<Vec<_>>());
        match activation.root {
            Some(root) if root != tree.root() => Err(other_root(namespace, activation.head())),
            _ => Ok(Arc::clone(&tree)),
        }
    };
    activations.iter().map(after).collect()
}

/// Returns the error for pointers that do not match the log.
fn other_root(namespace: &NamespaceId, head: Head) -> Error {
    let Cursor { revision, .. } = head.cursor;
    Error::data_loss(format!("{namespace}: what is active is not the set that event {revision} was sealed with"))
}

/// Reads at most a page of events after `head`: they must follow it without a gap and hash onto each other. Returns none when there is no
/// event.
pub(super) async fn read_on(
    tx: &ReadTx,
    verify: &dyn Verify,
    namespace: &NamespaceId,
    head: Head,
) -> Result<VerifiedEvents> {
    let from = head.cursor.revision;
    let limit = u32::try_from(PAGE_EVENTS - from % PAGE_EVENTS).unwrap_or(1);
    let (mut end, mut read) = (head, Vec::new());
    let mut raises = Vec::new();
    for event in tx.events_after(namespace, from, limit).await? {
        let payload = verify.event(&event)?;
        check_follows(&event, payload.kind, end)?;
        end = event.head();
        if payload.kind == EventKind::BumpEpoch {
            raises.push(event.cursor);
        }
        read.push((event, payload));
    }
    fit(tx, namespace, &mut read).await?;
    let events: Vec<Head> = read.iter().map(|(event, _)| event.head()).collect();
    let end = events.last().copied().unwrap_or(head);
    read.retain(|(_, payload)| !payload.changes.is_empty());
    let raised = raises.into_iter().rfind(|raised| *raised <= end.cursor);
    Ok(VerifiedEvents { events, activations: activations(tx, verify, namespace, read).await?, end, raised })
}

/// Drops all events from the first activation whose content would exceed the limit, except the very first one.
async fn fit(tx: &ReadTx, namespace: &NamespaceId, read: &mut Vec<(Event, Payload)>) -> Result<()> {
    let targets = targets(read);
    if targets.len() <= PAGE_SMALL_CONTENTS {
        return Ok(());
    }
    let sizes = tx.content_sizes(namespace, &targets).await?;
    let (mut counted, mut bytes) = (BTreeSet::new(), 0);
    let too_much = read.iter().position(|(_, payload)| {
        let before = bytes;
        for change in &payload.changes {
            let target = (change.policy.clone(), change.version);
            if counted.insert(target.clone()) {
                bytes += sizes.get(&target).copied().unwrap_or(0);
            }
        }
        before > 0 && bytes > PAGE_CONTENT_MAX_BYTES
    });
    read.truncate(too_much.unwrap_or(read.len()));
    Ok(())
}

/// Returns the versions to which activations point, each once.
fn targets(read: &[(Event, Payload)]) -> Vec<(PolicyId, i64)> {
    let changes = read.iter().flat_map(|(_, payload)| &payload.changes).filter(|change| change.version > 0);
    let targets: BTreeSet<_> = changes.map(|change| (change.policy.clone(), change.version)).collect();
    targets.into_iter().collect()
}

/// Checks that an event comes right after a head. Only its own kind of event raises the epoch.
///
/// # Errors
/// `DATA_LOSS`.
pub fn check_follows(event: &Event, kind: EventKind, head: Head) -> Result<()> {
    if event.follows(kind, head) {
        return Ok(());
    }
    let (namespace, found, head) = (&event.namespace, event.cursor, head.cursor);
    Err(Error::data_loss(format!("{namespace}: event {found:?} does not follow {head:?}")))
}

async fn activations(
    tx: &ReadTx,
    verify: &dyn Verify,
    namespace: &NamespaceId,
    moved: Vec<(Event, Payload)>,
) -> Result<Vec<Activation>> {
    let targets = targets(&moved);
    let published = if targets.is_empty() { Vec::new() } else { tx.published(namespace, &targets).await? };
    let bundles = bundles(verify, published)?;
    moved.into_iter().map(|(event, payload)| activation(&event, &payload, &bundles)).collect()
}

type Bundles = BTreeMap<(PolicyId, i64), Arc<Bundle>>;

fn bundles(verify: &dyn Verify, rows: Vec<(Version, Bytes)>) -> Result<Bundles> {
    rows.into_iter()
        .map(|(version, content)| {
            verify.bundle(&version, &content)?;
            Ok(((version.policy.policy.clone(), version.number), Arc::new(Bundle { version, content })))
        })
        .collect()
}

fn activation(event: &Event, payload: &Payload, bundles: &Bundles) -> Result<Activation> {
    let mut activation = Activation {
        cursor: event.cursor,
        event_hash: event.hash,
        statement: event.statement.as_str().into(),
        root: payload.active_set_root,
        bundles: Vec::new(),
        tombstones: Vec::new(),
    };
    for change in &payload.changes {
        if change.version == 0 {
            activation.tombstones.push(change.policy.clone());
            continue;
        }
        match bundles.get(&(change.policy.clone(), change.version)) {
            Some(bundle) if Some(&bundle.version.digest) == change.digest.as_ref() => {
                activation.bundles.push(Arc::clone(bundle));
            }
            _ => {
                return Err(Error::data_loss(format!(
                    "event {} names a version that is not there",
                    event.cursor.revision
                )));
            }
        }
    }
    Ok(activation)
}
