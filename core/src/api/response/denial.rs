//! Denials.

use crate::api::pb;
use crate::api::time::timestamp;
use crate::domain::denial::{Denial, DenialCount, DenialKey};

/// Writes equal refusals of one principal.
#[must_use]
pub fn denial(Denial { key, count }: Denial) -> pb::Denial {
    let (DenialKey { principal, method, reason, permission, .. }, DenialCount { count, first, last }) = (key, count);
    pb::Denial {
        principal,
        method,
        reason,
        permission,
        count,
        first_time: Some(timestamp(first)),
        last_time: Some(timestamp(last)),
    }
}
