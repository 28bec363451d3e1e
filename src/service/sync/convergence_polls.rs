//! Polls of the database, shared by all calls that wait for a namespace.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::watch;

use crate::domain::name::NamespaceId;
use crate::domain::subscriber::Subscriber;
use crate::domain::time::Micros;

/// The subscribers of a namespace that are or recently were online, and the number of offline ones.
#[derive(Debug)]
pub(super) struct SubscriberSnapshot {
    pub(super) recent: Vec<Subscriber>,
    pub(super) offline: u64,
    /// The time at which leases were compared.
    pub(super) now: Micros,
    /// What followers compare; computed by the first of them that looks.
    pub(super) stamp: OnceLock<u64>,
}

/// The polls shared by all calls that wait for a namespace.
#[derive(Debug, Default)]
pub(super) struct NamespacePolls {
    /// The holder polls next.
    pub(super) poll_lock: tokio::sync::Mutex<()>,
    pub(super) newest: watch::Sender<Option<Arc<SubscriberSnapshot>>>,
}

/// The polls of every namespace that a call waits for.
#[derive(Debug, Default)]
pub(super) struct ConvergencePolls(Mutex<BTreeMap<NamespaceId, Arc<NamespacePolls>>>);

impl ConvergencePolls {
    pub(super) fn get_or_insert(&self, namespace: &NamespaceId) -> Arc<NamespacePolls> {
        let mut polls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Only this map holds polls that no call waits for.
        polls.retain(|_, polls| Arc::strong_count(polls) > 1);
        Arc::clone(polls.entry(namespace.clone()).or_default())
    }
}
