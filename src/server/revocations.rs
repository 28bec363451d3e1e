//! Keeps the revoked credentials in memory, on every replica.
//!
//! Invariant: a poll that fails changes nothing, so revoked credentials stay revoked while the database is down.

use std::sync::Arc;
use std::time::Duration;

use super::clock;
use crate::auth::Verifier;
use crate::domain::Result;
use crate::domain::event::Head;
use crate::service::Service;

/// Time between two polls of the log of `system`, of one row each. Too high: another replica's revocation takes effect late.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Adds what was revoked since `seen` to the verifier, and returns the new head. When a reread is pending, it ends the suspicion of a data
/// loss after keys and revocations were read again: otherwise a credential that another log accepted could write.
pub(super) async fn load_new(service: &Service, verifier: &Verifier, seen: Head) -> Result<Head> {
    let reread = service.pending_reread();
    if reread.is_some() {
        service.keys.follow_keys(clock::now()).await?;
    }
    let seen = if reread.is_some() { Head::EMPTY } else { seen };
    let found = service.access.revocations_since(seen).await?;
    let head = found.map_or(seen, |(head, revocations)| {
        verifier.revoke(verifier.revoked().as_ref().clone().and(revocations, clock::now()));
        head
    });
    if let Some(generation) = reread {
        service.finish_reread(generation);
    }
    Ok(head)
}

/// Loads new revocations until it is cancelled: at once after one of this replica, and once a second for those of others.
pub(super) async fn follow(service: Arc<Service>, verifier: Arc<Verifier>, mut seen: Head) {
    let mut failing = false;
    loop {
        tokio::select! {
            () = service.access.revoked() => {}
            () = service.reread_due() => {}
            () = tokio::time::sleep(POLL_INTERVAL) => {}
        }
        match load_new(&service, &verifier, seen).await {
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
