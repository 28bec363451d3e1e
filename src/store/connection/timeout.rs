//! Timeouts that count only the time in which this process was scheduled.

use std::future::Future;
use std::time::Duration;

/// Maximum that a pause of the scheduler counts towards a timeout: a process that got no CPU must not conclude that its database is away.
/// Higher: on a loaded machine an outage is reported that is none. Lower: more wake-ups while a statement runs.
const TIMEOUT_STEP: Duration = Duration::from_millis(100);

/// Waits for a future for at most `limit`, counting only the time in which this process was scheduled.
pub(in crate::store) async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    counted(limit, future).await.0
}

/// Waits as `within` does, and also returns the time that it counted.
pub(in crate::store) async fn counted<T>(limit: Duration, future: impl Future<Output = T>) -> (Option<T>, Duration) {
    let mut future = std::pin::pin!(future);
    let mut waited = Duration::ZERO;
    while waited < limit {
        if let Ok(done) = tokio::time::timeout(TIMEOUT_STEP, &mut future).await {
            return (Some(done), waited);
        }
        waited += TIMEOUT_STEP;
    }
    (None, waited)
}
