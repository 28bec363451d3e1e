//! Requests of `SyncService`.

use std::collections::BTreeSet;

use super::both::{all, at_most};
use super::fields::{namespace, policy};
use crate::api::{pb, time};
use crate::domain::command::{ActiveScope, AsOf, Watch};
use crate::domain::digest::Digest;
use crate::domain::event::{Cursor, Fingerprint, Position};
use crate::domain::limits::WATCH_POLICIES_MAX;
use crate::domain::name::PolicyId;
use crate::domain::{Error, Result};

/// Reads a cursor that must not be negative. Its fingerprint is not looked at.
pub(super) fn cursor(field: &str, given: Option<pb::Cursor>) -> Result<Option<Cursor>> {
    let cursor = given.map(|from| Cursor { epoch: from.epoch, revision: from.revision });
    if cursor.is_some_and(|cursor| cursor.epoch < 0 || cursor.revision < 0) {
        return Err(Error::invalid(field, "must not be negative"));
    }
    Ok(cursor)
}

/// Reads a cursor with the fingerprint of its event.
pub(super) fn position(field: &str, given: Option<pb::Cursor>) -> Result<Option<Position>> {
    let fingerprint = given.and_then(|given| Fingerprint::from_number(given.fingerprint));
    Ok(cursor(field, given)?.map(|cursor| Position { cursor, event: fingerprint }))
}

/// GetActive.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn get_active(request: &pb::GetActiveRequest) -> Result<(ActiveScope, AsOf, Option<Digest>)> {
    let scope = if request.name.contains("/policies/") {
        ActiveScope::Policy(policy("name", &request.name)?)
    } else {
        ActiveScope::Namespace(namespace("name", &request.name)?)
    };
    let as_of = match request.at {
        None => AsOf::Now,
        Some(pb::get_active_request::At::Time(at)) => AsOf::Time(time::micros("time", at)?),
        Some(pb::get_active_request::At::Revision(revision)) => AsOf::Revision(revision),
    };
    let if_digest = (!request.if_digest.is_empty()).then(|| Digest::parse("if_digest", &request.if_digest));
    Ok((scope, as_of, if_digest.transpose()?))
}

/// WatchActive.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn watch(request: &pb::WatchActiveRequest) -> Result<Watch> {
    let namespace = namespace("parent", &request.parent)?;
    at_most("policies", &request.policies, WATCH_POLICIES_MAX)?;
    let policies = request
        .policies
        .iter()
        .enumerate()
        .map(|(index, policy)| PolicyId::parse_within(&format!("policies[{index}]"), &namespace, policy));
    let policies = BTreeSet::from_iter(all(policies)?);
    let resume = position("resume", request.resume)?;
    let latest = match pb::WatchMode::try_from(request.mode) {
        Ok(pb::WatchMode::Unspecified | pb::WatchMode::All) => false,
        Ok(pb::WatchMode::Latest) => true,
        Err(_) => return Err(Error::invalid("mode", "is not a mode this server knows")),
    };
    let key_cursor = cursor("key_cursor", request.key_cursor)?;
    Ok(Watch { namespace, policies, resume, latest, metadata_only: request.metadata_only, key_cursor })
}
