//! Counts the connections of a port by peer, before a call on them is authenticated.
//!
//! Invariant: a new connection is refused only when all others are of authenticated callers. When the port is full, the oldest connection
//! of the peer that has the most unauthenticated ones is closed. So idle connections are closed first, and a probe that sends its request
//! at once is answered.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::connection_handle::network_of;

/// How many connections a peer may have, however few are left for others.
pub(super) const PEER_MIN_CONNECTIONS: usize = 64;

/// The slots for the connections of a port. Clones are the same ones.
#[derive(Debug, Clone)]
pub(super) struct ConnectionSlots {
    max: usize,
    per_peer_max: usize,
    open: Arc<Mutex<OpenConnections>>,
}

#[derive(Debug, Default)]
struct OpenConnections {
    next: u64,
    /// The connections without an authenticated call, by number, so that the first one is the oldest.
    unauthenticated: HashMap<IpAddr, BTreeMap<u64, CancellationToken>>,
    /// Number of all connections.
    count: usize,
}

/// The slot of one connection; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    slots: ConnectionSlots,
    peer: IpAddr,
    number: u64,
    evicted: CancellationToken,
}

/// Marks a slot whose connection may be closed for another one. Once this is dropped, the connection keeps its slot.
#[derive(Debug)]
pub(super) struct UnauthenticatedSlot {
    slots: ConnectionSlots,
    peer: IpAddr,
    number: u64,
}

impl ConnectionSlot {
    /// Returns a token that is cancelled when the slot is given to another connection.
    pub(super) fn evicted(&self) -> CancellationToken {
        self.evicted.clone()
    }

    /// Returns a mark that the caller drops once a call of the connection was authenticated.
    pub(super) fn unauthenticated(&self) -> UnauthenticatedSlot {
        UnauthenticatedSlot { slots: self.slots.clone(), peer: self.peer, number: self.number }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut open = self.slots.lock();
        open.remove(self.peer, self.number);
        // An evicted connection was subtracted when it was evicted.
        open.count -= usize::from(!self.evicted.is_cancelled());
    }
}

impl Drop for UnauthenticatedSlot {
    fn drop(&mut self) {
        self.slots.lock().remove(self.peer, self.number);
    }
}

impl ConnectionSlots {
    /// Creates slots for `max` connections, and for `per_peer_max` unauthenticated ones of one peer.
    pub(super) fn new(max: usize, per_peer_max: usize) -> Self {
        Self { max, per_peer_max, open: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, OpenConnections> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a slot for a connection, and evicts another connection if needed. Returns none when none can be evicted. A peer may have no
    /// more slots than it leaves to others, so some slots stay free whatever the number of peers.
    pub(super) fn admit(&self, address: IpAddr) -> Option<ConnectionSlot> {
        let peer = network_of(address);
        let evicted = CancellationToken::new();
        let mut open = self.lock();
        let left = self.max.saturating_sub(open.count);
        let share = self.per_peer_max.min(left.max(PEER_MIN_CONNECTIONS));
        if open.unauthenticated.get(&peer).is_some_and(|own| own.len() >= share) {
            open.evict_oldest_of(peer);
        }
        if open.count >= self.max {
            let peer = open.peer_with_most()?;
            open.evict_oldest_of(peer);
        }
        let number = open.next;
        open.next += 1;
        open.count += 1;
        open.unauthenticated.entry(peer).or_default().insert(number, evicted.clone());
        drop(open);
        Some(ConnectionSlot { slots: self.clone(), peer, number, evicted })
    }
}

impl OpenConnections {
    fn peer_with_most(&self) -> Option<IpAddr> {
        self.unauthenticated.iter().max_by_key(|(_, own)| own.len()).map(|(peer, _)| *peer)
    }

    fn evict_oldest_of(&mut self, peer: IpAddr) {
        let oldest = self.unauthenticated.get(&peer).and_then(|own| own.first_key_value());
        if let Some((number, evicted)) = oldest.map(|(number, evicted)| (*number, evicted.clone())) {
            evicted.cancel();
            self.remove(peer, number);
            self.count -= 1;
        }
    }

    fn remove(&mut self, peer: IpAddr, number: u64) {
        let Some(own) = self.unauthenticated.get_mut(&peer) else { return };
        own.remove(&number);
        if own.is_empty() {
            self.unauthenticated.remove(&peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn admit(slots: &ConnectionSlots, peer: &str) -> ConnectionSlot {
        slots.admit(address(peer)).expect("room")
    }

    #[test]
    fn a_peer_evicts_its_own_connections() {
        let slots = ConnectionSlots::new(100, 3);
        let other = admit(&slots, "10.0.0.2");
        let mine: Vec<ConnectionSlot> = (0..5).map(|_| admit(&slots, "10.0.0.1")).collect();
        let evicted: Vec<bool> = mine.iter().map(|mine| mine.evicted.is_cancelled()).collect();
        assert_eq!(evicted, [true, true, false, false, false], "the oldest two");
        assert!(!other.evicted.is_cancelled());
        drop(mine);
        let open = slots.lock();
        assert_eq!((open.count, open.unauthenticated.len()), (1, 1));
        drop(open);
        drop(other);
        let open = slots.lock();
        assert!(open.count == 0 && open.unauthenticated.is_empty());
    }

    #[test]
    fn in_a_full_port_the_peer_with_most_is_evicted() {
        let slots = ConnectionSlots::new(4, 3);
        let many: Vec<ConnectionSlot> = (0..3).map(|_| admit(&slots, "10.0.0.1")).collect();
        let few = admit(&slots, "10.0.0.2");
        let probe = admit(&slots, "10.0.0.3");
        assert!(many.first().is_some_and(|oldest| oldest.evicted.is_cancelled()));
        assert!(!few.evicted.is_cancelled() && !probe.evicted.is_cancelled());
        assert_eq!(slots.lock().count, 4);
    }

    #[test]
    fn an_authenticated_connection_keeps_its_slot() {
        let slots = ConnectionSlots::new(2, 2);
        let known = admit(&slots, "10.0.0.1");
        drop(known.unauthenticated());
        let silent = admit(&slots, "10.0.0.1");
        let newcomer = admit(&slots, "10.0.0.2");
        assert!(silent.evicted.is_cancelled() && !known.evicted.is_cancelled());
        drop(silent);
        drop(newcomer.unauthenticated());
        assert!(slots.admit(address("10.0.0.3")).is_none(), "no connection can be evicted");
        drop(known);
        assert!(slots.admit(address("10.0.0.3")).is_some());
    }

    #[test]
    fn however_many_take_their_share_some_slots_stay_free() {
        let (slots, max) = (ConnectionSlots::new(1_000, 250), 1_000);
        let mut held = Vec::new();
        for peer in 0..5 {
            for _ in 0..max {
                held.push(admit(&slots, &format!("10.0.0.{peer}")));
            }
        }
        let open = slots.lock();
        let shares: Vec<usize> =
            (0..5).map(|peer| open.unauthenticated[&address(&format!("10.0.0.{peer}"))].len()).collect();
        assert_eq!(shares, [250, 250, 250, 125, 64], "half of what is left, but at least the minimum");
        assert_eq!(open.count, 939);
    }
}
