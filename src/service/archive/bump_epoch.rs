//! Raises the epoch: the operator accepts that the store lost its tail, and an event in every log records it (docs/guarantees.md#g1b).
//!
//! Each log gets one signed event, at its next revision, that moves no pointer. Repeating an interrupted bump completes it.

use crate::domain::Result;
use crate::domain::digest::ActiveSetRoot;
use crate::domain::event::{EventKind, Payload};
use crate::domain::name::NamespaceId;
use crate::service::log::{prove_revision, sign_event};
use crate::service::proof::Signer;
use crate::store::{Epochs, LogState, Store};
use crate::watch::Verify as _;

/// The actor of the events.
const ACTOR: &str = "local:operator";

/// The request of an operator.
#[derive(Debug, Clone, Copy)]
pub struct EpochBump {
    /// Whether to raise the epoch although no data loss is suspected.
    pub force: bool,
}

/// The result of a bump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EpochBumpOutcome {
    /// Every log is in this epoch now.
    Raised {
        /// The epoch.
        epoch: i64,
        /// How many logs got their event in this call, without those that an interrupted bump raised before.
        logs: usize,
    },
    /// No data loss is suspected, so nothing was done.
    NotInDoubt {
        /// The epoch of the store.
        epoch: i64,
    },
}

/// Raises every log to one epoch that is new to all of them.
///
/// # Errors
/// `DATABASE_UNAVAILABLE`, `OUTCOME_UNKNOWN`: some logs may be raised; the same call again raises the others.
pub async fn bump_epoch(store: &Store, signer: &Signer, bump: EpochBump) -> Result<EpochBumpOutcome> {
    let suspicion = store.check_for_loss().await?;
    // The heads are proven with the keys that the log of `system` names.
    signer.install(signer.view().at_end(&store.read().await?, signer).await?);
    let Epochs { heads, highest, system_identity, unfinished } = store.epochs().await?;
    if suspicion.is_none() && unfinished.is_none() && !bump.force {
        let epoch = heads.get(&NamespaceId::system()).map_or(highest, |cursor| cursor.epoch);
        return Ok(EpochBumpOutcome::NotInDoubt { epoch });
    }
    let epoch = unfinished.unwrap_or(highest + 1);
    store.begin_bump(epoch, &system_identity).await?;
    let reason = suspicion.unwrap_or_else(|| "asked for by the operator".to_owned());
    // Raise the log of `system` first: namespaces that are created from here on begin in the new epoch.
    let mut logs = usize::from(raise(store, signer, &NamespaceId::system(), epoch, &reason).await?);
    for namespace in store.epochs().await?.heads.into_keys() {
        logs += usize::from(raise(store, signer, &namespace, epoch, &reason).await?);
    }
    store.end_bump(&system_identity).await?;
    Ok(EpochBumpOutcome::Raised { epoch, logs })
}

/// Raises one log. Returns whether its epoch was lower.
async fn raise(store: &Store, signer: &Signer, namespace: &NamespaceId, epoch: i64, reason: &str) -> Result<bool> {
    let mut tx = store.begin_despite_suspected_loss(namespace).await?;
    let head = tx.head();
    if head.cursor.epoch >= epoch {
        return Ok(false);
    }
    let state = LogState { head, access_revision: tx.access_revision() };
    let access_revision = prove_revision(signer, tx.read(), namespace, state).await?;
    // The event moves no pointer, so the root of the newest event stays, whatever the rows contain.
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
        schedule: None,
    };
    tx.raise_epoch(&sign_event(signer, head, &payload, String::new())?).await?;
    tx.commit(|| {}).await?;
    Ok(true)
}
