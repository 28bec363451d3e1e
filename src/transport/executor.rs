//! Runs the streams of a connection: the only place that spawns them.
//!
//! Invariant: streams end with their connection, and the server can wait for the last of them. A handler whose connection is gone is
//! dropped, as HTTP/2 does with a stream that its client cancelled.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use super::stalled_stream::StallGuard;

/// The streams of one connection. Dropping it ends them.
#[derive(Debug)]
pub(super) struct ConnectionStreams {
    executor: StreamExecutor,
}

impl ConnectionStreams {
    /// Starts without streams. `tracker` counts the streams of all connections. A stream whose reader reads nothing for `stall_timeout` is
    /// reset.
    pub(super) fn new(tracker: TaskTracker, stall_timeout: Duration) -> Self {
        Self { executor: StreamExecutor { tasks: Arc::default(), tracker, stall_timeout } }
    }

    /// Returns the executor with which hyper spawns the streams.
    pub(super) fn executor(&self) -> StreamExecutor {
        self.executor.clone()
    }
}

impl Drop for ConnectionStreams {
    fn drop(&mut self) {
        // Each stream holds an executor, so the set would never be dropped by itself.
        self.executor.abort_all();
    }
}

/// Spawns the streams of one connection.
#[derive(Debug, Clone)]
pub(super) struct StreamExecutor {
    tasks: Arc<Mutex<JoinSet<()>>>,
    tracker: TaskTracker,
    stall_timeout: Duration,
}

impl StreamExecutor {
    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn abort_all(&self) {
        self.tasks().abort_all();
    }

    /// Returns the number of streams. One that has ended counts until `reap`: otherwise the answers of calls that ended together would be
    /// written one by one.
    pub(super) fn stream_count(&self) -> usize {
        self.tasks().len()
    }

    /// Removes streams that have ended. A panic was logged where it happened, and the client saw a reset.
    pub(super) fn reap(&self) {
        let mut tasks = self.tasks();
        while tasks.try_join_next().is_some() {}
    }
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for StreamExecutor {
    fn execute(&self, stream: F) {
        let stream = self.tracker.track_future(StallGuard::new(stream, self.stall_timeout));
        self.tasks().spawn(stream);
    }
}

#[cfg(test)]
mod tests {
    use hyper::rt::Executor as _;

    use super::*;

    const STALL_TIMEOUT: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn streams_end_with_their_connection() {
        let tracker = TaskTracker::new();
        let streams = ConnectionStreams::new(tracker.clone(), STALL_TIMEOUT);
        for _ in 0..3 {
            streams.executor().execute(std::future::pending());
        }
        streams.executor().execute(std::future::ready(()));
        assert_eq!(tracker.len(), 4);
        drop(streams);
        tracker.close();
        tracker.wait().await;
    }

    #[tokio::test]
    async fn ended_streams_are_removed() {
        let tracker = TaskTracker::new();
        let streams = ConnectionStreams::new(tracker.clone(), STALL_TIMEOUT);
        streams.executor().execute(std::future::pending());
        streams.executor().execute(std::future::ready(()));
        while streams.executor().stream_count() > 1 {
            tokio::task::yield_now().await;
            streams.executor.reap();
        }
        assert_eq!(tracker.len(), 1);
    }
}
