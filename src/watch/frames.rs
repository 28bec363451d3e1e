//! From rows to frames: what is told is built from what was committed, and verified first.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::domain::bundle::{Activation, ActiveBundle, ActiveSet, Bundle};
use crate::domain::event::{Event, Head, Payload, PointerChange};
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::version::Version;
use crate::domain::{Error, Result};
use crate::store::{ActiveRow, ReadTx};

/// The proof of stored rows. The database is an untrusted log: whatever is served went through this.
pub trait Verify: Send + Sync + std::fmt::Debug {
    /// The hash is that of the payload after `prev_hash`, the seal is of a known key, and the payload says what the row
    /// says. Answers the payload.
    ///
    /// # Errors
    /// `DATA_LOSS`.
    fn event(&self, event: &Event) -> Result<Payload>;

    /// The manifest is of a known key and names this version, and the bytes are those it names.
    ///
    /// # Errors
    /// `DATA_LOSS`.
    fn bundle(&self, version: &Version, content: &[u8]) -> Result<()>;

    /// The statement is of a known key and puts this version in force at this revision.
    ///
    /// # Errors
    /// `DATA_LOSS`.
    fn in_force(&self, row: &ActiveRow) -> Result<()>;

    /// A bundle in force, once everything about its row is proven.
    ///
    /// # Errors
    /// `DATA_LOSS`.
    fn active_bundle(&self, row: ActiveRow) -> Result<ActiveBundle> {
        self.bundle(&row.version, &row.content)?;
        self.in_force(&row)?;
        Ok(ActiveBundle {
            bundle: Arc::new(Bundle { version: row.version, content: row.content }),
            revision: row.revision,
            statement: row.statement.into(),
            preview: false,
        })
    }

    /// The event is proven, and the namespace's row names it as the end of the log.
    ///
    /// # Errors
    /// `DATA_LOSS`.
    fn head(&self, event: &Event, head: Head) -> Result<()> {
        self.event(event)?;
        if event.hash == head.hash && event.cursor == head.cursor {
            return Ok(());
        }
        Err(Error::data_loss(format!("{}: its head is not its last event", event.namespace)))
    }
}

/// The whole active set at the head, verified.
pub(super) async fn active_set(
    tx: &ReadTx,
    verify: &dyn Verify,
    namespace: &NamespaceId,
    head: Head,
) -> Result<ActiveSet> {
    if head.cursor.revision > 0 {
        verify.head(&tx.event(namespace, head.cursor.revision).await?, head)?;
    }
    let rows = tx.active_now(namespace, head.cursor.revision).await?;
    let bundles = rows.into_iter().map(|row| verify.active_bundle(row)).collect::<Result<_>>()?;
    Ok(ActiveSet { namespace: namespace.clone(), cursor: head.cursor, head_hash: head.hash, bundles })
}

/// Checks that events follow `head` without a gap and hash onto each other; answers the frames of those that moved
/// pointers, and the new head.
pub(super) async fn read_on(
    tx: &ReadTx,
    verify: &dyn Verify,
    namespace: &NamespaceId,
    head: Head,
    limit: u32,
) -> Result<(Vec<Activation>, Head)> {
    let events = tx.events_after(namespace, head.cursor.revision, limit).await?;
    let mut head = head;
    let mut moved = Vec::new();
    for event in events {
        if event.cursor.revision != head.cursor.revision + 1 || event.prev_hash != head.hash {
            let detail =
                format!("{namespace}: event {} does not follow {}", event.cursor.revision, head.cursor.revision);
            return Err(Error::data_loss(detail));
        }
        let payload = verify.event(&event)?;
        head = Head { cursor: event.cursor, hash: event.hash };
        if !payload.changes.is_empty() {
            moved.push((event, payload.changes));
        }
    }
    Ok((frames(tx, verify, namespace, moved).await?, head))
}

async fn frames(
    tx: &ReadTx,
    verify: &dyn Verify,
    namespace: &NamespaceId,
    moved: Vec<(Event, Vec<PointerChange>)>,
) -> Result<Vec<Activation>> {
    let mut targets: Vec<(PolicyId, i64)> = moved
        .iter()
        .flat_map(|(_, changes)| changes)
        .filter(|change| change.version > 0)
        .map(|change| (change.policy.clone(), change.version))
        .collect();
    if targets.is_empty() && moved.is_empty() {
        return Ok(Vec::new());
    }
    targets.sort();
    targets.dedup();
    let bundles = bundles(verify, tx.published(namespace, &targets).await?)?;
    moved.into_iter().map(|(event, changes)| frame(&event, &changes, &bundles)).collect()
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

fn frame(event: &Event, changes: &[PointerChange], bundles: &Bundles) -> Result<Activation> {
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
