//! Time as the product keeps it: microseconds since 1970-01-01T00:00:00Z, the finest both databases hold.
//!
//! A value, never a clock: whoever needs the time is given it. It decides expiry and display, never order.

use serde::{Deserialize, Serialize};

/// Microseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Micros(pub i64);

impl Micros {
    /// Whole seconds since the Unix epoch, as JWS claims carry them (RFC 7519 NumericDate).
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }
}
