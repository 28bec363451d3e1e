//! Reads heads in rounds: one query serves every call that began before it was sent.
//!
//! So reads from memory are linearizable without a query for each (the read-index of Ongaro, "Consensus", §6.4).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

use super::counts::WatchCounts;
use crate::domain::Result;
use crate::domain::event::Cursor;
use crate::domain::name::NamespaceId;
use crate::store::Store;

/// Heads of logs, read in rounds.
#[derive(Debug)]
pub(super) struct ReadIndex {
    store: Store,
    /// The round that calls may still join: its query was not sent yet.
    open: Mutex<Arc<Round>>,
    /// Held by the round whose query is running.
    running: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Round {
    namespaces: Mutex<BTreeSet<NamespaceId>>,
    heads: OnceCell<Result<Arc<BTreeMap<NamespaceId, Cursor>>>>,
}

impl Round {
    fn namespaces(&self) -> MutexGuard<'_, BTreeSet<NamespaceId>> {
        self.namespaces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadIndex {
    pub(super) fn new(store: Store) -> Self {
        Self { store, open: Mutex::default(), running: tokio::sync::Mutex::default() }
    }

    /// Returns the head of a log, read after this call began.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`; `NAMESPACE_NOT_FOUND` for one that does not exist.
    pub(super) async fn head(&self, namespace: &NamespaceId, counts: &WatchCounts) -> Result<Cursor> {
        let round = {
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.namespaces().insert(namespace.clone());
            Arc::clone(&open)
        };
        // Boxed: one call of a round reads, and the others only wait. When that one is cancelled, another one reads instead.
        let heads = round.heads.get_or_init(|| Box::pin(self.read(&round, counts))).await.clone()?;
        heads.get(namespace).copied().ok_or_else(|| namespace.not_found())
    }

    async fn read(&self, round: &Arc<Round>, counts: &WatchCounts) -> Result<Arc<BTreeMap<NamespaceId, Cursor>>> {
        // While the previous query runs, calls gather in this round.
        let _running = self.running.lock().await;
        {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            if Arc::ptr_eq(&open, round) {
                *open = Arc::default();
            }
        }
        counts.head_rounds.add();
        let namespaces: Vec<NamespaceId> = round.namespaces().iter().cloned().collect();
        let heads = self.store.heads(&namespaces).await?;
        Ok(Arc::new(heads.into_iter().map(|(namespace, head)| (namespace, head.cursor)).collect()))
    }
}
