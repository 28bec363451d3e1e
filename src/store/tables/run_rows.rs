//! Conversions between rows of runs and domain types.
//!
//! The outcome in `runs` and `run_policies` serves indexes: it counts only when the row of the run's end states the same.

use crate::domain::digest::Digest;
use crate::domain::event::Cursor;
use crate::domain::run::{Run, RunEnd, RunId, RunOutcome, RunPolicy};
use crate::domain::time::Micros;
use crate::domain::{Error, Result};
use crate::store::authenticated::Authenticated;
use crate::store::entity::{run_ends, run_policies, runs};
use crate::store::tables::rows::{policy_name, unreadable};

fn data_loss(id: &str, what: &str) -> Error {
    Error::data_loss(format!("run {id}: {what}"))
}

fn outcome(text: &str) -> Result<RunOutcome> {
    RunOutcome::of_word(text).ok_or_else(|| Error::data_loss(format!("unreadable outcome of a run: {text}")))
}

fn digest(text: &str) -> Result<Digest> {
    Digest::parse("digest", text).map_err(unreadable("digest"))
}

/// Returns the policy that the row of a run itself has: its first.
fn first_policy(row: &runs::Model) -> Result<RunPolicy> {
    Ok(RunPolicy {
        policy: policy_name(&row.namespace, &row.policy)?.policy,
        version: row.version,
        digest: digest(&row.digest)?,
        activation_revision: row.active_revision,
    })
}

fn end(row: run_ends::Model) -> Result<RunEnd> {
    let outcome = outcome(&row.outcome)?;
    Ok(RunEnd { outcome, message: row.message, complete_time: Micros(row.complete_time) })
}

/// Converts a run with its first policy.
///
/// # Errors
/// `DATA_LOSS` when its row and its end contradict each other, or can't be read.
pub(in crate::store) fn summary(
    Authenticated(row): &Authenticated<runs::Model>,
    ended: Option<Authenticated<run_ends::Model>>,
) -> Result<Run> {
    let end = ended.map(|Authenticated(row)| end(row)).transpose()?;
    let namespace = policy_name(&row.namespace, &row.policy)?.namespace;
    let run = Run {
        namespace,
        id: RunId::parse("id", &row.id).map_err(unreadable("run"))?,
        policies: vec![first_policy(row)?],
        policy_count: usize::try_from(row.policies.unwrap_or(1)).unwrap_or_default(),
        is_whole_set: row.whole_set.unwrap_or(false),
        cursor: Cursor { epoch: row.epoch, revision: row.revision },
        recorder: row.recorder.clone(),
        create_time: Micros(row.create_time),
        end,
    };
    if outcome(&row.outcome)? == run.outcome() {
        return Ok(run);
    }
    Err(data_loss(&row.id, "its row and its end contradict each other"))
}

/// Converts a policy of a run.
///
/// # Errors
/// `DATA_LOSS` when the row is of another run, or can't be read.
pub(in crate::store) fn policy(
    run: &Run,
    Authenticated(row): &Authenticated<run_policies::Model>,
) -> Result<RunPolicy> {
    let of_row = (row.epoch, row.revision, row.recorder.as_str(), Micros(row.create_time), row.part.is_some());
    let is_alone = run.policy_count == 1 && !run.is_whole_set;
    let of_run = (run.cursor.epoch, run.cursor.revision, run.recorder.as_str(), run.create_time, !is_alone);
    if of_row != of_run || outcome(&row.outcome)? != run.outcome() || row.id != run.id.as_str() {
        return Err(data_loss(&row.id, "one of its policies contradicts it"));
    }
    Ok(RunPolicy {
        policy: policy_name(&row.namespace, &row.policy)?.policy,
        version: row.version,
        digest: digest(&row.digest)?,
        activation_revision: row.active_revision,
    })
}

/// Converts a run with all of its policies, whose rows come in their order.
///
/// # Errors
/// `DATA_LOSS` when a row is missing, surplus or of another run.
pub(in crate::store) fn whole(run: Run, rows: &[Authenticated<run_policies::Model>]) -> Result<Run> {
    let is_in_order = |(index, Authenticated(row)): (usize, &Authenticated<run_policies::Model>)| {
        row.part.is_none_or(|part| usize::try_from(part) == Ok(index))
    };
    let policies = rows.iter().map(|row| policy(&run, row)).collect::<Result<Vec<_>>>()?;
    if policies.len() != run.policy_count
        || policies.first() != run.policies.first()
        || !rows.iter().enumerate().all(is_in_order)
    {
        return Err(data_loss(run.id.as_str(), "its policies are not those that it was recorded with"));
    }
    Ok(Run { policies, ..run })
}

/// Whether a run is of a single policy that was named: the previous server release writes and reads no other.
fn is_of_named_one(run: &Run) -> bool {
    run.policy_count == 1 && !run.is_whole_set
}

/// Builds the row of an open run.
pub(in crate::store) fn run_row(run: &Run, first: &RunPolicy) -> runs::Model {
    let is_set = !is_of_named_one(run);
    runs::Model {
        namespace: run.namespace.to_string(),
        id: run.id.as_str().to_owned(),
        policy: first.policy.to_string(),
        version: first.version,
        digest: first.digest.to_string(),
        epoch: run.cursor.epoch,
        revision: run.cursor.revision,
        active_revision: first.activation_revision,
        recorder: run.recorder.clone(),
        create_time: run.create_time.0,
        policies: is_set.then(|| i64::try_from(run.policies.len()).unwrap_or(i64::MAX)),
        whole_set: is_set.then_some(run.is_whole_set),
        outcome: RunOutcome::Open.as_str().to_owned(),
        tag: Vec::new(),
    }
}

/// Builds the rows of the policies of an open run; none where a trigger writes the only one.
pub(in crate::store) fn policy_rows(run: &Run) -> Vec<run_policies::Model> {
    if is_of_named_one(run) {
        return Vec::new();
    }
    let row = |(part, each): (i64, &RunPolicy)| run_policies::Model {
        namespace: run.namespace.to_string(),
        id: run.id.as_str().to_owned(),
        policy: each.policy.to_string(),
        version: each.version,
        digest: each.digest.to_string(),
        epoch: run.cursor.epoch,
        revision: run.cursor.revision,
        active_revision: each.activation_revision,
        recorder: run.recorder.clone(),
        create_time: run.create_time.0,
        part: Some(part),
        outcome: RunOutcome::Open.as_str().to_owned(),
        tag: Vec::new(),
    };
    (0..).zip(&run.policies).map(row).collect()
}

/// Builds the row of the end of a run.
pub(in crate::store) fn end_row(run: &Run, end: &RunEnd) -> run_ends::Model {
    run_ends::Model {
        namespace: run.namespace.to_string(),
        id: run.id.as_str().to_owned(),
        outcome: end.outcome.as_str().to_owned(),
        message: end.message.clone(),
        complete_time: end.complete_time.0,
        tag: Vec::new(),
    }
}
