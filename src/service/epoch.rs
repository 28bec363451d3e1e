//! Raising the epoch: the operator accepts that the store lost its tail, and every log says so (docs/guarantees.md#g1b).
//!
//! One sealed event in each log, at its next revision, that moves no pointer. Begun and not ended, it is begun again.

use super::access::prove_revision;
use super::signer::Signer;
use super::write::sealed;
use crate::domain::Result;
use crate::domain::digest::ActiveSetRoot;
use crate::domain::event::{EventKind, Payload};
use crate::domain::name::NamespaceId;
use crate::store::{Epochs, LogState, Store};
use crate::watch::Verify as _;

/// Who raises it, in the events.
const ACTOR: &str = "local:operator";

/// A bump that was asked for.
#[derive(Debug, Clone, Copy)]
pub struct Bump {
    /// Also when nothing speaks for a loss.
    pub force: bool,
}

/// What a bump did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bumped {
    /// Every log is in this epoch now.
    Raised {
        /// The epoch.
        epoch: i64,
        /// How many logs got their event now; those of an interrupted bump before it have theirs.
        logs: usize,
    },
    /// Nothing speaks for a loss, so nothing was done.
    NotInDoubt {
        /// The epoch of the store.
        epoch: i64,
    },
}

/// Raises every log to one epoch that none of them was ever in.
///
/// # Errors
/// `DATABASE_UNAVAILABLE`, `OUTCOME_UNKNOWN`: some logs may be raised; the same again raises the others.
pub async fn bump_epoch(store: &Store, signer: &Signer, bump: Bump) -> Result<Bumped> {
    let doubt = store.check_for_loss().await?;
    // Heads are proven, and what they say was signed by keys that the log of `system` names.
    signer.install(signer.view().at_end(&store.read().await?, signer).await?);
    let Epochs { heads, highest, system_identity, unfinished } = store.epochs().await?;
    if doubt.is_none() && unfinished.is_none() && !bump.force {
        let epoch = heads.get(&NamespaceId::system()).map_or(highest, |cursor| cursor.epoch);
        return Ok(Bumped::NotInDoubt { epoch });
    }
    let epoch = unfinished.unwrap_or(highest + 1);
    store.begin_bump(epoch, &system_identity).await?;
    let reason = doubt.unwrap_or_else(|| "asked for by the operator".to_owned());
    // First the log that names the namespaces: those made from here on begin in the new epoch.
    let mut logs = usize::from(raise(store, signer, &NamespaceId::system(), epoch, &reason).await?);
    for namespace in store.epochs().await?.heads.into_keys() {
        logs += usize::from(raise(store, signer, &namespace, epoch, &reason).await?);
    }
    store.end_bump(&system_identity).await?;
    Ok(Bumped::Raised { epoch, logs })
}

/// Raises one log; answers whether it was below.
async fn raise(store: &Store, signer: &Signer, namespace: &NamespaceId, epoch: i64, reason: &str) -> Result<bool> {
    let mut tx = store.begin_despite_suspected_loss(namespace).await?;
    let head = tx.head();
    if head.cursor.epoch >= epoch {
        return Ok(false);
    }
    let state = LogState { head, access_revision: tx.access_revision() };
    let access_revision = prove_revision(signer, tx.read(), namespace, state).await?;
    // It moves no pointer: what the newest event was sealed with stands, whatever the rows say by now.
    let active_set_root = match head.cursor.revision {
        0 => Some(ActiveSetRoot::default()),
        revision => signer.head(&tx.read().event(namespace, revision).await?, head)?.active_set_root,
    };
    let cursor = head.next_epoch(epoch);
    let payload = Payload {
        store: signer.store().to_owned(),
        namespace: namespace.clone(),
        epoch: cursor.epoch,
        revision: cursor.revision,
        kind: EventKind::BumpEpoch,
        time: tx.time(),
        actor: ACTOR.to_owned(),
        request_id: String::new(),
        reason: reason.to_owned(),
        policy: None,
        versions: Vec::new(),
        changes: Vec::new(),
        settings: None,
        skipped_validation: false,
        access: None,
        access_revision,
        approvals: Vec::new(),
        statement_digest: None,
        active_set_root,
        rows: Vec::new(),
        imported: Vec::new(),
        settings_read: Vec::new(),
    };
    tx.raise_epoch(&sealed(signer, head, &payload, String::new())?).await?;
    tx.commit(|| {}).await?;
    Ok(true)
}
