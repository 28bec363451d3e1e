//! State that the calls of one connection share: the number of its watches, and the shutdown signal of the connection.
//!
//! The listener creates one handle per connection and puts it into the extensions of every request. A call without one gets its own
//! handle, which never shuts down.

use std::any::Any;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio_util::sync::CancellationToken;

/// The leading bits of an IPv6 address that name one network. One host can use any number of the other addresses.
const NETWORK_BITS: u32 = 64;
/// How many watches one connection may carry at once.
pub const WATCHES_PER_CONNECTION_MAX: usize = 100;
/// How many other calls fit on one connection beside its watches. If watches could use every stream, a call would wait instead of failing
/// (RFC 9113 §5.1.2: a client holds back streams above the limit).
const CALLS_BESIDE_WATCHES: usize = 28;
/// How many streams one connection may have at once.
pub(super) const STREAMS_PER_CONNECTION_MAX: usize = WATCHES_PER_CONNECTION_MAX + CALLS_BESIDE_WATCHES;

/// Returns the address that counts as one peer: an IPv4 address, or a network of IPv6.
#[must_use]
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << NETWORK_BITS))),
        address => address,
    }
}

/// Why the server shuts down a connection that is healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownReason {
    /// The server is shutting down.
    Draining,
    /// The connection reached its age limit.
    Age,
}

/// The handle of one connection, shared by its calls. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct ConnectionHandle {
    state: Arc<HandleState>,
}

#[derive(Debug, Default)]
struct HandleState {
    number: u64,
    peer: Option<SocketAddr>,
    shutdown: CancellationToken,
    reason: OnceLock<ShutdownReason>,
    watches: AtomicUsize,
    unauthenticated: HeldUntilAuthenticated,
}

/// The slot among the connections without a credential, held until a call of the connection is authenticated.
#[derive(Default)]
struct HeldUntilAuthenticated(Mutex<Option<Box<dyn Any + Send>>>);

impl fmt::Debug for HeldUntilAuthenticated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldUntilAuthenticated").finish_non_exhaustive()
    }
}

impl ConnectionHandle {
    /// Creates the handle of a connection from `peer`.
    #[must_use]
    pub fn new(peer: Option<SocketAddr>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { state: Arc::new(HandleState { number, peer, ..HandleState::default() }) }
    }

    /// Returns the handle of the connection on which a request came.
    #[must_use]
    pub fn of_request<T>(request: &tonic::Request<T>) -> Self {
        request.extensions().get::<Self>().cloned().unwrap_or_default()
    }

    /// Returns the number of the connection, counted from 1; 0 for a call that came another way.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.state.number
    }

    /// Returns the network address of the client.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.state.peer
    }

    /// Holds `slot` until a call of the connection is authenticated, or the connection is gone.
    pub fn hold_until_authenticated(&self, slot: Box<dyn Any + Send>) {
        *self.state.unauthenticated.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(slot);
    }

    /// Records that a call of the connection was authenticated.
    pub fn mark_authenticated(&self) {
        drop(self.state.unauthenticated.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Returns whether no call of the connection was authenticated so far.
    #[must_use]
    pub fn is_unauthenticated(&self) -> bool {
        self.state.unauthenticated.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Signals every stream to end. The first reason stays.
    pub fn shut_down(&self, reason: ShutdownReason) {
        let _ = self.state.reason.set(reason);
        self.state.shutdown.cancel();
    }

    /// Returns a token that is cancelled when the streams of the connection are to end.
    #[must_use]
    pub fn shutdown(&self) -> &CancellationToken {
        &self.state.shutdown
    }

    /// Returns why the connection shuts down; `Draining` while it does not.
    #[must_use]
    pub fn shutdown_reason(&self) -> ShutdownReason {
        self.state.reason.get().copied().unwrap_or(ShutdownReason::Draining)
    }

    /// Returns how many watches are open on the connection.
    #[must_use]
    pub fn open_watches(&self) -> usize {
        self.state.watches.load(Ordering::Relaxed)
    }

    /// Counts one more watch until the returned value is dropped. Returns none when the connection has as many as it may have.
    #[must_use]
    pub fn open_watch(&self) -> Option<OpenWatch> {
        let counted = |open| (open < WATCHES_PER_CONNECTION_MAX).then_some(open + 1);
        self.state.watches.fetch_update(Ordering::Relaxed, Ordering::Relaxed, counted).ok()?;
        Some(OpenWatch { connection: self.clone() })
    }
}

/// Counts a watch of a connection until it is dropped.
#[derive(Debug)]
pub struct OpenWatch {
    connection: ConnectionHandle,
}

impl OpenWatch {
    /// Returns the connection that carries the watch.
    #[must_use]
    pub fn connection(&self) -> &ConnectionHandle {
        &self.connection
    }
}

impl Drop for OpenWatch {
    fn drop(&mut self) {
        self.connection.state.watches.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_are_counted_until_they_are_dropped() {
        let connection = ConnectionHandle::default();
        let open = || connection.open_watch().expect("room for a watch");
        let (one, two) = (open(), open());
        assert_eq!(connection.open_watches(), 2);
        drop(one);
        assert_eq!(connection.open_watches(), 1);
        drop(two);
        assert_eq!(connection.open_watches(), 0);
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
        let connection = ConnectionHandle::default();
        assert!(!connection.shutdown().is_cancelled());
        connection.shut_down(ShutdownReason::Age);
        connection.shut_down(ShutdownReason::Draining);
        assert!(connection.shutdown().is_cancelled());
        assert_eq!(connection.shutdown_reason(), ShutdownReason::Age);
    }
}
