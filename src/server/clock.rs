//! The clocks of the server. Everything below is told the time.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::domain::time::Micros;
use crate::store::Clocks;

/// Both, for the store.
pub const CLOCKS: Clocks = Clocks { wall: now, monotonic };

/// Now, by the wall clock; 0 before 1970.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the server's one wall clock")]
pub fn now() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Now, by the clock that nobody sets: for ages and intervals.
#[must_use]
pub fn monotonic() -> Instant {
    Instant::now()
}
