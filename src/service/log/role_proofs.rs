//! The proof of role bindings.
//!
//! Invariant: a role counts only when an event of the log proves it. Every event names the last one that changed the bindings, and that
//! one has the digest of all of them: a row that was written by hand raises an alarm and has no effect. In `system`, whose roles hold
//! everywhere, that event must be the one that was read there, each event hashed onto the one before.

use crate::domain::binding::RoleBinding;
use crate::domain::digest::Digest;
use crate::domain::event::{Cursor, Head};
use crate::domain::name::NamespaceId;
use crate::domain::{Error, Result};
use crate::service::proof::{KeyView, Signer};
use crate::signing::digest_of;
use crate::store::{LogState, ReadTx};
use crate::watch::Verify as _;

/// Returns the digest of the bindings of a log, which must be in order of ids.
pub fn bindings_digest(bindings: &[RoleBinding]) -> Result<Digest> {
    let bytes = serde_json::to_vec(bindings).map_err(|error| Error::internal(error.to_string()))?;
    Ok(digest_of(&bytes))
}

pub fn bindings_broken(namespace: &NamespaceId, what: &str) -> Error {
    Error::data_loss(format!("role bindings of {namespace}: {what}"))
}

/// Returns the last revision that changed the bindings: that of the row, if the event at the head also names it.
///
/// # Errors
/// `DATA_LOSS`.
pub async fn prove_revision(signer: &Signer, tx: &ReadTx, namespace: &NamespaceId, state: LogState) -> Result<i64> {
    let Head { cursor: Cursor { revision, .. }, .. } = state.head;
    let proven = match revision {
        0 => 0,
        _ => signer.head(&tx.event(namespace, revision).await?, state.head)?.access_revision,
    };
    if proven == state.access_revision {
        return Ok(proven);
    }
    Err(bindings_broken(namespace, "the row of the namespace names another revision than the head of the log"))
}

/// Reads the bindings of a log and proves them. Returns them and the event that changed them last; none when no event did.
///
/// # Errors
/// `DATA_LOSS`.
pub async fn prove_bindings(
    signer: &Signer,
    tx: &ReadTx,
    namespace: &NamespaceId,
    state: LogState,
) -> Result<(Vec<RoleBinding>, Option<Head>)> {
    let revision = prove_revision(signer, tx, namespace, state).await?;
    let bindings = tx.bindings(namespace).await?;
    if revision == 0 {
        return if bindings.is_empty() {
            Ok((bindings, None))
        } else {
            Err(bindings_broken(namespace, "there are rows without an event"))
        };
    }
    let event = tx.event(namespace, revision).await?;
    match signer.event(&event)?.access {
        Some(access) if access.bindings_digest == bindings_digest(&bindings)? => {
            Ok((bindings, Some(Head { cursor: event.cursor, hash: event.hash })))
        }
        Some(_) => Err(bindings_broken(namespace, "the rows are not those of the log")),
        None => Err(bindings_broken(namespace, "the event that is named changed none")),
    }
}

/// Reads and proves the bindings of a log. In `system` the event that changed them last must also be the one that was read there, each event
/// hashed onto the one before. Take `view` before the transaction begins: a view of later events says nothing of an earlier state.
///
/// # Errors
/// `DATA_LOSS`.
pub async fn prove_chained_bindings(
    signer: &Signer,
    view: &KeyView,
    tx: &ReadTx,
    namespace: &NamespaceId,
    state: LogState,
) -> Result<Vec<RoleBinding>> {
    let (bindings, changed_by) = prove_bindings(signer, tx, namespace, state).await?;
    if namespace.is_system() && changed_by != view.at_end(tx, signer).await?.bindings_event() {
        return Err(bindings_broken(namespace, "another event stands where they were changed last"));
    }
    Ok(bindings)
}
