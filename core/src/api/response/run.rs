//! Runs.

use crate::api::{pb, time};
use crate::domain::run::{Run, RunCount, RunOutcome, RunPolicy};

/// Returns how a run ended.
#[must_use]
pub fn run_outcome(from: RunOutcome) -> pb::RunOutcome {
    match from {
        RunOutcome::Open => pb::RunOutcome::Open,
        RunOutcome::Succeeded => pb::RunOutcome::Succeeded,
        RunOutcome::Failed => pb::RunOutcome::Failed,
        RunOutcome::Cancelled => pb::RunOutcome::Cancelled,
    }
}

fn run_policy(from: RunPolicy) -> pb::RunPolicy {
    pb::RunPolicy {
        policy: from.policy.to_string(),
        version: from.version,
        digest: from.digest.into(),
        activation_revision: from.activation_revision,
    }
}

/// Returns a run.
#[must_use]
pub fn run(from: Run) -> pb::Run {
    let outcome = run_outcome(from.outcome());
    let (message, complete_time) = from.end.map(|end| (end.message, time::timestamp(end.complete_time))).unzip();
    pb::Run {
        name: from.id.name(&from.namespace),
        cursor: Some(from.cursor.into()),
        create_time: Some(time::timestamp(from.create_time)),
        recorder: from.recorder,
        policies: from.policies.into_iter().map(run_policy).collect(),
        policy_count: i32::try_from(from.policy_count).unwrap_or(i32::MAX),
        whole_set: from.is_whole_set,
        outcome: outcome.into(),
        message: message.unwrap_or_default(),
        complete_time,
    }
}

/// Returns the counts of an answer of ListRuns, without its runs; none when they are omitted.
#[must_use]
pub fn run_counts(counts: Option<&[RunCount]>) -> pb::ListRunsResponse {
    let counts_omitted = counts.is_none();
    let counts = counts.unwrap_or_default().iter().map(run_count).collect();
    pb::ListRunsResponse { counts, counts_omitted, ..Default::default() }
}

/// Returns how many runs under a version ended in one way.
fn run_count(from: &RunCount) -> pb::RunCount {
    pb::RunCount { version: from.version, outcome: run_outcome(from.outcome).into(), count: from.runs }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::domain::digest::Digest;
    use crate::domain::event::Cursor;
    use crate::domain::limits::{
        ID_MAX_CHARS, MESSAGE_MAX_BYTES, RUN_ID_MAX_CHARS, RUN_MESSAGE_MAX_CHARS, RUN_POLICIES_MAX,
    };
    use crate::domain::name::{NamespaceId, PolicyId};
    use crate::domain::run::{RunEnd, RunId};
    use crate::domain::time::Micros;

    /// The bound of the policies of a run is what an answer holds: this is the largest run there can be.
    #[test]
    fn the_largest_run_fits_into_an_answer() {
        let id = |number: usize| format!("a{number:0>width$}", width = ID_MAX_CHARS - 1);
        let policies = (0..RUN_POLICIES_MAX).map(|number| RunPolicy {
            policy: PolicyId::parse("policy", &id(number)).expect("an id"),
            version: i64::MAX,
            digest: Digest::from_sha256(&[7; 32]),
            activation_revision: i64::MAX,
        });
        let largest = Run {
            namespace: NamespaceId::parse("namespace", &id(0)).expect("an id"),
            id: RunId::parse("run_id", &"r".repeat(RUN_ID_MAX_CHARS)).expect("an id"),
            policies: policies.collect(),
            policy_count: RUN_POLICIES_MAX,
            is_whole_set: true,
            cursor: Cursor { epoch: i64::MAX, revision: i64::MAX },
            recorder: "r".repeat(8 * 1024),
            create_time: Micros(i64::MAX / 2),
            end: Some(RunEnd {
                outcome: RunOutcome::Cancelled,
                message: "𝄞".repeat(RUN_MESSAGE_MAX_CHARS),
                complete_time: Micros(i64::MAX / 2),
            }),
        };
        let answer = pb::GetRunResponse { run: Some(run(largest)) };
        assert!(answer.encoded_len() < MESSAGE_MAX_BYTES, "{}", answer.encoded_len());
    }
}
