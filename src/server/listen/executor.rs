//! Where the streams of a connection run: the one place that spawns them.
//!
//! Invariant: they end with their connection, and the server can wait for the last of them. A handler that still works
//! for a connection that is gone is dropped, as HTTP/2 does with a stream that its client cancelled.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use crate::grpc::taken::Patient;

/// The streams of one connection. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Streams {
    executor: Executor,
}

impl Streams {
    /// No streams yet. `tracker` counts the streams of all connections.
    /// A stream whose peer takes nothing for `patience` is given up.
    pub(super) fn new(tracker: TaskTracker, patience: Duration) -> Self {
        Self { executor: Executor { tasks: Arc::default(), tracker, patience } }
    }

    /// What hyper spawns them with.
    pub(super) fn executor(&self) -> Executor {
        self.executor.clone()
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        // Each stream holds an executor, so the set would never be dropped by itself.
        self.executor.tasks().abort_all();
    }
}

/// Spawns streams of one connection.
#[derive(Debug, Clone)]
pub(super) struct Executor {
    tasks: Arc<Mutex<JoinSet<()>>>,
    tracker: TaskTracker,
    patience: Duration,
}

impl Executor {
    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets streams that have ended. One that panicked was logged where it did, and its client told by a reset.
    pub(super) fn forget_ended(&self) {
        let mut tasks = self.tasks();
        while tasks.try_join_next().is_some() {}
    }
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Executor {
    fn execute(&self, stream: F) {
        let stream = self.tracker.track_future(Patient::new(stream, self.patience));
        self.tasks().spawn(stream);
    }
}

#[cfg(test)]
mod tests {
    use hyper::rt::Executor as _;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn streams_end_with_their_connection() {
        let tracker = TaskTracker::new();
        let streams = Streams::new(tracker.clone(), PATIENCE);
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
    async fn ended_streams_are_forgotten() {
        let tracker = TaskTracker::new();
        let streams = Streams::new(tracker.clone(), PATIENCE);
        streams.executor().execute(std::future::pending());
        streams.executor().execute(std::future::ready(()));
        while streams.executor.tasks().len() > 1 {
            tokio::task::yield_now().await;
            streams.executor.forget_ended();
        }
        assert_eq!(tracker.len(), 1);
    }
}
