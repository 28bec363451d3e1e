//! The use cases, one verb one file: authorize, read, decide (pure), sign, write, commit, wake.
//!
//! Never sees the wire: requests come and answers go in the domain's words.

mod access;
mod activate;
mod active;
mod active_list;
mod active_sets;
mod admit;
mod approve;
mod audit;
mod audit_imports;
mod binding;
mod bootstrap;
mod check;
mod check_slots;
mod check_workers;
mod context;
mod convergence;
mod deactivate;
mod denials;
mod draft;
mod epoch;
mod events;
mod export;
mod fair_slots;
mod import;
mod import_items;
mod import_log;
mod key_follow;
mod key_statements;
mod key_view;
mod keys;
mod log_progress;
mod lost_revocations;
mod meters;
mod namespace;
mod page_reader;
mod place;
mod pointer_history;
mod pointer_past;
mod policy;
mod publish;
mod publish_versions;
mod query;
mod quotas;
mod resign;
mod revoke;
mod rollback;
mod row_check;
mod run;
mod signer;
mod stage;
mod subscriber;
mod thaw;
mod token;
mod verify;
mod watch;
mod write;

pub use crate::store::{OneWait, wait_once};
pub use active::Active;
pub use bootstrap::{FIRST_ADMIN, Readiness};
pub use context::Context;
pub use convergence::Converged;
pub use epoch::{Bump, Bumped, bump_epoch};
pub use export::{RowExport, RowWithContent};
pub use fair_slots::{FairSlot, FairSlots};
pub use log_progress::LogProgress;
pub use meters::StreamPlace;
pub use query::{Difference, VersionWithContent};
pub use signer::Signer;

use std::sync::Arc;

use crate::domain::quota::ServerQuotas;
use crate::store::Store;
use crate::watch::Hub;
pub use crate::watch::{
    ActivationEnd, Changes, Encode, HeartbeatProof, Lease, Leases, SentKeyStatements, SnapshotEnd, Step, Subscription,
};

/// Everything a use case needs.
#[derive(Debug)]
pub struct Service {
    store: Store,
    signer: Arc<Signer>,
    hub: Arc<Hub>,
    leases: Arc<Leases>,
    places: place::Places,
    active_sets: Arc<active_sets::ActiveSets>,
    known_rows: Arc<row_check::KnownRows>,
    access: access::Access,
    admitted: admit::Admitted,
    denials: denials::Denials,
    waits: convergence::Waits,
    check_slots: check_slots::CheckSlots,
    check_workers: check_workers::CheckWorkers,
    break_glass: publish::BreakGlass,
    lowered_approvals: policy::LoweredApprovals,
    meters: meters::Meters,
    revoking: token::Revoking,
    following: key_follow::Following,
    audits: audit::Audits,
    sources: import_log::Sources,
    content_max_bytes: usize,
}

impl Service {
    /// A service over a store. `content_max_bytes` is at most `limits::CONTENT_MAX_BYTES`.
    #[must_use]
    pub fn new(
        store: Store,
        signer: Arc<Signer>,
        hub: Arc<Hub>,
        leases: Arc<Leases>,
        quotas: ServerQuotas,
        content_max_bytes: usize,
    ) -> Self {
        let (places, active_sets, access, admitted) = Default::default();
        let (waits, check_slots, check_workers) = Default::default();
        let (break_glass, revoking, following, audits, sources) = Default::default();
        let (lowered_approvals, known_rows, denials) = Default::default();
        let meters = meters::Meters::new(quotas);
        Self {
            store,
            signer,
            hub,
            leases,
            places,
            active_sets,
            known_rows,
            access,
            admitted,
            denials,
            waits,
            check_slots,
            check_workers,
            break_glass,
            lowered_approvals,
            meters,
            revoking,
            following,
            audits,
            sources,
            content_max_bytes,
        }
    }

    /// Who signs.
    #[must_use]
    pub fn signer(&self) -> &Signer {
        &self.signer
    }
}
