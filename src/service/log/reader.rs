//! Reading the logs of namespaces: what a reader needs, and a view that is as new as what this replica knows.

use std::sync::Arc;

use super::active_sets::ActiveSets;
use crate::domain::Result;
use crate::domain::name::NamespaceId;
use crate::domain::outcome::Namespace;
use crate::service::proof::Signer;
use crate::store::{ReadTx, Store};
use crate::watch::Hub;

/// Reads logs and proves what it reads. Every use case has one.
#[derive(Debug)]
pub struct LogReader {
    /// The database.
    pub store: Store,
    /// The keys that prove what was read.
    pub signer: Arc<Signer>,
    /// What is in force, from memory.
    pub hub: Arc<Hub>,
    /// The active sets of the logs that this replica writes to.
    pub active_sets: Arc<ActiveSets>,
}

impl LogReader {
    pub fn new(store: Store, signer: Arc<Signer>, hub: Arc<Hub>) -> Self {
        Self { store, signer, hub, active_sets: Arc::default() }
    }

    /// A view of a namespace that is at least as new as what this replica has read of its log.
    pub async fn read_current(&self, namespace: &NamespaceId) -> Result<(ReadTx, Namespace)> {
        let read = self.hub.read_up_to(namespace);
        let tx = self.store.read().await?;
        let found = tx.namespace(namespace).await?;
        read.check_reaches(namespace, found.cursor);
        Ok((tx, found))
    }
}
