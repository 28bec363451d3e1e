//! What the use cases of running services share.

use std::sync::Arc;

use super::convergence_polls::Waits;
use super::set_digest_cache::Places;
use crate::service::log::{LogReader, LogWriter};
use crate::service::meters::Meters;
use crate::watch::Leases;

/// What running services read, watch and report.
#[derive(Debug)]
pub struct Sync {
    pub(super) log: Arc<LogReader>,
    pub(super) writer: Arc<LogWriter>,
    pub(super) leases: Arc<Leases>,
    pub(super) meters: Arc<Meters>,
    pub(super) set_digests: Places,
    pub(super) waits: Waits,
}

impl Sync {
    pub(in crate::service) fn new(
        log: &Arc<LogReader>,
        writer: &Arc<LogWriter>,
        leases: Arc<Leases>,
        meters: &Arc<Meters>,
    ) -> Self {
        Self {
            log: Arc::clone(log),
            writer: Arc::clone(writer),
            leases,
            meters: Arc::clone(meters),
            set_digests: Places::default(),
            waits: Waits::default(),
        }
    }
}
