//! The calls of a testing hub, each from a request to its answer.
//!
//! Boundary: reads requests and writes answers by the converters of the real server; never waits.

use std::sync::Arc;

use super::log::{NamespaceLog, StateAt};
use super::report::SubscriberReport;
use super::state::SharedState;
use crate::clock::now_seconds;
use policyhub_core::api::page::PageEnd;
use policyhub_core::api::{pb, request, response};
use policyhub_core::domain::command::{ActiveKey, AsOf};
use policyhub_core::domain::event::Position;
use policyhub_core::domain::lifecycle::{check_note, no_active};
use policyhub_core::domain::name::PolicyId;
use policyhub_core::domain::subscriber::ReportVerdict;
use policyhub_core::domain::{Error, Reason, Result};

/// Answers GetActive, of now or right after an event.
pub(super) fn get_active(shared: &SharedState, asked: &pb::GetActiveRequest) -> Result<pb::GetActiveResponse> {
    let query = request::get_active(asked)?;
    let name = &query.policy;
    shared.read(|state| {
        let log = state.log(&name.namespace)?;
        let found = as_of(log, query.as_of)?;
        let Some(active) = found.active.get(&name.policy) else {
            let unknown = || Error::new(Reason::PolicyNotFound, format!("{name} does not exist")).about(name);
            return Err(if log.knows(&name.policy) { no_active(name) } else { unknown() });
        };
        let is_held = query.if_digest.as_ref() == Some(&active.bundle.version.digest);
        let mut answer = pb::GetActiveResponse { cursor: Some(response::cursor(found.head)), ..Default::default() };
        if is_held {
            answer.not_modified = true;
        } else {
            answer.bundle = Some(response::active_bundle(active, asked.metadata_only));
            answer.statement = active.statement.to_string();
        }
        Ok(answer)
    })
}

/// Answers ListActive, of now or right after an event. Every page is of the state of the first one, by the checkpoint of the first one.
pub(super) fn list_active(shared: &SharedState, asked: &pb::ListActiveRequest) -> Result<pb::ListActiveResponse> {
    let (query, list) = request::list_active(asked)?;
    shared.read(|state| {
        let log = state.log(&query.namespace)?;
        let after = query.page.after.as_ref();
        let (found, checkpoint) = match after {
            Some(after) => (in_log(log, "page_token", after.cursor.into())?, after.checkpoint.clone()),
            None => {
                let found = as_of(log, query.as_of)?;
                let checkpoint = match query.as_of {
                    AsOf::Now => shared.signer.checkpoint(log.namespace(), found.head, found.root(), now_seconds())?,
                    AsOf::Time(_) | AsOf::Event(_) => String::new(),
                };
                (found, checkpoint)
            }
        };
        let is_asked = |policy: &PolicyId| query.policies.is_empty() || query.policies.contains(policy);
        let is_left = |policy: &PolicyId| after.is_none_or(|after| *policy > after.policy);
        let mut left = found.active.iter().filter(|(policy, _)| is_asked(policy) && is_left(policy));
        let write_key = |policy: &PolicyId| {
            let (cursor, checkpoint) = (found.head.cursor, checkpoint.clone());
            request::write_active_key(&ActiveKey { cursor, policy: policy.clone(), checkpoint })
        };
        let page_size = usize::try_from(query.page.size).unwrap_or(usize::MAX);
        let page: Vec<_> = left.by_ref().take(page_size).collect();
        let last_key = page.last().map(|(policy, _)| write_key(policy));
        let set_proof = if checkpoint.is_empty() { Default::default() } else { found.prove(&query.policies) };
        let end = PageEnd {
            beside_bytes: checkpoint.len() + set_proof.len(),
            ..PageEnd::at(last_key, left.next().is_none())
        };
        let written = page
            .into_iter()
            .map(|(policy, active)| (write_key(policy), response::active_bundle(active, query.metadata_only)));
        let (bundles, next_page_token) = list.fill(written, end);
        let mut answer = pb::ListActiveResponse { bundles, next_page_token, ..Default::default() };
        answer.cursor = Some(response::cursor(found.head));
        if answer.next_page_token.is_empty() {
            (answer.checkpoint, answer.set_proof) = (checkpoint, set_proof);
        }
        Ok(answer)
    })
}

/// Answers ReportStatus, and keeps the report for the test.
pub(super) fn report_status(shared: &SharedState, asked: pb::ReportStatusRequest) -> Result<pb::ReportStatusResponse> {
    let report = request::report_status(asked)?;
    if let ReportVerdict::Rejected { reason } = &report.verdict {
        if reason.trim().is_empty() {
            return Err(Error::invalid("reason", "is required: why it was rejected"));
        }
        check_note("reason", reason)?;
    }
    let namespace = &report.subscriber.namespace;
    let position = Position { cursor: report.cursor, event: report.event };
    shared.change(|state| {
        in_log(state.log(namespace)?, "cursor", position)?;
        state.reports.push((namespace.clone(), SubscriberReport::from(&report)));
        Ok(pb::ReportStatusResponse { stored: true })
    })
}

/// Answers ListSigningKeys: with the one key, and the statement that names it.
pub(super) fn list_signing_keys(
    shared: &SharedState,
    asked: &pb::ListSigningKeysRequest,
) -> Result<pb::ListSigningKeysResponse> {
    if !asked.filter.is_empty() || !asked.order_by.is_empty() {
        return Err(Error::new(Reason::Unimplemented, "the testing hub lists its keys without filter and order_by"));
    }
    Ok(pb::ListSigningKeysResponse {
        keys: vec![shared.signer.signing_key()],
        store: shared.signer.store().to_owned(),
        key_statements: vec![shared.signer.key_statement().to_owned()],
    })
}

/// Returns the state that a call asks for.
fn as_of(log: &NamespaceLog, as_of: AsOf) -> Result<&Arc<StateAt>> {
    match as_of {
        AsOf::Now => Ok(log.newest()),
        AsOf::Event(position) => in_log(log, "cursor", position),
        AsOf::Time(_) => {
            Err(Error::new(Reason::Unimplemented, "the testing hub answers the past by cursor, not by time"))
        }
    }
}

/// Returns the state at a position, which must not be beyond the head.
fn in_log<'a>(log: &'a NamespaceLog, field: &str, position: Position) -> Result<&'a Arc<StateAt>> {
    if position.cursor.revision > log.newest().head.cursor.revision {
        return Err(Error::invalid(field, "is beyond the head of the log"));
    }
    log.at(position)
}
