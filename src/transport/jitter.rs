//! Jitter: tasks that start together must not end together.

use std::hash::{BuildHasher as _, RandomState};

/// Returns a random number in 0..1. Each `RandomState` has random keys, which is enough for jitter.
#[must_use]
pub fn random_fraction() -> f64 {
    let bits = u32::try_from(RandomState::new().hash_one(0_u8) >> 32).unwrap_or(u32::MAX);
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}
