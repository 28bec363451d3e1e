//! What the calls of one connection share: how many of them watch, and the word that the connection ends.
//!
//! The listener makes one per connection and puts it into the extensions of every request. A call that came another way
//! has one of its own, which never ends.

use std::any::Any;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio_util::sync::CancellationToken;

/// Leading bits of an IPv6 address that name one network: a host has as many of the other addresses as it wants.
const NETWORK_BITS: u32 = 64;
/// Watches of one connection at once.
pub(super) const WATCHES_PER_CONNECTION_MAX: usize = 100;
/// Other calls of one connection at once: a call would wait without a word if watches could take every stream (RFC 9113
/// §5.1.2: a client holds back what is above the limit).
const CALLS_BESIDE_WATCHES: usize = 28;
/// Streams of one connection at once.
pub const STREAMS_PER_CONNECTION_MAX: usize = WATCHES_PER_CONNECTION_MAX + CALLS_BESIDE_WATCHES;

/// What counts as one peer: an IPv4 address, or a network of IPv6.
#[must_use]
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << NETWORK_BITS))),
        address => address,
    }
}

/// Why the server ends a connection that is in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The server stops.
    Draining,
    /// The connection is as old as one may get.
    Age,
}

/// One connection, shared by its calls.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    peer: Option<SocketAddr>,
    ending: CancellationToken,
    why: OnceLock<Ending>,
    watches: AtomicUsize,
    /// What it holds of the room for connections of which nobody knows whose they are.
    unidentified: Unidentified,
}

#[derive(Default)]
struct Unidentified(Mutex<Option<Box<dyn Any + Send>>>);

impl fmt::Debug for Unidentified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unidentified").finish_non_exhaustive()
    }
}

impl Connection {
    /// A connection of a peer.
    #[must_use]
    pub fn from(peer: Option<SocketAddr>) -> Self {
        Self { shared: Arc::new(Shared { peer, ..Shared::default() }) }
    }

    /// Who is at its other end, as far as the network says.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.shared.peer
    }

    /// Holds `room` until a call of the connection was authenticated, or the connection is gone.
    pub fn hold_until_identified(&self, room: Box<dyn Any + Send>) {
        *self.shared.unidentified.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(room);
    }

    /// A call of it was authenticated.
    pub fn identify(&self) {
        drop(self.shared.unidentified.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Whether no call of it was authenticated so far.
    #[must_use]
    pub fn is_unidentified(&self) -> bool {
        self.shared.unidentified.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// The connection a request came by.
    #[must_use]
    pub fn of<T>(request: &tonic::Request<T>) -> Self {
        request.extensions().get::<Self>().cloned().unwrap_or_default()
    }

    /// Tells every stream to end. The first reason stays.
    pub fn end(&self, why: Ending) {
        let _ = self.shared.why.set(why);
        self.shared.ending.cancel();
    }

    /// Cancelled when its streams are to end.
    #[must_use]
    pub fn ending(&self) -> &CancellationToken {
        &self.shared.ending
    }

    /// Why it ends; a connection that does not end yet would end by a drain.
    #[must_use]
    pub fn why(&self) -> Ending {
        self.shared.why.get().copied().unwrap_or(Ending::Draining)
    }

    /// Watches open on it now.
    #[must_use]
    pub fn watches(&self) -> usize {
        self.shared.watches.load(Ordering::Relaxed)
    }

    /// Counts one more watch, for as long as the answer lives; none when it has as many as it may.
    #[must_use]
    pub fn open_watch(&self) -> Option<OpenWatch> {
        let counted = |open| (open < WATCHES_PER_CONNECTION_MAX).then_some(open + 1);
        self.shared.watches.fetch_update(Ordering::Relaxed, Ordering::Relaxed, counted).ok()?;
        Some(OpenWatch { connection: self.clone() })
    }
}

/// A watch that is open; dropped with its stream.
#[derive(Debug)]
pub struct OpenWatch {
    connection: Connection,
}

impl OpenWatch {
    /// The connection it is on.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }
}

impl Drop for OpenWatch {
    fn drop(&mut self) {
        self.connection.shared.watches.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_are_counted_while_they_live() {
        let connection = Connection::default();
        let open = || connection.open_watch().expect("room for a watch");
        let (one, two) = (open(), open());
        assert_eq!(connection.watches(), 2);
        drop(one);
        assert_eq!(connection.watches(), 1);
        drop(two);
        assert_eq!(connection.watches(), 0);
    }

    #[test]
    fn a_network_is_one_peer() {
        let of = |text: &str| network_of(text.parse().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }

    #[test]
    fn the_first_reason_stays() {
        let connection = Connection::default();
        assert!(!connection.ending().is_cancelled());
        connection.end(Ending::Age);
        connection.end(Ending::Draining);
        assert!(connection.ending().is_cancelled());
        assert_eq!(connection.why(), Ending::Age);
    }
}
