//! Requests about runs.

use super::both::both;
use super::fields::{namespace, policy};
use super::sync::position;
use crate::api::pb;
use crate::domain::Result;
use crate::domain::name::NamespaceId;
use crate::domain::run::{RecordRun, RunId};

/// RecordRun.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn record_run(request: &pb::RecordRunRequest) -> Result<RecordRun> {
    let names = both(policy("policy", &request.policy), RunId::parse("run_id", &request.run_id));
    let ((policy, id), cursor) = both(names, position("cursor", request.cursor))?;
    Ok(RecordRun { id, policy, cursor })
}

/// GetRun.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn get_run(request: &pb::GetRunRequest) -> Result<(NamespaceId, RunId)> {
    both(namespace("parent", &request.parent), RunId::parse("run_id", &request.run_id))
}
