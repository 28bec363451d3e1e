//! `policyhub run`

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::names::{place, policy_id, policy_name, policy_of, short};
use super::session::Session;
use super::text;
use crate::client::name::PolicyId;
use crate::client::{Cursor, pb};

/// What can be done with runs.
#[derive(Debug, Subcommand)]
pub enum Commands {
    Record(Record),
    Get(Get),
}

/// Record the version that a unit of work starts with
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub run record nightly-2026-01-02 pricing --at 1:42")]
pub struct Record {
    /// Id of the run, unique in the namespace
    run_id: String,
    /// Id of the policy
    #[arg(value_parser = policy_id)]
    policy: PolicyId,
    /// The place that the runtime holds [default: the head of the log]
    #[arg(long, value_name = "EPOCH:REVISION", value_parser = place)]
    at: Option<Cursor>,
}

/// A recorded run
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub run get nightly-2026-01-02")]
pub struct Get {
    /// Id of the run
    run_id: String,
}

/// Runs it.
pub async fn run(session: &Session, command: Commands) -> anyhow::Result<()> {
    match command {
        Commands::Record(arguments) => record(session, arguments).await,
        Commands::Get(arguments) => get(session, arguments).await,
    }
}

async fn record(session: &Session, arguments: Record) -> anyhow::Result<()> {
    // The id of the run is its idempotency key; the one of the request lets the client try again.
    let request_id = uuid::Uuid::now_v7().to_string();
    let request = pb::RecordRunRequest {
        policy: policy_name(&session.namespace, &arguments.policy),
        run_id: arguments.run_id.clone(),
        cursor: arguments.at.map(|at| pb::Cursor { epoch: at.epoch, revision: at.revision, ..Default::default() }),
        request_id: request_id.clone(),
    };
    let response = session.client.record_run(request).await;
    let response = response.with_context(|| format!("failed to record run {}", arguments.run_id))?;
    session.output.print_mutation(&response, &request_id, |response| line(response.run.as_ref()))
}

async fn get(session: &Session, arguments: Get) -> anyhow::Result<()> {
    let request = pb::GetRunRequest { parent: session.namespace.name(), run_id: arguments.run_id.clone() };
    let response = session.client.get_run(request).await;
    let response = response.with_context(|| format!("failed to get run {}", arguments.run_id))?;
    session.output.print(&response, |response| line(response.run.as_ref()))
}

fn line(run: Option<&pb::Run>) -> String {
    let run = run.cloned().unwrap_or_default();
    let shown = format!(
        "{} {}@{} {} at {}, in force since {}, recorded by {} at {}",
        run.run_id,
        policy_of(&run.version),
        short(&run.version),
        text::digest(&run.digest),
        text::place(run.cursor.as_ref()),
        run.active_revision,
        run.recorder,
        text::time(run.create_time.as_ref())
    );
    text::line(&shown) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_one_line() {
        let run = pb::Run {
            run_id: "job-7".to_owned(),
            version: "namespaces/default/policies/pricing/versions/3".to_owned(),
            digest: format!("sha256:{}", "a".repeat(64)),
            cursor: Some(pb::Cursor { epoch: 1, revision: 42, ..Default::default() }),
            create_time: Some(prost_types::Timestamp::default()),
            active_revision: 40,
            recorder: "local:ci".to_owned(),
        };
        let expected = "job-7 pricing@3 sha256:aaaaaaaaaaaa at 1:42, in force since 40, recorded by local:ci at \
                        1970-01-01T00:00:00Z\n";
        assert_eq!(line(Some(&run)), expected);
    }
}
