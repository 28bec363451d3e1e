//! Keeps what was revoked in memory, on every replica.
//!
//! Invariant: a look that fails changes nothing, so in an outage of the database what was revoked stays revoked.

use std::sync::Arc;
use std::time::Duration;

use super::clock;
use crate::auth::Verifier;
use crate::domain::Result;
use crate::domain::event::Cursor;
use crate::service::Service;

/// Between two looks at the log of `system`, one row each. Too high: another replica's revocation is honoured late.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Looks whether anything was revoked since `seen`; answers what is seen now.
pub(super) async fn look(service: &Service, verifier: &Verifier, seen: Cursor) -> Result<Cursor> {
    let Some((head, revocations)) = service.access.revocations_since(seen).await? else { return Ok(seen) };
    let revoked = verifier.revoked().as_ref().clone().and(revocations, clock::now());
    verifier.revoke(revoked);
    Ok(head)
}

/// Looks again and again: at once after this replica revoked something, and once a second for what others did.
pub(super) async fn keep(service: Arc<Service>, verifier: Arc<Verifier>, mut seen: Cursor) {
    let mut failing = false;
    loop {
        tokio::select! {
            () = service.access.revoked() => {}
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
        match look(&service, &verifier, seen).await {
            Ok(now) => {
                seen = now;
                failing = false;
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "failed to look for revoked credentials; those known stay revoked");
                }
                failing = true;
            }
        }
    }
}
