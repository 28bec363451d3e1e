//! Time as the product keeps it: microseconds since 1970-01-01T00:00:00Z, the finest both databases hold.
//!
//! A value, never a clock: whoever needs the time is given it. It decides expiry and display, never order.

use std::fmt;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Microseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Micros(pub i64);

/// Writes the time by RFC 3339, in UTC; or the number, where RFC 3339 has no year for it.
impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000);
        match time.ok().and_then(|time| time.format(&Rfc3339).ok()) {
            Some(text) => f.write_str(&text),
            None => write!(f, "{} µs after 1970", self.0),
        }
    }
}

impl Micros {
    /// Returns whole seconds since the Unix epoch, as JWS claims carry them (RFC 7519 NumericDate).
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }
}
