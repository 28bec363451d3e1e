//! What the use cases of the log as a whole share.

use std::sync::Arc;

use super::log_audits::Audits;
use super::source_log_cache::Sources;
use crate::service::access::Revoking;
use crate::service::checking::CheckRunner;
use crate::service::log::{LogReader, LogWriter};
use crate::service::meters::Meters;

/// The log as a whole: read back, verified, exported, imported.
#[derive(Debug)]
pub struct Archive {
    pub(super) log: Arc<LogReader>,
    pub(super) writer: Arc<LogWriter>,
    pub(super) meters: Arc<Meters>,
    pub(super) checks: Arc<CheckRunner>,
    pub(super) revoking: Arc<Revoking>,
    pub(super) audits: Audits,
    pub(super) sources: Sources,
    pub(super) content_max_bytes: usize,
}

impl Archive {
    pub(in crate::service) fn new(
        log: &Arc<LogReader>,
        writer: &Arc<LogWriter>,
        meters: &Arc<Meters>,
        checks: &Arc<CheckRunner>,
        revoking: Arc<Revoking>,
        content_max_bytes: usize,
    ) -> Self {
        Self {
            log: Arc::clone(log),
            writer: Arc::clone(writer),
            meters: Arc::clone(meters),
            checks: Arc::clone(checks),
            revoking,
            audits: Audits::default(),
            sources: Sources::default(),
            content_max_bytes,
        }
    }
}
