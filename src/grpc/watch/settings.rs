//! Settings of watches: their number at a server, and the heartbeat interval.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Request;

use super::reconnect_delay::ReconnectDelays;
use crate::domain::limits::HEARTBEAT_INTERVAL_MAX;
use crate::domain::{Error, Reason};
use crate::transport::{ConnectionHandle, OpenWatch, WATCHES_PER_CONNECTION_MAX};

/// The limits and times of all watches of a server.
#[derive(Debug, Clone)]
pub struct WatchSettings {
    /// One permit for each watched namespace that may be open at this server.
    pub slots: Arc<Semaphore>,
    /// Total number of permits.
    pub max_streams: usize,
    /// The time between two heartbeats of a watch that did not ask for a longer one.
    pub heartbeat_interval: Duration,
    /// The longest such time that a watch gets.
    longest_heartbeat_interval: Duration,
    delays: Arc<ReconnectDelays>,
}

impl WatchSettings {
    /// Creates the settings of a server that watches at most `max_streams` namespaces. `has_replicas`: other servers can accept its
    /// watches when it stops.
    #[must_use]
    pub fn new(
        max_streams: usize,
        heartbeat_interval: Duration,
        recheck_interval: Duration,
        has_replicas: bool,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(max_streams));
        // A heartbeat is what wakes a watch to be checked again.
        let longest_heartbeat_interval = HEARTBEAT_INTERVAL_MAX.min(recheck_interval);
        let delays = Arc::new(ReconnectDelays::new(has_replicas));
        Self { slots, max_streams, heartbeat_interval, longest_heartbeat_interval, delays }
    }

    /// Returns the time between two heartbeats of a stream.
    pub(super) fn heartbeat_interval_of(&self, multiple: u32) -> Duration {
        self.heartbeat_interval.saturating_mul(multiple)
    }

    /// Returns how many heartbeat intervals of the server are one of a stream that asks for `asked`.
    pub(super) fn heartbeat_multiple(&self, asked: Option<Duration>) -> u32 {
        let interval = asked.unwrap_or_default().min(self.longest_heartbeat_interval);
        let intervals = interval.as_nanos() / self.heartbeat_interval.as_nanos().max(1);
        u32::try_from(intervals).unwrap_or(u32::MAX).max(1)
    }

    /// Returns the longest delay to request of the streams of a connection that shuts down.
    pub(super) fn longest_delay(&self, connection: &ConnectionHandle) -> Duration {
        let of_server = self.max_streams.saturating_sub(self.slots.available_permits());
        self.delays.longest(connection.shutdown_reason(), connection.open_watches(), of_server)
    }

    /// Takes permits for `namespaces` namespaces, all or none.
    pub(super) fn slots_for(&self, namespaces: usize) -> Result<OwnedSemaphorePermit, Error> {
        let permits = u32::try_from(namespaces).unwrap_or(u32::MAX);
        self.slots.clone().try_acquire_many_owned(permits).map_err(|_| {
            let error = Error::new(Reason::TooManyStreams, "this server is at its limit of watched namespaces");
            error.with("limit_streams", self.max_streams)
        })
    }

    /// Counts one more watch on the connection on which the request came.
    pub(super) fn open_on_connection<T>(&self, request: &Request<T>) -> Result<OpenWatch, Error> {
        ConnectionHandle::of_request(request).open_watch().ok_or_else(|| {
            let message = "this connection is at its limit of watches; open another connection for more";
            Error::new(Reason::TooManyStreams, message).with("limit_streams", WATCHES_PER_CONNECTION_MAX)
        })
    }
}
