//! What the use cases of access share.

use std::sync::Arc;

use super::admission_cache::Admitted;
use super::denial_recorder::DenialRecorder;
use super::revocation_signal::Revoking;
use crate::service::log::{LogReader, LogWriter, RoleCache};
use crate::service::meters::Meters;

/// Who may do how much: namespaces, role bindings, quotas, tokens, denials.
#[derive(Debug)]
pub struct Access {
    pub(super) log: Arc<LogReader>,
    pub(super) writer: Arc<LogWriter>,
    pub(super) roles: Arc<RoleCache>,
    pub(super) admitted: Admitted,
    pub(super) denials: Arc<DenialRecorder>,
    pub(super) meters: Arc<Meters>,
    pub(super) revoking: Arc<Revoking>,
}

impl Access {
    pub(in crate::service) fn new(
        log: &Arc<LogReader>,
        writer: &Arc<LogWriter>,
        roles: Arc<RoleCache>,
        denials: Arc<DenialRecorder>,
        meters: &Arc<Meters>,
        revoking: &Arc<Revoking>,
    ) -> Self {
        Self {
            log: Arc::clone(log),
            writer: Arc::clone(writer),
            roles,
            admitted: Admitted::default(),
            denials,
            meters: Arc::clone(meters),
            revoking: Arc::clone(revoking),
        }
    }
}
