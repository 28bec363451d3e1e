//! A die, so that what begins together does not end together.

use std::hash::{BuildHasher as _, RandomState};

/// A number in 0..1. Each `RandomState` has keys of its own: enough of a die for a jitter.
#[must_use]
pub fn fraction() -> f64 {
    let bits = u32::try_from(RandomState::new().hash_one(0_u8) >> 32).unwrap_or(u32::MAX);
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}
