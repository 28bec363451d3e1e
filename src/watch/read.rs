//! From rows to frames: what is told is built from what was committed, and verified first.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::verify::Verify;
use super::view::Active;
use crate::domain::bundle::{Activation, Bundle};
use crate::domain::event::{Event, EventKind, Head, Payload, PointerChange};
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::version::Version;
use crate::domain::{Error, Result};
use crate::store::ReadTx;

/// Events read at once.
const PAGE_MAX_EVENTS: u32 = 64;
/// Contents read at once: a page ends before the activation that would go beyond it. At 1 MiB each, that is what one
/// activation may carry.
const PAGE_MAX_CONTENTS: usize = 16;

/// Events in a row, as frames of those that moved pointers.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) activations: Vec<Activation>,
    /// The last event that was read.
    pub(super) end: Head,
}

/// All that is in force at the head, verified.
pub(super) async fn active(tx: &ReadTx, verify: &dyn Verify, namespace: &NamespaceId, head: Head) -> Result<Active> {
    if head.cursor.revision > 0 {
        verify.head(&tx.event(namespace, head.cursor.revision).await?, head)?;
    }
    let rows = tx.active_now(namespace, head.cursor.revision).await?;
    let bundles = rows.into_iter().map(|row| {
        let active = verify.active_bundle(row)?;
        Ok((active.bundle.version.policy.policy.clone(), active))
    });
    Ok(Active::new(bundles.collect::<Result<_>>()?))
}

/// Reads on after `head`, a page at most: the events must follow it without a gap and hash onto each other. Nothing is
/// read when there is nothing.
pub(super) async fn read_on(tx: &ReadTx, verify: &dyn Verify, namespace: &NamespaceId, head: Head) -> Result<Read> {
    let events = tx.events_after(namespace, head.cursor.revision, PAGE_MAX_EVENTS).await?;
    let (mut end, mut moved, mut contents) = (head, Vec::new(), 0);
    for event in events {
        let payload = verify.event(&event)?;
        check_follows(&event, payload.kind, end)?;
        let targets = payload.changes.iter().filter(|change| change.version > 0).count();
        if contents > 0 && contents + targets > PAGE_MAX_CONTENTS {
            break;
        }
        contents += targets;
        end = Head { cursor: event.cursor, hash: event.hash };
        if !payload.changes.is_empty() {
            moved.push((event, payload));
        }
    }
    Ok(Read { activations: activations(tx, verify, namespace, moved).await?, end })
}

/// The epoch is raised by its own kind of event and by nothing else.
fn check_follows(event: &Event, kind: EventKind, head: Head) -> Result<()> {
    let epoch_follows = match kind {
        EventKind::BumpEpoch => event.cursor.epoch > head.cursor.epoch,
        _ => event.cursor.epoch == head.cursor.epoch,
    };
    // Before the first event the row alone says the epoch.
    let epoch_follows = epoch_follows || head.cursor.revision == 0;
    if event.cursor.revision == head.cursor.revision + 1 && event.prev_hash == head.hash && epoch_follows {
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
    let mut targets: Vec<(PolicyId, i64)> = moved
        .iter()
        .flat_map(|(_, payload)| &payload.changes)
        .filter(|change| change.version > 0)
        .map(|change| (change.policy.clone(), change.version))
        .collect();
    targets.sort();
    targets.dedup();
    let published = if targets.is_empty() { Vec::new() } else { tx.published(namespace, &targets).await? };
    let bundles = bundles(verify, published)?;
    moved.into_iter().map(|(event, payload)| activation(&event, &payload.changes, &bundles)).collect()
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

fn activation(event: &Event, changes: &[PointerChange], bundles: &Bundles) -> Result<Activation> {
    let mut activation = Activation {
        cursor: event.cursor,
        statement: event.statement.as_str().into(),
        bundles: Vec::new(),
        tombstones: Vec::new(),
    };
    for change in changes {
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
