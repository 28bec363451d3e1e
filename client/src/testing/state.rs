//! What all streams, calls and handles of a testing hub share.
//!
//! One value under one lock, which is never held while anything is awaited; each change of it wakes every stream.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tonic::Status;

use super::builder::TestHubSettings;
use super::log::NamespaceLog;
use super::report::SubscriberReport;
use super::signer::TestSigner;
use crate::clock::now_seconds;
use crate::retry::new_request_id;
use policyhub_core::domain::Result;
use policyhub_core::domain::name::NamespaceId;
use policyhub_core::domain::time::Micros;

/// A testing hub, as its server sees it.
#[derive(Debug)]
pub(super) struct SharedState {
    pub(super) signer: TestSigner,
    pub(super) content_type: String,
    pub(super) heartbeat_interval: Duration,
    state: Mutex<HubState>,
    changed: watch::Sender<()>,
}

/// Holds what changes while a hub runs.
#[derive(Debug, Default)]
pub(super) struct HubState {
    pub(super) namespaces: BTreeMap<NamespaceId, NamespaceLog>,
    /// Holds the reports in the order in which they came.
    pub(super) reports: Vec<(NamespaceId, SubscriberReport)>,
    /// Says whether the hub answers nothing and sends nothing.
    pub(super) is_paused: bool,
    /// Says how often all streams were ended.
    pub(super) disconnects: u64,
    /// The next snapshot or activation carries a broken signature.
    pub(super) tampers_next: bool,
    /// No handle is left.
    pub(super) is_over: bool,
}

impl HubState {
    /// Returns the log of a namespace.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`.
    pub(super) fn log(&self, namespace: &NamespaceId) -> Result<&NamespaceLog> {
        self.namespaces.get(namespace).ok_or_else(|| namespace.not_found())
    }
}

impl SharedState {
    pub(super) fn new(settings: TestHubSettings) -> Result<Arc<Self>> {
        let TestHubSettings { namespace, content_type, checkpoint_lifetime_seconds, heartbeat_interval } = settings;
        let signer = TestSigner::new(new_request_id(), checkpoint_lifetime_seconds, now_seconds())?;
        let (state, changed) = (Mutex::default(), watch::Sender::new(()));
        let shared = Self { signer, content_type, heartbeat_interval, state, changed };
        shared.add_namespace(namespace);
        Ok(Arc::new(shared))
    }

    /// Makes a namespace, unless it is there.
    pub(super) fn add_namespace(&self, namespace: NamespaceId) {
        let store = self.signer.store();
        self.change(|state| {
            state.namespaces.entry(namespace.clone()).or_insert_with(|| NamespaceLog::new(namespace, store));
        });
    }

    /// Reads the state as it is now.
    pub(super) fn read<T>(&self, read: impl FnOnce(&HubState) -> T) -> T {
        read(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the state, and wakes whoever waits for a change.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut HubState) -> T) -> T {
        let outcome = change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.send_replace(());
        outcome
    }

    /// Returns whether the next document is to be broken, once.
    pub(super) fn takes_tamper(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut state.tampers_next)
    }

    /// Listens for changes that come from now on.
    pub(super) fn listen(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Waits until there is something in the state.
    pub(super) async fn wait_for<T>(&self, find: impl Fn(&HubState) -> Option<T>) -> T {
        let mut changes = self.listen();
        loop {
            if let Some(found) = self.read(&find) {
                return found;
            }
            // The sender is a part of this value, so that a change is all that ends the wait.
            let _ = changes.changed().await;
        }
    }

    /// Waits while the hub is paused.
    ///
    /// # Errors
    /// UNAVAILABLE once no handle of the hub is left.
    pub(super) async fn running(&self) -> Result<(), Status> {
        self.wait_for(|state| if state.is_over { Some(Err(over())) } else { (!state.is_paused).then_some(Ok(())) })
            .await
    }
}

/// Returns the status of every call and stream of a hub that has no handle any more.
pub(super) fn over() -> Status {
    Status::unavailable("the testing hub has ended")
}

/// Returns the time now, in whole seconds as documents carry it.
pub(super) fn now() -> Micros {
    Micros(now_seconds().saturating_mul(1_000_000))
}
