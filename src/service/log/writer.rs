//! The state that every write of a log needs.

use std::sync::Arc;

use super::key_poller::KeyPoller;
use super::reader::LogReader;
use super::role_cache::RoleCache;
use super::row_check::RowCheck;

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
}
