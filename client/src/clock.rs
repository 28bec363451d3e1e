//! The clock of this machine.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since the Unix epoch, as of the clock of this machine.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the client's one clock")]
pub fn now_seconds() -> i64 {
    // With a clock before 1970 every checkpoint comes from the future and is refused, which is right.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX))
}
