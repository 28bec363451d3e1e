//! The use cases, one verb one file: authorize, read, decide (pure), sign, write, commit, wake.
//!
//! Never sees the wire: requests come and answers go in the domain's words.

mod access;
mod activate;
mod active;
mod active_sets;
mod approve;
mod audit;
mod audit_imports;
mod binding;
mod bootstrap;
mod check;
mod context;
mod convergence;
mod deactivate;
mod draft;
mod epoch;
mod events;
mod export;
mod import;
mod import_items;
mod import_log;
mod key_follow;
mod key_statements;
mod key_view;
mod keys;
mod meters;
mod namespace;
mod place;
mod policy;
mod publish;
mod query;
mod quotas;
mod resign;
mod revoke;
mod rollback;
mod run;
mod signer;
mod stage;
mod subscriber;
mod token;
mod verify;
mod watch;
mod write;

pub use crate::store::RowKey;
pub use crate::store::{OneWait, wait_once};
pub use active::Active;
pub use bootstrap::{FIRST_ADMIN, Readiness};
pub use context::Context;
pub use convergence::Converged;
pub use epoch::{Bump, Bumped, bump_epoch};
pub use export::{RowWithContent, RowsPage};
pub use keys::{KeyInfo, KeyPurpose};
pub use meters::StreamPlace;
pub use query::{Difference, VersionWithContent};
pub use signer::Signer;

use std::sync::Arc;

use crate::domain::quota::ServerQuotas;
use crate::store::Store;
use crate::watch::Hub;
pub use crate::watch::{Encode, Lease, Leases, Proven, SnapshotEnd, Step, Subscription};

/// Everything a use case needs.
#[derive(Debug)]
pub struct Service {
    store: Store,
    signer: Arc<Signer>,
    hub: Arc<Hub>,
    leases: Arc<Leases>,
    places: place::Places,
    active_sets: Arc<active_sets::ActiveSets>,
    access: access::Access,
    waits: convergence::Waits,
    checkers: check::Checkers,
    break_glass: publish::BreakGlass,
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
        let (places, active_sets, access, waits, checkers) = Default::default();
        let (break_glass, revoking, following, audits, sources) = Default::default();
        let meters = meters::Meters::new(quotas);
        Self {
            store,
            signer,
            hub,
            leases,
            places,
            active_sets,
            access,
            waits,
            checkers,
            break_glass,
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
