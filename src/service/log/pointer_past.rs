//! The past of pointers, read from the history of their moves and proven by events.
//!
//! The rows of the history have no MAC. Invariant: none of them is trusted without an event that matches it, and none is missing, because
//! the active set that they make has the root that an event names.

use super::active_sets::ActiveSetCache;
use super::reader::LogReader;
use crate::domain::bundle::ActiveEntry;
use crate::domain::event::{Cursor, Head};
use crate::domain::name::{PolicyId, PolicyName};
use crate::domain::outcome::Namespace;
use crate::domain::{Error, Result};
use crate::store::{ActiveRow, ReadTx};
use crate::watch::Verify as _;

impl LogReader {
    /// Returns whether a version was ever active.
    ///
    /// # Errors
    /// `DATA_LOSS` when a row states that it was, and the named event does not.
    pub async fn was_active(&self, tx: &ReadTx, policy: &PolicyName, version: i64) -> Result<bool> {
        let Some(revision) = tx.moved_to(policy, version).await? else { return Ok(false) };
        let moved = self.signer.event(&tx.event(&policy.namespace, revision).await?)?;
        if moved.changes.iter().any(|change| change.policy == policy.policy && change.version == version) {
            return Ok(true);
        }
        Err(Error::data_loss(format!("{policy}: event {revision} did not put version {version} in force")))
    }

    /// Returns the active version of a policy right after an event, for a namespace that was read in the same view. The row is part of a
    /// proven active set, and so is its absence.
    ///
    /// # Errors
    /// `DATA_LOSS` when the history of the pointers does not match the log.
    pub async fn read_in_force(
        &self,
        tx: &ReadTx,
        found: &Namespace,
        policy: &PolicyName,
        at: Cursor,
    ) -> Result<Option<ActiveRow>> {
        if at.revision == 0 {
            return Ok(None);
        }
        let row = tx.active_at(policy, at.revision).await?;
        // The pointer did not move since, so the newest set, which is cached, has it.
        let set = if tx.moved_since(policy, at.revision).await? {
            let event = tx.event(&found.id, at.revision).await?;
            let payload = self.signer.event(&event)?;
            ActiveSetCache::read_at_event(tx, &event, &payload).await?
        } else {
            let head = Head { cursor: found.cursor, hash: found.head_hash };
            let set = self.active_sets.read_at_head(&self.signer, tx, &found.id, head).await?;
            self.active_sets.keep(&found.id, set.clone());
            set
        };
        let entry = row.as_ref().map(|row| ActiveEntry {
            version: row.version.number,
            digest: row.version.digest.clone(),
            activation: row.activation,
        });
        set.check_pointed(&[(policy.policy.clone(), entry)])?;
        Ok(row)
    }

    /// Returns the whole active set right after an event, proven, in byte order of its policies.
    ///
    /// # Errors
    /// The same as `read_in_force`.
    pub async fn read_set_in_force(
        &self,
        tx: &ReadTx,
        found: &Namespace,
        at: Cursor,
    ) -> Result<Vec<(PolicyId, ActiveEntry)>> {
        if at.revision == 0 {
            return Ok(Vec::new());
        }
        let event = tx.event(&found.id, at.revision).await?;
        let payload = if at.revision == found.cursor.revision {
            self.signer.head(&event, Head { cursor: found.cursor, hash: found.head_hash })?
        } else {
            self.signer.event(&event)?
        };
        ActiveSetCache::read_entries_at_event(tx, &event, &payload).await
    }
}
