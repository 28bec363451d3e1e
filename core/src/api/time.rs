//! `google.protobuf.Timestamp` to microseconds and back.

use ::time::OffsetDateTime;
use ::time::format_description::well_known::Rfc3339;
use prost_types::Timestamp;

use crate::domain::time::Micros;
use crate::domain::{Error, Result};

/// Writes a time.
#[must_use]
pub fn timestamp(time: Micros) -> Timestamp {
    let nanos = time.0.rem_euclid(1_000_000) * 1_000;
    Timestamp { seconds: time.seconds(), nanos: i32::try_from(nanos).unwrap_or(0) }
}

/// Reads a time, cut to microseconds; `field` is named in the error.
///
/// # Errors
/// `INVALID_ARGUMENT` outside of years 1 to 9999, the range of the type.
pub fn micros(field: &str, time: Timestamp) -> Result<Micros> {
    const YEAR_1: i64 = -62_135_596_800;
    const YEAR_9999_END: i64 = 253_402_300_799;
    let in_range = (YEAR_1..=YEAR_9999_END).contains(&time.seconds) && (0..1_000_000_000).contains(&time.nanos);
    if !in_range {
        return Err(Error::invalid(field, "is no time between year 1 and 9999"));
    }
    Ok(Micros(time.seconds * 1_000_000 + i64::from(time.nanos) / 1_000))
}

/// Reads a time as RFC 3339 writes it, cut to microseconds; none for what is no time between year 1 and 9999.
#[must_use]
pub fn rfc3339(text: &str) -> Option<Micros> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let nanos = i32::try_from(time.nanosecond()).ok()?;
    micros("time", Timestamp { seconds: time.unix_timestamp(), nanos }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_the_trip() {
        for time in [0, 1, -1, -1_500_000, 1_795_000_000_123_456] {
            assert_eq!(micros("t", timestamp(Micros(time))).map(|back| back.0).ok(), Some(time));
        }
        assert!(micros("t", Timestamp { seconds: i64::MAX, nanos: 0 }).is_err());
        assert!(micros("t", Timestamp { seconds: 0, nanos: -1 }).is_err());
    }
}
