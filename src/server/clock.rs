//! The clocks of the server. All lower modules get the time as an argument.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::domain::time::Micros;
use crate::store::Clocks;

/// Both clocks, for the store.
pub const CLOCKS: Clocks = Clocks { wall: now, monotonic };

/// Returns the wall clock time; 0 before 1970.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the server's one wall clock")]
pub fn now() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Returns the monotonic time, for ages and intervals.
#[must_use]
pub fn monotonic() -> Instant {
    Instant::now()
}
