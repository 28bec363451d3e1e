//! The moves of a pointer: used to find the version for a rollback, and who moved the pointer, for a caller who expected another version.

use std::collections::BTreeMap;

use super::use_cases::Policies;
use crate::domain::event::Payload;
use crate::domain::lifecycle::{PointerMove, rollback_target};
use crate::domain::policy::Policy;
use crate::domain::{Error, Reason, Result};
use crate::store::ReadTx;
use crate::watch::Verify as _;

/// Number of a pointer's moves that a rollback searches. Each is an event that is read and proven.
const ROLLBACK_MOVES_MAX: u64 = 256;

impl Policies {
    /// Returns the version to which a rollback of a policy returns when the request names none.
    ///
    /// # Errors
    /// `NO_PREVIOUS_VERSION`, `DATA_LOSS`.
    pub(super) async fn find_version_before(&self, tx: &ReadTx, policy: &Policy) -> Result<i64> {
        let (moves, sources) = self.read_moves(tx, policy).await?;
        let source_of = |copy| sources.get(&copy).copied().unwrap_or_default();
        rollback_target(&moves, source_of).ok_or_else(|| {
            let message =
                format!("{} has no version to go back to that was not rolled back from; name it", policy.name);
            Error::new(Reason::NoPreviousVersion, message).about(&policy.name)
        })
    }

    /// Reads the newest moves of a pointer, in order, and the sources of the copies among them.
    async fn read_moves(&self, tx: &ReadTx, policy: &Policy) -> Result<(Vec<PointerMove>, BTreeMap<i64, i64>)> {
        let (namespace, id) = (&policy.name.namespace, &policy.name.policy);
        let newest = tx.newest_moves(&policy.name, ROLLBACK_MOVES_MAX).await?;
        let revisions: Vec<i64> = newest.into_iter().map(|(revision, _)| revision).collect();
        let events = tx.events_at(namespace, &revisions).await?;
        let not_the_log = || Error::data_loss(format!("{}: its pointer did not move as the log says", policy.name));
        let mut moves: Vec<PointerMove> = Vec::new();
        let mut sources = BTreeMap::new();
        for revision in revisions {
            let event = events.get(&revision).ok_or_else(not_the_log)?;
            let moved = PointerMove::of(&self.log.signer.event(event)?, id).ok_or_else(not_the_log)?;
            // A missing move would hide a version, or bring one back.
            if moves.last().is_some_and(|before| before.version != moved.previous) {
                return Err(not_the_log());
            }
            if moved.is_copy {
                let copy = tx.version(&policy.name, moved.version).await?;
                sources.insert(copy.number, copy.source_version);
            }
            moves.push(moved);
        }
        if moves.last().map_or(0, |last| last.version) != policy.active_version {
            return Err(not_the_log());
        }
        Ok((moves, sources))
    }

    /// Adds who moved the pointer, how and when, to the refusal of a caller who expected another version to be active.
    pub(super) async fn add_who_moved(&self, tx: &ReadTx, policies: &[Policy], refusal: Error) -> Error {
        let named = refusal.metadata.get("policy");
        let policy = policies.iter().find(|policy| named == Some(&policy.name.to_string()));
        let Some(policy) = policy.filter(|_| refusal.reason == Reason::ExpectedActiveMismatch) else { return refusal };
        match self.read_newest_move(tx, policy).await {
            Ok(Some(moved)) => {
                let message = format!(
                    "{}; {} by {} at {} moved it there",
                    refusal.message,
                    moved.kind.as_str(),
                    moved.actor,
                    moved.time
                );
                Error { message, ..refusal }
                    .with("moved_by", &moved.actor)
                    .with("moved_time", moved.time)
                    .with("moved_kind", moved.kind.as_str())
                    .with("moved_revision", moved.revision)
            }
            // The call is refused in any case; who moved the pointer is only additional information.
            Ok(None) | Err(_) => refusal,
        }
    }

    async fn read_newest_move(&self, tx: &ReadTx, policy: &Policy) -> Result<Option<Payload>> {
        if policy.active_revision == 0 {
            return Ok(None);
        }
        let event = tx.event(&policy.name.namespace, policy.active_revision).await?;
        self.log.signer.event(&event).map(Some)
    }
}
