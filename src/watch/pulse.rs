//! What wakes the streams of a feed: its head moved, or it is their turn to beat. One thing to wait for, no timer of its own.
//!
//! Streams take turns in slots, so that a heartbeat's wakes come in batches and never all at once. A pulse carries no
//! frames: those are pulled.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

use crate::domain::event::Cursor;

/// Turns of one heartbeat interval.
pub(super) const SLOTS: usize = 16;

/// What a stream is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pulse {
    /// How far the feed has read.
    pub(super) head: Cursor,
    /// Turns that this slot has had.
    pub(super) beats: u64,
}

/// The slots of a feed.
#[derive(Debug)]
pub(super) struct Pulses {
    slots: [watch::Sender<Pulse>; SLOTS],
    next: AtomicUsize,
}

impl Pulses {
    pub(super) fn new(head: Cursor) -> Self {
        let slots = std::array::from_fn(|_| watch::Sender::new(Pulse { head, beats: 0 }));
        Self { slots, next: AtomicUsize::new(0) }
    }

    /// A place in the next slot.
    pub(super) fn listen(&self) -> watch::Receiver<Pulse> {
        let [first, ..] = &self.slots;
        let slot = self.next.fetch_add(1, Ordering::Relaxed) % SLOTS;
        self.slots.get(slot).unwrap_or(first).subscribe()
    }

    pub(super) fn listeners(&self) -> usize {
        self.slots.iter().map(watch::Sender::receiver_count).sum()
    }

    /// Tells every slot that the head moved.
    pub(super) fn moved(&self, head: Cursor) {
        for slot in &self.slots {
            slot.send_modify(|pulse| pulse.head = head);
        }
    }

    /// Gives one slot its turn.
    pub(super) fn beat(&self, slot: usize) {
        if let Some(slot) = self.slots.get(slot).filter(|slot| slot.receiver_count() > 0) {
            slot.send_modify(|pulse| pulse.beats += 1);
        }
    }
}
