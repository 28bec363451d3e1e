//! Who has how many of the connections of a port, when whoever reaches it has no credential.
//!
//! Invariant: a new connection is refused only when all others are of callers that showed a credential. When there is no room,
//! the oldest one of the peer that has the most without one is ended: whoever holds connections open without a word loses them,
//! and a probe that asks at once is answered.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::grpc::network_of;

/// A peer may have so many connections, however few are left for others.
pub(super) const PEER_MIN_CONNECTIONS: usize = 64;

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
    /// Those on which no call was authenticated.
    unidentified: HashMap<IpAddr, BTreeMap<u64, CancellationToken>>,
    /// All of them.
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

/// Its place among those that may have to give way. Once this is dropped, the connection stays to its own end.
#[derive(Debug)]
pub(super) struct Unidentified {
    peers: Peers,
    peer: IpAddr,
    number: u64,
}

impl Admitted {
    /// Cancelled when the connection is to end because others need its room.
    pub(super) fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }

    /// To be dropped once a call of the connection was authenticated.
    pub(super) fn unidentified(&self) -> Unidentified {
        Unidentified { peers: self.peers.clone(), peer: self.peer, number: self.number }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut open = self.peers.lock();
        open.remove(self.peer, self.number);
        // One that had to give way gave its room at once.
        open.count -= usize::from(!self.ended.is_cancelled());
    }
}

impl Drop for Unidentified {
    fn drop(&mut self) {
        self.peers.lock().remove(self.peer, self.number);
    }
}

impl Peers {
    /// Room for so many connections, and so many of one peer without a credential.
    pub(super) fn new(max: usize, per_peer_max: usize) -> Self {
        Self { max, per_peer_max, open: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for a connection, and counts it; none when nobody has to give way. A peer has as many as are left for others:
    /// so however many peers take what they can, some room stays.
    pub(super) fn admit(&self, address: IpAddr) -> Option<Admitted> {
        let peer = network_of(address);
        let ended = CancellationToken::new();
        let mut open = self.lock();
        let left = self.max.saturating_sub(open.count);
        let share = self.per_peer_max.min(left.max(PEER_MIN_CONNECTIONS));
        if open.unidentified.get(&peer).is_some_and(|own| own.len() >= share) {
            open.end_oldest_of(peer);
        }
        if open.count >= self.max {
            let largest = open.largest()?;
            open.end_oldest_of(largest);
        }
        let number = open.next;
        open.next += 1;
        open.count += 1;
        open.unidentified.entry(peer).or_default().insert(number, ended.clone());
        drop(open);
        Some(Admitted { peers: self.clone(), peer, number, ended })
    }
}

impl Open {
    fn largest(&self) -> Option<IpAddr> {
        self.unidentified.iter().max_by_key(|(_, own)| own.len()).map(|(peer, _)| *peer)
    }

    fn end_oldest_of(&mut self, peer: IpAddr) {
        let oldest = self.unidentified.get(&peer).and_then(|own| own.first_key_value());
        if let Some((number, ended)) = oldest.map(|(number, ended)| (*number, ended.clone())) {
            ended.cancel();
            self.remove(peer, number);
            self.count -= 1;
        }
    }

    fn remove(&mut self, peer: IpAddr, number: u64) {
        let Some(own) = self.unidentified.get_mut(&peer) else { return };
        own.remove(&number);
        if own.is_empty() {
            self.unidentified.remove(&peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn admit(peers: &Peers, peer: &str) -> Admitted {
        peers.admit(address(peer)).expect("room")
    }

    #[test]
    fn one_peer_ends_its_own_connections() {
        let peers = Peers::new(100, 3);
        let other = admit(&peers, "10.0.0.2");
        let mine: Vec<Admitted> = (0..5).map(|_| admit(&peers, "10.0.0.1")).collect();
        let ended: Vec<bool> = mine.iter().map(|mine| mine.ended.is_cancelled()).collect();
        assert_eq!(ended, [true, true, false, false, false], "the oldest two");
        assert!(!other.ended.is_cancelled());
        drop(mine);
        let open = peers.lock();
        assert_eq!((open.count, open.unidentified.len()), (1, 1));
        drop(open);
        drop(other);
        let open = peers.lock();
        assert!(open.count == 0 && open.unidentified.is_empty());
    }

    #[test]
    fn without_room_whoever_has_most_gives_way() {
        let peers = Peers::new(4, 3);
        let many: Vec<Admitted> = (0..3).map(|_| admit(&peers, "10.0.0.1")).collect();
        let few = admit(&peers, "10.0.0.2");
        let probe = admit(&peers, "10.0.0.3");
        assert!(many.first().is_some_and(|oldest| oldest.ended.is_cancelled()));
        assert!(!few.ended.is_cancelled() && !probe.ended.is_cancelled());
        assert_eq!(peers.lock().count, 4);
    }

    #[test]
    fn whoever_is_known_stays_and_takes_its_room_with_it() {
        let peers = Peers::new(2, 2);
        let known = admit(&peers, "10.0.0.1");
        drop(known.unidentified());
        let silent = admit(&peers, "10.0.0.1");
        let newcomer = admit(&peers, "10.0.0.2");
        assert!(silent.ended.is_cancelled() && !known.ended.is_cancelled());
        drop(silent);
        drop(newcomer.unidentified());
        assert!(peers.admit(address("10.0.0.3")).is_none(), "nobody has to give way");
        drop(known);
        assert!(peers.admit(address("10.0.0.3")).is_some());
    }

    #[test]
    fn however_many_take_their_share_some_room_stays() {
        let (peers, max) = (Peers::new(1_000, 250), 1_000);
        let mut held = Vec::new();
        for peer in 0..5 {
            for _ in 0..max {
                held.push(admit(&peers, &format!("10.0.0.{peer}")));
            }
        }
        let open = peers.lock();
        let shares: Vec<usize> =
            (0..5).map(|peer| open.unidentified[&address(&format!("10.0.0.{peer}"))].len()).collect();
        assert_eq!(shares, [250, 250, 250, 125, 64], "half of what is left, but always so many");
        assert_eq!(open.count, 939);
    }
}
