//! The state that the use cases of running services share.

use std::sync::Arc;

use super::convergence_polls::ConvergencePolls;
use super::search_slots::SearchSlots;
use super::set_digest_cache::SetDigestCache;
use crate::service::log::{LogReader, LogWriter};
use crate::service::meters::QuotaMeters;
use crate::watch::Leases;

/// What running services read, watch and report.
#[derive(Debug)]
pub struct Sync {
    pub(super) log: Arc<LogReader>,
    pub(super) writer: Arc<LogWriter>,
    pub(super) leases: Arc<Leases>,
    pub(super) meters: Arc<QuotaMeters>,
    pub(super) set_digests: SetDigestCache,
    pub(super) polls: ConvergencePolls,
    pub(super) searches: SearchSlots,
}

impl Sync {
    pub(in crate::service) fn new(
        log: &Arc<LogReader>,
        writer: &Arc<LogWriter>,
        leases: Arc<Leases>,
        meters: &Arc<QuotaMeters>,
    ) -> Self {
        Self {
            log: Arc::clone(log),
            writer: Arc::clone(writer),
            leases,
            meters: Arc::clone(meters),
            set_digests: SetDigestCache::default(),
            polls: ConvergencePolls::default(),
            searches: SearchSlots::default(),
        }
    }
}
