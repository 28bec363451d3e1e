//! The state that the use cases of the log as a whole share.

use std::sync::Arc;

use super::log_audits::LogAudits;
use super::source_log_cache::SourceLogCache;
use crate::service::checking::CheckRunner;
use crate::service::log::{LogReader, LogWriter};
use crate::service::meters::QuotaMeters;

/// The log as a whole: read, verified, exported, imported.
#[derive(Debug)]
pub struct Archive {
    pub(super) log: Arc<LogReader>,
    pub(super) writer: Arc<LogWriter>,
    pub(super) meters: Arc<QuotaMeters>,
    pub(super) checks: Arc<CheckRunner>,
    pub(super) audits: LogAudits,
    pub(super) source_logs: SourceLogCache,
    pub(super) content_max_bytes: usize,
}

impl Archive {
    pub(in crate::service) fn new(
        log: &Arc<LogReader>,
        writer: &Arc<LogWriter>,
        meters: &Arc<QuotaMeters>,
        checks: &Arc<CheckRunner>,
        content_max_bytes: usize,
    ) -> Self {
        Self {
            log: Arc::clone(log),
            writer: Arc::clone(writer),
            meters: Arc::clone(meters),
            checks: Arc::clone(checks),
            audits: LogAudits::default(),
            source_logs: SourceLogCache::default(),
            content_max_bytes,
        }
    }
}
