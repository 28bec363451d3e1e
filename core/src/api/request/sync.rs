//! Requests of `SyncService`.

use std::collections::BTreeSet;
use std::time::Duration;

use super::collect_errors::{at_most, collect_all_errors, collect_errors};
use super::fields::namespace;
use crate::api::page::ListIdentity;
use crate::api::{pb, time};
use crate::domain::command::{ActiveKey, AsOf, GetActive, ListActive, StartWatch};
use crate::domain::digest::Digest;
use crate::domain::error::REQUIRED;
use crate::domain::event::{Cursor, Fingerprint, Position};
use crate::domain::limits::{WATCH_POLICIES_MAX, WATCH_TARGETS_MAX};
use crate::domain::name::{NamespaceId, PolicyId, PolicyName};
use crate::domain::{Error, Result};

/// Reads a cursor that must not be negative. Its fingerprint is not looked at.
pub(super) fn cursor(field: &str, given: pb::Cursor) -> Result<Cursor> {
    let cursor = Cursor { epoch: given.epoch, revision: given.revision };
    if cursor.epoch < 0 || cursor.revision < 0 {
        return Err(Error::invalid(field, "must not be negative"));
    }
    Ok(cursor)
}

/// Reads a cursor with the fingerprint of its event.
pub(super) fn position(field: &str, given: pb::Cursor) -> Result<Position> {
    Ok(Position { cursor: cursor(field, given)?, event: Fingerprint::from_number(given.fingerprint) })
}

/// Reads a cursor that may be left out.
pub(super) fn optional_position(field: &str, given: Option<pb::Cursor>) -> Result<Option<Position>> {
    given.map(|given| position(field, given)).transpose()
}

/// Reads a GetActive request.
///
/// # Errors
/// `INVALID_ARGUMENT`, for the name of a namespace too.
pub fn get_active(request: &pb::GetActiveRequest) -> Result<GetActive> {
    if NamespaceId::parse_name("name", &request.name).is_ok() {
        let rule = "must be namespaces/{namespace}/policies/{policy}; ListActive answers the active set of a namespace";
        return Err(Error::invalid("name", rule));
    }
    let policy = PolicyName::parse("name", &request.name)?;
    let as_of = match request.at {
        None => AsOf::Now,
        Some(pb::get_active_request::At::Time(at)) => AsOf::Time(time::micros("time", at)?),
        Some(pb::get_active_request::At::Cursor(at)) => AsOf::Event(position("cursor", at)?),
    };
    let if_digest = (!request.if_digest.is_empty()).then(|| Digest::parse("if_digest", &request.if_digest));
    Ok(GetActive { policy, as_of, if_digest: if_digest.transpose()? })
}

/// Reads a ListActive request.
///
/// # Errors
/// `INVALID_ARGUMENT`, `INVALID_PAGE_TOKEN`.
pub fn list_active(request: &pb::ListActiveRequest) -> Result<(ListActive, ListIdentity)> {
    let namespace = namespace("parent", &request.parent)?;
    let policies = filter("policies", &namespace, &request.policies)?;
    let as_of = match request.at {
        None => AsOf::Now,
        Some(pb::list_active_request::At::Time(at)) => AsOf::Time(time::micros("time", at)?),
        Some(pb::list_active_request::At::Cursor(at)) => AsOf::Event(position("cursor", at)?),
    };
    let asked = format!("{as_of:?} {}", request.metadata_only);
    let names = policies.iter().map(PolicyId::as_str);
    let list = ListIdentity::new(["ListActive", &request.parent, &asked].into_iter().chain(names));
    let page = list.page(request.page_size, &request.page_token, active_key)?;
    Ok((ListActive { namespace, policies, as_of, metadata_only: request.metadata_only, page }, list))
}

/// Reads where a page of an active set ended, as [`write_active_key`] wrote it.
fn active_key(text: &str) -> Option<ActiveKey> {
    let mut parts = text.splitn(4, ' ');
    let mut number = || parts.next()?.parse().ok().filter(|number: &i64| *number >= 0);
    let cursor = Cursor { epoch: number()?, revision: number()? };
    let policy = PolicyId::parse("page_token", parts.next()?).ok()?;
    Some(ActiveKey { cursor, policy, checkpoint: parts.next()?.to_owned() })
}

/// Writes where a page of an active set ended.
#[must_use]
pub fn write_active_key(key: &ActiveKey) -> String {
    let ActiveKey { cursor: Cursor { epoch, revision }, policy, checkpoint } = key;
    format!("{epoch} {revision} {policy} {checkpoint}")
}

/// Reads which policies are asked for, as names or ids.
pub(super) fn filter(field: &str, namespace: &NamespaceId, policies: &[String]) -> Result<BTreeSet<PolicyId>> {
    at_most(field, policies, WATCH_POLICIES_MAX)?;
    let named = policies.iter().enumerate();
    let policies = named.map(|(index, policy)| PolicyId::parse_within(&format!("{field}[{index}]"), namespace, policy));
    Ok(BTreeSet::from_iter(collect_all_errors(policies)?))
}

/// Refuses a watch of more namespaces than one may have.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn watch_size(request: &pb::WatchActiveRequest) -> Result<()> {
    at_most("targets", &request.targets, WATCH_TARGETS_MAX)
}

/// Reads up to which key statement a watch has them; nothing when it asks for none.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn key_cursor(request: &pb::WatchActiveRequest) -> Result<Option<Cursor>> {
    request.key_cursor.map(|given| cursor("key_cursor", given)).transpose()
}

/// Reads how often a watch should have a heartbeat; nothing when it leaves that to the server.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn heartbeat_interval(request: &pb::WatchActiveRequest) -> Result<Option<Duration>> {
    let read = |given: prost_types::Duration| {
        // Not by the library's conversion: it negates, which the lowest number does not outlive.
        let (seconds, nanos) = (u64::try_from(given.seconds).ok()?, u32::try_from(given.nanos).ok()?);
        (nanos < 1_000_000_000).then(|| Duration::new(seconds, nanos))
    };
    let given = request.heartbeat_interval;
    given
        .map(|given| read(given).ok_or_else(|| Error::invalid("heartbeat_interval", "must be a duration from 0 s on")))
        .transpose()
}

/// Reads what a watch asks for, one command for each namespace.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn watch(request: &pb::WatchActiveRequest) -> Result<Vec<StartWatch>> {
    if request.targets.is_empty() {
        return Err(Error::invalid("targets", REQUIRED));
    }
    let latest = match pb::WatchMode::try_from(request.mode) {
        Ok(pb::WatchMode::Unspecified | pb::WatchMode::All) => false,
        Ok(pb::WatchMode::Latest) => true,
        Err(_) => return Err(Error::invalid("mode", "is not a mode this server knows")),
    };
    let mut seen = BTreeSet::new();
    let targets = request.targets.iter().enumerate().map(|(index, target)| {
        let (namespace, policies, resume) = watch_target(&format!("targets[{index}]"), target)?;
        if !seen.insert(namespace.clone()) {
            return Err(Error::invalid(format!("targets[{index}].parent"), "is there twice"));
        }
        Ok(StartWatch { namespace, policies, resume, latest, metadata_only: request.metadata_only })
    });
    collect_all_errors(targets)
}

fn watch_target(field: &str, target: &pb::WatchTarget) -> Result<(NamespaceId, BTreeSet<PolicyId>, Option<Position>)> {
    let namespace = namespace(&format!("{field}.parent"), &target.parent)?;
    let policies = filter(&format!("{field}.policies"), &namespace, &target.policies);
    let (policies, resume) = collect_errors(policies, optional_position(&format!("{field}.resume"), target.resume))?;
    Ok((namespace, policies, resume))
}
