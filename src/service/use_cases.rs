//! The use cases as one value, which wiring builds and handlers hold, grouped by subject.

use std::sync::Arc;

use super::access::{Access, DenialRecorder};
use super::archive::Archive;
use super::checking::CheckRunner;
use super::keys::SigningKeys;
use super::log::{KeyPoller, LogReader, LogWriter, RoleCache};
use super::long_reads::LongReads;
use super::meters::QuotaMeters;
use super::policies::Policies;
use super::proof::Signer;
use super::sync::Sync;
use crate::domain::Result;
use crate::domain::quota::ServerQuotas;
use crate::domain::time::Micros;
use crate::store::Store;
use crate::watch::{Hub, Leases};

/// Every use case of the server, by group.
#[derive(Debug)]
pub struct Service {
    /// Policies and their versions: created, checked, published, activated.
    pub policies: Policies,
    /// Access control: namespaces, role bindings, quotas, tokens and denials.
    pub access: Access,
    /// The signing keys.
    pub keys: SigningKeys,
    /// What running services read, watch and report.
    pub sync: Sync,
    /// The log as a whole: read, verified, exported, imported.
    pub archive: Archive,
    /// The slots of long reads, of calls and of downloads.
    pub long_reads: LongReads,
    pub(super) log: Arc<LogReader>,
    pub(super) checks: Arc<CheckRunner>,
}

impl Service {
    /// Builds every group over one store. `content_max_bytes` is at most `limits::CONTENT_MAX_BYTES`.
    #[must_use]
    pub fn new(
        store: Store,
        signer: Arc<Signer>,
        hub: Arc<Hub>,
        leases: Arc<Leases>,
        quotas: ServerQuotas,
        content_max_bytes: usize,
    ) -> Self {
        let long_reads = LongReads::new(store.readers_max());
        let log = Arc::new(LogReader::new(store, signer, hub));
        let roles = Arc::new(RoleCache::new(Arc::clone(&log)));
        let key_poller = Arc::new(KeyPoller::new(Arc::clone(&log)));
        let writer = Arc::new(LogWriter::new(Arc::clone(&log), Arc::clone(&roles), Arc::clone(&key_poller)));
        let denials = Arc::new(DenialRecorder::new(Arc::clone(&roles)));
        let meters = Arc::new(QuotaMeters::new(quotas));
        let checks = Arc::new(CheckRunner::new(&log));
        Self {
            policies: Policies::new(&log, &writer, &denials, &meters, &checks, content_max_bytes),
            access: Access::new(&log, &writer, roles, denials, &meters),
            keys: SigningKeys::new(&log, &writer, key_poller),
            sync: Sync::new(&log, &writer, leases, &meters),
            archive: Archive::new(&log, &writer, &meters, &checks, content_max_bytes),
            long_reads,
            log,
            checks,
        }
    }

    /// As [`crate::store::Store::generation`].
    #[must_use]
    pub fn store_generation(&self) -> u64 {
        self.log.store.generation()
    }

    /// As [`crate::store::Store::pending_reread`].
    #[must_use]
    pub fn pending_reread(&self) -> Option<u64> {
        self.log.store.pending_reread()
    }

    /// As [`crate::store::Store::reread_due`].
    pub async fn reread_due(&self) {
        self.log.store.reread_due().await;
    }

    /// As [`crate::store::Store::finish_reread`].
    pub fn finish_reread(&self, generation: u64) {
        self.log.store.finish_reread(generation);
    }

    /// Deletes stored answers that have expired.
    ///
    /// # Errors
    /// Errors of the database.
    pub async fn forget_answers(&self, now: Micros) -> Result<u64> {
        // While data loss is suspected nothing is deleted.
        if self.log.store.suspected_loss().is_some() {
            return Ok(0);
        }
        self.log.store.forget_answers(now).await
    }
}
