//! What replicas notify each other of. A payload is the name of the replica, and the ids of the namespaces after it, separated by blanks;
//! without any, all may have moved.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::domain::name::NamespaceId;

/// Namespaces that one notification names. A payload is below 8,000 bytes, and an id has 63 at most.
const NAMED_MAX: usize = 100;

/// Why the tailer is woken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wake {
    /// Another replica committed to these logs.
    Notified(Vec<NamespaceId>),
    /// Another replica committed, to more logs than a notification names.
    Unnamed,
    /// The connection is new: anything sent before it was lost.
    Connected,
}

/// The logs to which this process committed since the last notification.
#[derive(Debug, Default)]
pub(in crate::store) struct Unannounced {
    /// At most one more than a notification names.
    namespaces: Mutex<BTreeSet<NamespaceId>>,
    added: Notify,
}

impl Unannounced {
    /// Adds a log that moved.
    pub(in crate::store) fn add(&self, namespace: &NamespaceId) {
        let mut namespaces = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        if namespaces.len() <= NAMED_MAX && !namespaces.contains(namespace) {
            namespaces.insert(namespace.clone());
        }
        drop(namespaces);
        self.added.notify_one();
    }

    /// Waits until something was added.
    pub(in crate::store) async fn added(&self) {
        self.added.notified().await;
    }

    /// Takes what was added.
    pub(in crate::store) fn take(&self) -> BTreeSet<NamespaceId> {
        std::mem::take(&mut self.namespaces.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Returns the payload of a notification.
pub(in crate::store) fn payload(replica: &str, namespaces: &BTreeSet<NamespaceId>) -> String {
    let named = namespaces.iter().filter(|_| namespaces.len() <= NAMED_MAX).map(NamespaceId::as_str);
    std::iter::once(replica).chain(named).collect::<Vec<_>>().join(" ")
}

/// Reads a payload; `None` when this replica sent it: its own commits have already woken the tailer.
pub(in crate::store) fn read_payload(payload: &str, replica: &str) -> Option<Wake> {
    let mut words = payload.split(' ');
    if words.next() == Some(replica) {
        return None;
    }
    // Anybody who may connect to the database can notify.
    let namespaces: Result<Vec<_>, _> = words.map(|id| NamespaceId::parse("namespace", id)).collect();
    Some(namespaces.ok().filter(|named| !named.is_empty()).map_or(Wake::Unnamed, Wake::Notified))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_names_the_logs_that_moved() {
        let ids = |count: usize| (0..count).map(|number| format!("n{number:062}"));
        let named = |id: String| NamespaceId::parse("namespace", &id).expect("an id");
        for count in [1, NAMED_MAX] {
            let unannounced = Unannounced::default();
            ids(count).map(named).for_each(|id| unannounced.add(&id));
            let moved = unannounced.take();
            let sent = payload("r", &moved);
            assert!(sent.len() < 8_000, "{} bytes", sent.len());
            assert_eq!(read_payload(&sent, "r"), None, "its own");
            assert_eq!(read_payload(&sent, "s"), Some(Wake::Notified(moved.into_iter().collect())));
        }
        let unannounced = Unannounced::default();
        ids(10 * NAMED_MAX).map(named).for_each(|id| unannounced.add(&id));
        let moved = unannounced.take();
        assert_eq!(moved.len(), NAMED_MAX + 1, "nothing grows when nobody is notified");
        assert_eq!(read_payload(&payload("r", &moved), "s"), Some(Wake::Unnamed));
        assert!(unannounced.take().is_empty());
    }

    #[test]
    fn a_payload_of_anybody_else_is_a_reason_to_poll() {
        for strange in ["", " ", "x", "x Y", "x a;b", "x a  b"] {
            assert_eq!(read_payload(strange, "r"), Some(Wake::Unnamed), "{strange:?}");
        }
    }
}
