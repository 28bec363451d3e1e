//! Calls with which a runtime records, completes and finds runs.

use policyhub::client::{Client, ClientError, pb};

use super::calls::NAMESPACE;

/// Returns the name of a run.
pub fn run_name(namespace: &str, id: &str) -> String {
    format!("{namespace}/runs/{id}")
}

/// Returns a request to record a run under some policies; none means the whole active set.
pub fn run_request(run_id: &str, policies: &[&str], cursor: Option<pb::Cursor>) -> pb::RecordRunRequest {
    pb::RecordRunRequest {
        parent: NAMESPACE.to_owned(),
        policies: policies.iter().map(|id| (*id).to_owned()).collect(),
        run_id: run_id.to_owned(),
        cursor,
        ..Default::default()
    }
}

pub async fn record(client: &Client, request: pb::RecordRunRequest) -> Result<pb::Run, ClientError> {
    client.record_run(request).await.map(|answer| answer.run.expect("a run"))
}

pub async fn get_run(client: &Client, run_id: &str) -> Result<pb::Run, ClientError> {
    let request = pb::GetRunRequest { name: run_name(NAMESPACE, run_id) };
    client.get_run(request).await.map(|answer| answer.run.expect("a run"))
}

pub fn end_request(run_id: &str, outcome: pb::RunOutcome, message: &str) -> pb::CompleteRunRequest {
    pb::CompleteRunRequest {
        name: run_name(NAMESPACE, run_id),
        outcome: outcome.into(),
        message: message.to_owned(),
        ..Default::default()
    }
}

pub async fn complete(client: &Client, request: pb::CompleteRunRequest) -> Result<pb::Run, ClientError> {
    client.complete_run(request).await.map(|answer| answer.run.expect("a run"))
}

/// Returns the policies of a run, each with its version: `p@1 q@2`.
pub fn under(run: &pb::Run) -> String {
    let each = run.policies.iter().map(|each| format!("{}@{}", each.policy, each.version));
    each.collect::<Vec<_>>().join(" ")
}
