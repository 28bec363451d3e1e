//! RevokeToken: revokes credentials before they expire. Its events are in the log of `system`.

use super::use_cases::Access;
use crate::domain::event::{Change, EventKind, Head, Position};
use crate::domain::limits::REVOCATIONS_MAX;
use crate::domain::name::NamespaceId;
use crate::domain::revocation::{Revocation, RevokeToken};
use crate::domain::time::Micros;
use crate::domain::{Error, Reason, Result};
use crate::service::context::Context;

impl Access {
    /// Revokes one token, or all tokens issued to a subject until now. Returns the position of the event.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `LIMIT_EXCEEDED`.
    pub async fn revoke_token(&self, context: &Context, request: RevokeToken) -> Result<Option<Position>> {
        request.check()?;
        let call = self.writer.call(context, "RevokeToken", &request)?;
        let answer = call
            .mutate(&NamespaceId::system(), async |write| {
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
                let change =
                    Change { reason: request.reason.clone(), settings, ..Change::new(EventKind::RevokeToken, None) };
                let recorded = write.record(change).await?;
                Ok(recorded.cursor)
            })
            .await?;
        self.revoked.notify_one();
        Ok(answer)
    }

    /// Waits until this replica revoked something.
    pub async fn revoked(&self) {
        self.revoked.notified().await;
    }

    /// Returns the revocations that followed `seen` in the log of `system`, all of them if its epoch was raised since, and its head; none when
    /// the head is still `seen`.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`; `DATA_LOSS` for a log that does not verify.
    pub async fn revocations_since(&self, seen: Head) -> Result<Option<(Head, Vec<Revocation>)>> {
        let heads = self.log.store.heads(&[NamespaceId::system()]).await?;
        if heads.first().is_none_or(|(_, head)| *head == seen) {
            return Ok(None);
        }
        let view = self.log.signer.view();
        let tx = self.log.store.read().await?;
        let view = view.at_end(&tx, &*self.log.signer).await?;
        let after = if view.head().cursor.epoch == seen.cursor.epoch { seen.cursor.revision } else { 0 };
        Ok(Some((view.head(), view.revocations_after(after).cloned().collect())))
    }

    /// Deletes revocations of credentials that have expired.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn forget_revocations(&self, now: Micros) -> Result<u64> {
        // While data loss is suspected nothing is deleted.
        if self.log.store.suspected_loss().is_some() {
            return Ok(0);
        }
        self.log.store.forget_revocations(now).await
    }
}
