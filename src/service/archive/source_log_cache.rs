//! A cache of the logs of sources, for as long as their rows are imported.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use crate::domain::import::ImportSource;
use crate::domain::name::NamespaceId;
use crate::signing::chain::LogCheck;

/// Number of logs in the cache. The size of each grows with the rows that it names.
const CACHED_LOGS_MAX: usize = 2;

/// The logs of sources whose rows are being imported.
#[derive(Debug)]
pub(super) struct SourceLogCache {
    pub(super) slot: Semaphore,
    kept: Mutex<Vec<(NamespaceId, ImportSource, Arc<LogCheck>)>>,
}

impl Default for SourceLogCache {
    fn default() -> Self {
        Self { slot: Semaphore::new(1), kept: Mutex::default() }
    }
}

impl SourceLogCache {
    pub(super) fn find(&self, namespace: &NamespaceId, source: &ImportSource) -> Option<Arc<LogCheck>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = kept.iter().filter(|(of, from, _)| of == namespace && from == source);
        found.next().map(|(_, _, log)| Arc::clone(log))
    }

    pub(super) fn keep(&self, namespace: &NamespaceId, source: &ImportSource, log: &Arc<LogCheck>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(of, _, _)| of != namespace);
        if kept.len() >= CACHED_LOGS_MAX {
            kept.remove(0);
        }
        kept.push((namespace.clone(), source.clone(), Arc::clone(log)));
    }

    /// Removes the log of an import that is finished.
    pub(super) fn forget(&self, namespace: &NamespaceId) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).retain(|(of, _, _)| of != namespace);
    }
}
