//! The state that the use cases of access share.

use std::sync::Arc;

use tokio::sync::Notify;

use super::admission_cache::AdmissionCache;
use super::denial_recorder::DenialRecorder;
use crate::service::log::{LogReader, LogWriter, RoleCache};
use crate::service::meters::QuotaMeters;

/// Access control: namespaces, role bindings, quotas, tokens and denials.
#[derive(Debug)]
pub struct Access {
    pub(super) log: Arc<LogReader>,
    pub(super) writer: Arc<LogWriter>,
    pub(super) roles: Arc<RoleCache>,
    pub(super) admitted: AdmissionCache,
    pub(super) denials: Arc<DenialRecorder>,
    pub(super) meters: Arc<QuotaMeters>,
    /// Notified after each revocation of this replica.
    pub(super) revoked: Notify,
}

impl Access {
    pub(in crate::service) fn new(
        log: &Arc<LogReader>,
        writer: &Arc<LogWriter>,
        roles: Arc<RoleCache>,
        denials: Arc<DenialRecorder>,
        meters: &Arc<QuotaMeters>,
    ) -> Self {
        Self {
            log: Arc::clone(log),
            writer: Arc::clone(writer),
            roles,
            admitted: AdmissionCache::default(),
            denials,
            meters: Arc::clone(meters),
            revoked: Notify::new(),
        }
    }
}
