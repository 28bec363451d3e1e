//! Requests about runs.

use super::collect_errors::collect_errors;
use super::fields::namespace;
use super::sync::{filter, optional_position};
use crate::api::filter::{ListQuery, parse_asked};
use crate::api::page::ListIdentity;
use crate::api::pb;
use crate::api::response::run_outcome;
use crate::domain::command::PageRequest;
use crate::domain::error::REQUIRED;
use crate::domain::listing::{RUNS, RunFilter};
use crate::domain::name::NamespaceId;
use crate::domain::run::{CompleteRun, RecordRun, RunId, RunKey, RunOutcome};
use crate::domain::time::Micros;
use crate::domain::{Error, Result};

/// Reads a RecordRun request.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn record_run(request: &pb::RecordRunRequest) -> Result<RecordRun> {
    let within = namespace("parent", &request.parent)
        .and_then(|namespace| Ok((filter("policies", &namespace, &request.policies)?, namespace)));
    let names = collect_errors(within, RunId::parse("run_id", &request.run_id));
    let (((policies, namespace), id), cursor) = collect_errors(names, optional_position("cursor", request.cursor))?;
    Ok(RecordRun { namespace, id, policies, cursor })
}

/// Returns the outcome of a number; none for one that is not known.
fn outcome(number: i32) -> Option<RunOutcome> {
    RunOutcome::ALL.into_iter().find(|outcome| run_outcome(*outcome) as i32 == number)
}

fn ended(number: i32) -> Result<RunOutcome> {
    let ended = outcome(number).filter(|outcome| *outcome != RunOutcome::Open);
    let rule = if number == 0 { REQUIRED } else { "must be SUCCEEDED, FAILED or CANCELLED" };
    ended.ok_or_else(|| Error::invalid("outcome", rule))
}

/// Reads a CompleteRun request.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn complete_run(request: pb::CompleteRunRequest) -> Result<CompleteRun> {
    let name = RunId::parse_name("name", &request.name);
    let end = collect_errors(ended(request.outcome), CompleteRun::check_message(&request.message));
    let ((namespace, id), (outcome, ())) = collect_errors(name, end)?;
    Ok(CompleteRun { namespace, id, outcome, message: request.message })
}

/// Reads a GetRun request.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn get_run(request: &pb::GetRunRequest) -> Result<(NamespaceId, RunId)> {
    RunId::parse_name("name", &request.name)
}

/// Reads a ListRuns request.
///
/// # Errors
/// `INVALID_ARGUMENT`, `INVALID_PAGE_TOKEN`.
pub fn list_runs(request: &pb::ListRunsRequest) -> Result<(RunFilter, ListIdentity, PageRequest<RunKey>)> {
    let namespace = namespace("parent", &request.parent)?;
    let ListQuery { filter, key, .. } = parse_asked(&RUNS, Some(&namespace), &request.filter, &request.order_by)?;
    let list = ListIdentity::new(["ListRuns", &request.parent, &key]);
    let filter = RunFilter::new(namespace, filter);
    if filter.version.is_some() && filter.policy.is_none() {
        return Err(Error::invalid("filter", "version can't be given without a policy"));
    }
    let page = list.page(request.page_size, &request.page_token, run_key)?;
    Ok((filter, list, page))
}

/// Reads where a page of runs ended, as [`write_run_key`] wrote it.
fn run_key(text: &str) -> Option<RunKey> {
    let (create_time, id) = text.split_once(' ')?;
    Some(RunKey { create_time: Micros(create_time.parse().ok()?), id: RunId::parse("page_token", id).ok()? })
}

/// Writes where a page of runs ended.
#[must_use]
pub fn write_run_key(key: &RunKey) -> String {
    format!("{} {}", key.create_time.0, key.id.as_str())
}
