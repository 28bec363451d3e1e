//! Change signals: they wake the streams of a feed when its head moved, or when a heartbeat is due. A stream has no timer.
//!
//! The streams of one connection are woken together, one after the other, so that the connection can send what they have to say in one
//! write. Connections are spread over slots: heartbeats wake them in batches and never all at once. A signal carries no frames: those
//! are pulled.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use crate::domain::event::Cursor;

/// Slots in one heartbeat interval.
pub(super) const HEARTBEAT_SLOTS: u64 = 16;

/// The slot and the number of a connection.
type ConnectionKey = (u64, u64);
type ConnectionsByKey = BTreeMap<ConnectionKey, (Arc<ConnectionSignal>, usize)>;

/// Wakes the streams of a feed.
#[derive(Debug)]
pub(super) struct ChangeSignals {
    head: watch::Sender<Cursor>,
    connections: Arc<Mutex<Connections>>,
}

/// The connections that carry streams of a feed.
#[derive(Debug, Default)]
struct Connections {
    /// By how many heartbeat intervals of the server are one of its streams, each with the number of these.
    by_multiple: BTreeMap<u32, ConnectionsByKey>,
    streams: usize,
}

/// Wakes the streams of one connection.
#[derive(Debug, Default)]
struct ConnectionSignal {
    notify: Notify,
    /// Signals so far, of both kinds.
    signals: AtomicU64,
    /// Heartbeat ticks so far.
    ticks: AtomicU64,
}

impl ConnectionSignal {
    fn signal(&self) {
        self.signals.fetch_add(1, Ordering::Release);
        self.notify.notify_waiters();
    }
}

impl ChangeSignals {
    pub(super) fn new(head: Cursor) -> Self {
        Self { head: watch::Sender::new(head), connections: Arc::default() }
    }

    /// Returns the head of the last signal, and waits for later ones.
    pub(super) fn head(&self) -> watch::Receiver<Cursor> {
        self.head.subscribe()
    }

    /// Adds a stream of a connection, whose heartbeat is due once in `multiple` heartbeat intervals of the server.
    pub(super) fn listen(&self, connection: u64, multiple: u32) -> Listener {
        let key = (connection % slots(multiple), connection);
        let signal = {
            let mut connections = locked(&self.connections);
            connections.streams += 1;
            let (signal, streams) = connections.by_multiple.entry(multiple).or_default().entry(key).or_default();
            *streams += 1;
            Arc::clone(signal)
        };
        let seen = signal.signals.load(Ordering::Acquire);
        Listener { connections: Arc::clone(&self.connections), multiple, key, signal, seen }
    }

    /// Returns the number of streams.
    pub(super) fn listeners(&self) -> usize {
        locked(&self.connections).streams
    }

    /// Signals to every stream that the head moved.
    pub(super) fn moved(&self, head: Cursor) {
        self.head.send_replace(head);
        let connections = locked(&self.connections);
        connections.by_multiple.values().flat_map(BTreeMap::values).for_each(|(connection, _)| connection.signal());
    }

    /// Ticks: a heartbeat of the streams whose slot has its turn is due. `turn` counts the ticks.
    pub(super) fn tick(&self, turn: u64) {
        for (multiple, connections) in &locked(&self.connections).by_multiple {
            let slot = turn % slots(*multiple);
            for (_, (connection, _)) in connections.range((slot, 0)..=(slot, u64::MAX)) {
                connection.ticks.fetch_add(1, Ordering::Release);
                connection.signal();
            }
        }
    }
}

/// Returns the number of slots of streams whose heartbeat is due once in so many heartbeat intervals of the server.
fn slots(multiple: u32) -> u64 {
    HEARTBEAT_SLOTS.saturating_mul(multiple.max(1).into())
}

/// A stream that waits for signals.
#[derive(Debug)]
pub(super) struct Listener {
    connections: Arc<Mutex<Connections>>,
    multiple: u32,
    key: ConnectionKey,
    signal: Arc<ConnectionSignal>,
    /// The signals that were noticed.
    seen: u64,
}

impl Listener {
    /// Returns the heartbeat ticks of the connection so far.
    pub(super) fn ticks(&self) -> u64 {
        self.signal.ticks.load(Ordering::Acquire)
    }

    /// Counts every signal until now as noticed.
    pub(super) fn mark_seen(&mut self) {
        self.seen = self.signal.signals.load(Ordering::Acquire);
    }

    /// Waits for a signal that was not noticed.
    pub(super) async fn changed(&mut self) {
        {
            // Before the comparison: from here on a signal completes it.
            let notified = self.signal.notify.notified();
            if self.signal.signals.load(Ordering::Acquire) == self.seen {
                notified.await;
            }
        }
        self.mark_seen();
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut connections = locked(&self.connections);
        connections.streams -= 1;
        let Entry::Occupied(mut of_multiple) = connections.by_multiple.entry(self.multiple) else { return };
        let Entry::Occupied(mut connection) = of_multiple.get_mut().entry(self.key) else { return };
        let (_, streams) = connection.get_mut();
        *streams -= 1;
        if *streams == 0 {
            connection.remove();
        }
        if of_multiple.get().is_empty() {
            of_multiple.remove();
        }
    }
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_signal_between_two_waits_is_not_missed() {
        let signals = ChangeSignals::new(Cursor::default());
        let mut listener = signals.listen(3, 1);
        assert!(listener.changed().now_or_never().is_none());
        signals.moved(Cursor::default());
        assert!(listener.changed().now_or_never().is_some());
        assert!(listener.changed().now_or_never().is_none(), "it was noticed");
        signals.moved(Cursor::default());
        listener.mark_seen();
        assert!(listener.changed().now_or_never().is_none());
    }

    #[tokio::test]
    async fn the_streams_of_a_connection_have_their_heartbeat_together_and_others_do_not() {
        let signals = ChangeSignals::new(Cursor::default());
        let (one, beside, other) = (signals.listen(1, 1), signals.listen(1, 1), signals.listen(2, 1));
        signals.tick(1);
        assert_eq!([&one, &beside, &other].map(Listener::ticks), [1, 1, 0]);
        let later = signals.listen(1 + HEARTBEAT_SLOTS, 1);
        signals.tick(1);
        assert_eq!([&one, &beside, &other, &later].map(Listener::ticks), [2, 2, 0, 1]);
    }

    #[tokio::test]
    async fn a_stream_with_a_longer_interval_has_its_heartbeat_once_in_it() {
        let signals = ChangeSignals::new(Cursor::default());
        let (usual, longer) = (signals.listen(5, 1), signals.listen(5, 3));
        (0..3 * HEARTBEAT_SLOTS).for_each(|turn| signals.tick(turn));
        assert_eq!([&usual, &longer].map(Listener::ticks), [3, 1]);
    }

    #[tokio::test]
    async fn a_connection_is_forgotten_with_its_last_stream() {
        let signals = ChangeSignals::new(Cursor::default());
        let (one, beside) = (signals.listen(7, 1), signals.listen(7, 2));
        assert_eq!(signals.listeners(), 2);
        drop(one);
        assert_eq!(signals.listeners(), 1);
        drop(beside);
        assert!(locked(&signals.connections).by_multiple.is_empty());
    }
}
