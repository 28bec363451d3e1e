//! The state that the use cases of access share.

use std::sync::Arc;

use super::admission_cache::AdmissionCache;
use super::denial_recorder::DenialRecorder;
use super::revocation_signal::RevocationSignal;
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
    pub(super) revocations: Arc<RevocationSignal>,
}

impl Access {
    pub(in crate::service) fn new(
        log: &Arc<LogReader>,
        writer: &Arc<LogWriter>,
        roles: Arc<RoleCache>,
        denials: Arc<DenialRecorder>,
        meters: &Arc<QuotaMeters>,
        revocations: &Arc<RevocationSignal>,
    ) -> Self {
        Self {
            log: Arc::clone(log),
            writer: Arc::clone(writer),
            roles,
            admitted: AdmissionCache::default(),
            denials,
            meters: Arc::clone(meters),
            revocations: Arc::clone(revocations),
        }
    }
}
