//! Reads the logs of namespaces, in views that are at least as new as what this replica has read.

use std::sync::Arc;

use super::active_sets::ActiveSetCache;
use crate::domain::Result;
use crate::domain::name::NamespaceId;
use crate::domain::outcome::Namespace;
use crate::service::proof::Signer;
use crate::store::{ReadTx, Store};
use crate::watch::Hub;

/// Reads logs and proves the result.
#[derive(Debug)]
pub struct LogReader {
    /// The database.
    pub store: Store,
    /// The keys that prove it.
    pub signer: Arc<Signer>,
    /// The active sets in memory.
    pub hub: Arc<Hub>,
    /// The active sets of the logs that this replica writes to.
    pub active_sets: Arc<ActiveSetCache>,
}

impl LogReader {
    pub fn new(store: Store, signer: Arc<Signer>, hub: Arc<Hub>) -> Self {
        Self { store, signer, hub, active_sets: Arc::default() }
    }

    /// Opens a view of a namespace that is at least as new as what this replica has read of its log.
    pub async fn read_current(&self, namespace: &NamespaceId) -> Result<(ReadTx, Namespace)> {
        let read = self.hub.read_up_to(namespace);
        let tx = self.store.read().await?;
        let found = tx.namespace(namespace).await?;
        read.check_reaches(namespace, found.cursor);
        Ok((tx, found))
    }
}
