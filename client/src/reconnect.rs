//! When the next stream is opened after one that ended: pauses that no server can abolish.
//!
//! Boundary: keeps the pauses and makes one try; what a stream carries is its holder's. Invariant: a pause has jitter, so that
//! many who were cut at once do not come back as one.

use std::time::Duration;

use tokio::time::Instant;

/// Longest pause before the second try of a connection; it doubles with each further one (full jitter).
pub const RECONNECT_BASE: Duration = Duration::from_millis(500);
/// Longest pause before any try, also when the server asks for more.
pub const RECONNECT_MAX: Duration = Duration::from_secs(60);
/// A stream that lived this long was a good one: the pauses begin anew.
const STREAM_GOOD: Duration = Duration::from_secs(60);

/// The pauses between the streams of one subscriber.
#[derive(Debug)]
pub(super) struct Pauses {
    /// Tries since the last good stream.
    attempt: u32,
    try_at: Instant,
}

impl Pauses {
    /// Begins without a pause: the first try is at once.
    pub fn new() -> Self {
        Self { attempt: 0, try_at: Instant::now() }
    }

    /// Waits until it is time for the next try. Dropped while it waits, it loses nothing.
    pub async fn wait(&self) {
        tokio::time::sleep_until(self.try_at).await;
    }

    /// Records that a try failed, or that the stream which began at `since` is over. The next try is after what the server asked for and a jitter
    /// on top, both bounded.
    pub fn ended(&mut self, since: Option<Instant>, asked: Duration) {
        if since.is_some_and(|since| since.elapsed() >= STREAM_GOOD) {
            self.attempt = 0;
        }
        self.try_at = Instant::now() + pause(self.attempt, asked, fastrand::f64());
        self.attempt = self.attempt.saturating_add(1);
    }
}

/// Returns a pause with full jitter: anything between nothing and the doubled bound, on top of what the server asked for.
fn pause(attempt: u32, asked: Duration, fraction: f64) -> Duration {
    let longest = RECONNECT_BASE.saturating_mul(1 << attempt.min(16)).min(RECONNECT_MAX);
    longest.mul_f64(fraction).saturating_add(asked).min(RECONNECT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_jittered_doubled_and_bounded() {
        assert_eq!(pause(0, Duration::ZERO, 1.0), RECONNECT_BASE);
        assert_eq!(pause(3, Duration::ZERO, 0.5), RECONNECT_BASE * 4);
        assert_eq!(pause(9, Duration::ZERO, 0.0), Duration::ZERO);
        assert_eq!(pause(99, Duration::ZERO, 1.0), RECONNECT_MAX);
        assert_eq!(pause(0, Duration::from_secs(5), 0.0), Duration::from_secs(5));
        assert_eq!(pause(0, Duration::MAX, 1.0), RECONNECT_MAX, "no server can send a runtime away for good");
    }
}
