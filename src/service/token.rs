//! Ending credentials before their time. Its events stand in the log of `system`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::write::Begun;
use super::{Context, Service};
use crate::domain::event::{Change, Cursor, EventKind, Position};
use crate::domain::limits::REVOCATIONS_MAX;
use crate::domain::name::NamespaceId;
use crate::domain::revocation::{Revocation, RevokeToken};
use crate::domain::time::Micros;
use crate::domain::{Error, Reason, Result};

/// What this replica has to tell whoever keeps the revocations in memory.
#[derive(Debug, Default)]
pub(super) struct Revoking {
    changed: Notify,
    /// Revocations that the log says and whose row is gone.
    lost: Mutex<Vec<Revocation>>,
}

impl Revoking {
    /// Tells of revocations whose row is gone: they go on to count.
    pub(super) fn note_lost(&self, revocations: Vec<Revocation>) {
        if !revocations.is_empty() {
            *self.lost() = revocations;
            self.changed.notify_one();
        }
    }

    fn lost(&self) -> MutexGuard<'_, Vec<Revocation>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service {
    /// Ends one token, or all that a subject was issued until now. Answers where its event stands.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `LIMIT_EXCEEDED`.
    pub async fn revoke_token(&self, context: &Context, request: RevokeToken) -> Result<Option<Position>> {
        request.check()?;
        let call = self.call(context, "RevokeToken", &request)?;
        let mut write = match call.begin(&NamespaceId::system()).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        if write.tx.count_revocations().await? >= REVOCATIONS_MAX {
            return Err(Error::new(
                Reason::LimitExceeded,
                "too many credentials are revoked; end a subject instead, or wait",
            )
            .with("limit", REVOCATIONS_MAX));
        }
        let revocation = Revocation::at(&request.ended, context.now.max(write.time()));
        write.tx.put_revocation(&revocation).await?;
        let settings = Some(revocation.to_settings());
        let change = Change { reason: request.reason.clone(), settings, ..Change::new(EventKind::RevokeToken, None) };
        let recorded = write.record(change).await?;
        let answer = write.finish(recorded.cursor).await?;
        self.revoking.changed.notify_one();
        Ok(answer)
    }

    /// Waits until this replica has ended something.
    pub async fn revoked(&self) {
        self.revoking.changed.notified().await;
    }

    /// Everything that was ended, and where the log of `system` ends now; nothing when it still ends at `seen` and no row was found
    /// to be gone.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn revocations_since(&self, seen: Cursor) -> Result<Option<(Cursor, Vec<Revocation>)>> {
        // The place first: what is written in between is read twice, and not missed.
        let heads = self.store.heads(&[NamespaceId::system()]).await?;
        let head = heads.first().map_or(Cursor::NONE, |(_, head)| head.cursor);
        if head == seen && self.revoking.lost().is_empty() {
            return Ok(None);
        }
        let mut revocations = self.store.revocations().await?;
        revocations.append(&mut self.revoking.lost());
        Ok(Some((head, revocations)))
    }

    /// Forgets revocations that end nothing any more.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn forget_revocations(&self, now: Micros) -> Result<u64> {
        // In doubt the store stays as it was found.
        if self.store.suspected_loss().is_some() {
            return Ok(0);
        }
        self.store.forget_revocations(now).await
    }
}
