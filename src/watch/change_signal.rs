//! Change signals: they wake the streams of a feed when its head moved, or when a heartbeat is due. A stream has no timer.
//!
//! Streams are spread over slots, so that heartbeats wake them in batches and never all at once. A signal carries no
//! frames: those are pulled.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

use crate::domain::event::Cursor;

/// Slots in one heartbeat interval.
pub(super) const HEARTBEAT_SLOTS: usize = 16;

/// The state that a stream waits on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChangeSignal {
    /// How far the feed has read.
    pub(super) head: Cursor,
    /// Heartbeat ticks of this slot so far.
    pub(super) ticks: u64,
}

/// The slots of a feed.
#[derive(Debug)]
pub(super) struct ChangeSignals {
    slots: [watch::Sender<ChangeSignal>; HEARTBEAT_SLOTS],
    next: AtomicUsize,
}

impl ChangeSignals {
    pub(super) fn new(head: Cursor) -> Self {
        let slots = std::array::from_fn(|_| watch::Sender::new(ChangeSignal { head, ticks: 0 }));
        Self { slots, next: AtomicUsize::new(0) }
    }

    /// Subscribes to the next slot.
    pub(super) fn listen(&self) -> watch::Receiver<ChangeSignal> {
        let [first, ..] = &self.slots;
        let slot = self.next.fetch_add(1, Ordering::Relaxed) % HEARTBEAT_SLOTS;
        self.slots.get(slot).unwrap_or(first).subscribe()
    }

    pub(super) fn listeners(&self) -> usize {
        self.slots.iter().map(watch::Sender::receiver_count).sum()
    }

    /// Signals to every slot that the head moved.
    pub(super) fn moved(&self, head: Cursor) {
        for slot in &self.slots {
            slot.send_modify(|signal| signal.head = head);
        }
    }

    /// Ticks one slot: a heartbeat of its streams is due.
    pub(super) fn tick(&self, slot: usize) {
        if let Some(slot) = self.slots.get(slot).filter(|slot| slot.receiver_count() > 0) {
            slot.send_modify(|signal| signal.ticks += 1);
        }
    }
}
