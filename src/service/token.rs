//! Ending credentials before their time. Its events stand in the log of `system`.

use serde_json::json;
use tokio::sync::Notify;

use super::write::Begun;
use super::{Context, Service};
use crate::domain::event::{Change, Cursor, EventKind, Position};
use crate::domain::limits::REVOCATIONS_MAX;
use crate::domain::name::NamespaceId;
use crate::domain::revocation::{Ended, Revocation, RevokeToken};
use crate::domain::time::Micros;
use crate::domain::{Error, Reason, Result};

/// Tells whoever keeps the revocations in memory that this replica has made one.
#[derive(Debug, Default)]
pub(super) struct Revoking(Notify);

fn change(request: &RevokeToken, revocation: &Revocation) -> Change {
    let settings = match (&request.ended, revocation) {
        (Ended::Subject(subject), Revocation::Subject { time, .. }) => {
            json!({"subject": subject, "issued_until": time})
        }
        (Ended::Token(id) | Ended::Subject(id), _) => json!({"token_id": id}),
    };
    Change { reason: request.reason.clone(), settings: Some(settings), ..Change::new(EventKind::RevokeToken, None) }
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
        let recorded = write.record(change(&request, &revocation)).await?;
        let answer = write.finish(recorded.cursor).await?;
        self.revoking.0.notify_one();
        Ok(answer)
    }

    /// Waits until this replica has ended something.
    pub async fn revoked(&self) {
        self.revoking.0.notified().await;
    }

    /// Everything that was ended, unless the log of `system` still ends at `seen`; and where it ends now.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn revocations_since(&self, seen: Cursor) -> Result<Option<(Cursor, Vec<Revocation>)>> {
        // The place first: what is written in between is read twice, and not missed.
        let heads = self.store.heads(&[NamespaceId::system()]).await?;
        let head = heads.first().map_or(Cursor::NONE, |(_, head)| head.cursor);
        if head == seen {
            return Ok(None);
        }
        Ok(Some((head, self.store.revocations().await?)))
    }

    /// Forgets revocations that end nothing any more.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn forget_revocations(&self, now: Micros) -> Result<u64> {
        // In doubt the store stays as it was found.
        if self.store.doubt().is_some() {
            return Ok(0);
        }
        self.store.forget_revocations(now).await
    }
}
