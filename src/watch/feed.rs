//! The feed of one namespace: its active set, its head and its newest activations, level with the tailer.
//!
//! Snapshot and tail are one cursor: both are read under one lock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::ring::{After, Ring};
use crate::domain::bundle::{Activation, ActiveBundle, ActiveSet};
use crate::domain::event::{Cursor, Head};
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::time::Micros;

/// What a replica knows of a namespace that somebody watches.
#[derive(Debug)]
pub struct Feed {
    namespace: NamespaceId,
    state: Mutex<State>,
    /// Tells every subscriber that the head moved. It carries no frames: those are pulled.
    moved: watch::Sender<Cursor>,
}

#[derive(Debug)]
struct State {
    head: Head,
    /// When the head was last compared with the database.
    checked: Micros,
    active: BTreeMap<PolicyId, ActiveBundle>,
    ring: Ring,
}

impl Feed {
    pub(super) fn new(set: ActiveSet, checked: Micros, ring_capacity: usize) -> Self {
        let head = Head { cursor: set.cursor, hash: set.head_hash };
        let active =
            set.bundles.into_iter().map(|active| (active.bundle.version.policy.policy.clone(), active)).collect();
        let ring = Ring::new(head.cursor.revision, ring_capacity);
        Self {
            namespace: set.namespace,
            state: Mutex::new(State { head, checked, active, ring }),
            moved: watch::Sender::new(head.cursor),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock panics, and every change of the state is complete before it is released.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose feed it is.
    #[must_use]
    pub fn namespace(&self) -> &NamespaceId {
        &self.namespace
    }

    /// How far it has read.
    #[must_use]
    pub fn head(&self) -> Head {
        self.state().head
    }

    /// The active set and the cursor it belongs to.
    #[must_use]
    pub fn active_set(&self) -> ActiveSet {
        let state = self.state();
        ActiveSet {
            namespace: self.namespace.clone(),
            cursor: state.head.cursor,
            head_hash: state.head.hash,
            bundles: state.active.values().cloned().collect(),
        }
    }

    /// What comes after a revision, and the head that answer belongs to: read apart, an activation could slip between.
    pub(super) fn after(&self, revision: i64) -> (After, Cursor) {
        let state = self.state();
        (state.ring.after(revision), state.head.cursor)
    }

    pub(super) fn listen(&self) -> watch::Receiver<Cursor> {
        self.moved.subscribe()
    }

    /// When it was last known to be level with the database.
    #[must_use]
    pub fn checked(&self) -> Micros {
        self.state().checked
    }

    /// Notes that the database has nothing after the head, as of `now`.
    pub(super) fn check(&self, stored: Head, now: Micros) {
        let mut state = self.state();
        if state.head == stored {
            state.checked = now;
        }
    }

    /// Streams that listen now.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.moved.receiver_count()
    }

    /// Takes in what the tailer read: all of it, then one wake.
    pub(super) fn advance(&self, activations: Vec<Activation>, head: Head) {
        {
            let mut state = self.state();
            for activation in activations {
                for policy in &activation.tombstones {
                    state.active.remove(policy);
                }
                for bundle in &activation.bundles {
                    let active = ActiveBundle {
                        bundle: Arc::clone(bundle),
                        revision: activation.cursor.revision,
                        statement: Arc::clone(&activation.statement),
                        preview: false,
                    };
                    state.active.insert(bundle.version.policy.policy.clone(), active);
                }
                state.ring.push(Arc::new(activation));
            }
            state.head = head;
        }
        self.moved.send_replace(head.cursor);
    }
}
