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

/// Wakes the streams of a feed.
#[derive(Debug)]
pub(super) struct ChangeSignals {
    head: watch::Sender<Cursor>,
    connections: Arc<Mutex<Connections>>,
}

/// The connections that carry streams of a feed.
#[derive(Debug, Default)]
struct Connections {
    /// Each with the number of its streams.
    by_key: BTreeMap<ConnectionKey, (Arc<ConnectionSignal>, usize)>,
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

    /// Adds a stream of a connection.
    pub(super) fn listen(&self, connection: u64) -> Listener {
        let key = (connection % HEARTBEAT_SLOTS, connection);
        let signal = {
            let mut connections = locked(&self.connections);
            connections.streams += 1;
            let (signal, streams) = connections.by_key.entry(key).or_default();
            *streams += 1;
            Arc::clone(signal)
        };
        let seen = signal.signals.load(Ordering::Acquire);
        Listener { connections: Arc::clone(&self.connections), key, signal, seen }
    }

    /// Returns the number of streams.
    pub(super) fn listeners(&self) -> usize {
        locked(&self.connections).streams
    }

    /// Signals to every stream that the head moved.
    pub(super) fn moved(&self, head: Cursor) {
        self.head.send_replace(head);
        locked(&self.connections).by_key.values().for_each(|(connection, _)| connection.signal());
    }

    /// Ticks one slot: a heartbeat of its streams is due.
    pub(super) fn tick(&self, slot: u64) {
        for (_, (connection, _)) in locked(&self.connections).by_key.range((slot, 0)..=(slot, u64::MAX)) {
            connection.ticks.fetch_add(1, Ordering::Release);
            connection.signal();
        }
    }
}

/// A stream that waits for signals.
#[derive(Debug)]
pub(super) struct Listener {
    connections: Arc<Mutex<Connections>>,
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
        let Entry::Occupied(mut connection) = connections.by_key.entry(self.key) else { return };
        let (_, streams) = connection.get_mut();
        *streams -= 1;
        if *streams == 0 {
            connection.remove();
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
        let mut listener = signals.listen(3);
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
        let (one, beside, other) = (signals.listen(1), signals.listen(1), signals.listen(2));
        signals.tick(1);
        assert_eq!([&one, &beside, &other].map(Listener::ticks), [1, 1, 0]);
        let later = signals.listen(1 + HEARTBEAT_SLOTS);
        signals.tick(1);
        assert_eq!([&one, &beside, &other, &later].map(Listener::ticks), [2, 2, 0, 1]);
    }

    #[tokio::test]
    async fn a_connection_is_forgotten_with_its_last_stream() {
        let signals = ChangeSignals::new(Cursor::default());
        let (one, beside) = (signals.listen(7), signals.listen(7));
        assert_eq!(signals.listeners(), 2);
        drop(one);
        assert_eq!(signals.listeners(), 1);
        drop(beside);
        assert!(locked(&signals.connections).by_key.is_empty());
    }
}
