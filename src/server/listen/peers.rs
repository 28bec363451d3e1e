//! Who has how many of the connections of a port, when whoever reaches it has no credential.
//!
//! Invariant: a new connection is never refused. When there is no room, the oldest one of the peer that has the most is ended:
//! whoever holds connections open without a word loses them, and a probe that asks at once is answered.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::grpc::network_of;

/// The connections of a port. Clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct Peers {
    max: usize,
    per_peer_max: usize,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    by_peer: HashMap<IpAddr, BTreeMap<u64, CancellationToken>>,
    count: usize,
}

/// One connection; dropped with it.
#[derive(Debug)]
pub(super) struct Admitted {
    peers: Peers,
    peer: IpAddr,
    number: u64,
    ended: CancellationToken,
}

impl Admitted {
    /// Cancelled when the connection is to end because others need its room.
    pub(super) fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.peers.lock().remove(self.peer, self.number);
    }
}

impl Peers {
    /// Room for so many connections, and so many of one peer.
    pub(super) fn new(max: usize, per_peer_max: usize) -> Self {
        Self { max, per_peer_max, open: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for a connection, and counts it.
    pub(super) fn admit(&self, address: IpAddr) -> Admitted {
        let peer = network_of(address);
        let ended = CancellationToken::new();
        let mut open = self.lock();
        if open.by_peer.get(&peer).is_some_and(|own| own.len() >= self.per_peer_max) {
            open.end_oldest_of(peer);
        } else if open.count >= self.max
            && let Some(largest) = open.largest()
        {
            open.end_oldest_of(largest);
        }
        let number = open.next;
        open.next += 1;
        open.count += 1;
        open.by_peer.entry(peer).or_default().insert(number, ended.clone());
        drop(open);
        Admitted { peers: self.clone(), peer, number, ended }
    }
}

impl Open {
    fn largest(&self) -> Option<IpAddr> {
        self.by_peer.iter().max_by_key(|(_, own)| own.len()).map(|(peer, _)| *peer)
    }

    fn end_oldest_of(&mut self, peer: IpAddr) {
        let oldest = self.by_peer.get(&peer).and_then(|own| own.first_key_value());
        if let Some((number, ended)) = oldest.map(|(number, ended)| (*number, ended.clone())) {
            ended.cancel();
            self.remove(peer, number);
        }
    }

    fn remove(&mut self, peer: IpAddr, number: u64) {
        let Some(own) = self.by_peer.get_mut(&peer) else { return };
        self.count -= usize::from(own.remove(&number).is_some());
        if own.is_empty() {
            self.by_peer.remove(&peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn one_peer_ends_its_own_connections() {
        let (peers, one) = (Peers::new(100, 3), address("10.0.0.1"));
        let other = peers.admit(address("10.0.0.2"));
        let mine: Vec<Admitted> = (0..5).map(|_| peers.admit(one)).collect();
        let ended: Vec<bool> = mine.iter().map(|mine| mine.ended.is_cancelled()).collect();
        assert_eq!(ended, [true, true, false, false, false], "the oldest two");
        assert!(!other.ended.is_cancelled());
        drop(mine);
        let open = peers.lock();
        assert_eq!((open.count, open.by_peer.len()), (1, 1));
        drop(open);
        drop(other);
        assert!(peers.lock().by_peer.is_empty());
    }

    #[test]
    fn without_room_whoever_has_most_gives_way() {
        let peers = Peers::new(4, 3);
        let many: Vec<Admitted> = (0..3).map(|_| peers.admit(address("10.0.0.1"))).collect();
        let few = peers.admit(address("10.0.0.2"));
        let probe = peers.admit(address("10.0.0.3"));
        assert!(many.first().is_some_and(|oldest| oldest.ended.is_cancelled()));
        assert!(!few.ended.is_cancelled() && !probe.ended.is_cancelled());
        assert_eq!(peers.lock().count, 4);
    }
}
