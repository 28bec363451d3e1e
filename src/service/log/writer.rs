//! The state that every write of a log needs.

use std::sync::Arc;

use super::key_poller::KeyPoller;
use super::reader::LogReader;
use super::role_cache::RoleCache;
use super::row_check::RowCheck;
use crate::domain::Result;
use crate::service::context::{AuthorizedBy, Context};

/// Writes logs: use `call`, then `mutate`.
#[derive(Debug)]
pub struct LogWriter {
    pub log: Arc<LogReader>,
    pub rows: Arc<RowCheck>,
    pub roles: Arc<RoleCache>,
    pub key_poller: Arc<KeyPoller>,
}

impl LogWriter {
    pub fn new(log: Arc<LogReader>, roles: Arc<RoleCache>, key_poller: Arc<KeyPoller>) -> Self {
        Self { rows: Arc::new(RowCheck::new(Arc::clone(&log))), log, roles, key_poller }
    }

    /// Checks the authority of a caller once more, right before a write: the call may have come before its credential was revoked, or while
    /// the store was in doubt and authorized it by another log than its own.
    ///
    /// # Errors
    /// `STORE_IN_DOUBT`, `TOKEN_REVOKED`.
    pub fn check_authority(&self, context: &Context) -> Result<()> {
        let Some(AuthorizedBy { credential, generation }) = &context.authorized_by else { return Ok(()) };
        self.log.store.check_generation(*generation)?;
        self.log.signer.view().revoked_credentials().check(&context.principal, credential)
    }
}
