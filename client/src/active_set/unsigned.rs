//! What messages of a stream say beside what is signed.
//!
//! Invariant: nothing is believed for it. A cursor must be that of the signed document, and the rest is for people and pauses.

use std::time::Duration;

use crate::refusal::Refusal;
use policyhub_core::api::pb;
use policyhub_core::domain::event::{Cursor, Fingerprint};

/// Checks that a cursor beside a signed document is the signed one.
pub(super) fn check_hint(hint: Option<&pb::Cursor>, signed: Cursor) -> Result<(), Refusal> {
    let hint = hint.ok_or(Refusal::Malformed("cursor is absent"))?;
    let found = Cursor { epoch: hint.epoch, revision: hint.revision };
    if found == signed { Ok(()) } else { Err(Refusal::OtherCursor { found, signed }) }
}

/// Returns which event a cursor says that it names.
pub(super) fn fingerprint(cursor: Option<&pb::Cursor>) -> Option<Fingerprint> {
    cursor.and_then(|cursor| Fingerprint::from_number(cursor.fingerprint))
}

/// Returns a duration of a message; less than nothing is nothing. Not by the library's conversion: it negates, which the
/// lowest number does not outlive.
pub(crate) fn duration_of(given: &prost_types::Duration) -> Duration {
    match (u64::try_from(given.seconds), u32::try_from(given.nanos)) {
        (Ok(seconds), Ok(nanos)) => Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanos.into())),
        _ => Duration::ZERO,
    }
}

/// Returns why a server ends a stream, in words.
pub(super) fn reason_of(reconnect: &pb::Reconnect) -> &'static str {
    match pb::ReconnectReason::try_from(reconnect.reason) {
        Ok(pb::ReconnectReason::Draining) => "draining",
        Ok(pb::ReconnectReason::Age) => "age",
        Ok(pb::ReconnectReason::Unspecified) | Err(_) => "no reason that is known here",
    }
}
