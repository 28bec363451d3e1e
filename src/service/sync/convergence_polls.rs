//! Polls of the database that all who wait for a namespace share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::domain::name::NamespaceId;
use crate::domain::subscriber::Subscriber;
use crate::domain::time::Micros;

/// The subscribers of a namespace that are live or were lately, and how many are offline.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) recent: Vec<Subscriber>,
    pub(super) offline: u64,
    /// The time by which leases count.
    pub(super) now: Micros,
}

/// The looks that those who wait for a namespace share.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// Whoever has it looks next.
    pub(super) turn: tokio::sync::Mutex<()>,
    pub(super) newest: watch::Sender<Option<Arc<Survey>>>,
}

/// The looks of every namespace that somebody waits for.
#[derive(Debug, Default)]
pub(super) struct Waits(Mutex<BTreeMap<NamespaceId, Arc<Looks>>>);

impl Waits {
    pub(super) fn of(&self, namespace: &NamespaceId) -> Arc<Looks> {
        let mut waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What nobody but this map holds is done.
        waits.retain(|_, looks| Arc::strong_count(looks) > 1);
        Arc::clone(waits.entry(namespace.clone()).or_default())
    }
}
