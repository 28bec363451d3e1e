//! `policyhub run`

use std::fmt::Write as _;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};

use crate::cli::names::{PolicyOrVersionTarget, VersionTarget, parse_cursor, policy_id, short};
use crate::cli::narrowed::Narrowed;
use crate::cli::output::text;
use crate::cli::pages;
use crate::cli::session::Session;
use crate::client::name::PolicyId;
use crate::client::{Conditions, Cursor, pb};

/// What can be done with runs.
#[derive(Debug, Subcommand)]
pub enum RunsCommands {
    Record(Record),
    Complete(Complete),
    Get(Get),
    List(RunListArguments),
}

/// Record the versions that a unit of work starts with
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  policyhub run record nightly-2026-01-02\n  \
                  policyhub run record nightly-2026-01-02 pricing limits --at 1:42")]
pub struct Record {
    /// Id of the run, unique in the namespace
    run_id: String,
    /// Ids of the policies it runs under [default: the whole active set]
    #[arg(value_name = "POLICY", value_parser = policy_id)]
    policies: Vec<PolicyId>,
    /// The cursor that the runtime holds [default: the head of the log]
    #[arg(long, value_name = "EPOCH:REVISION", value_parser = parse_cursor)]
    at: Option<Cursor>,
}

/// Say how a run ended: only who recorded it may
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub run complete nightly-2026-01-02 failed --message 'out of disk space'")]
pub struct Complete {
    /// Id of the run
    run_id: String,
    /// How it ended
    outcome: EndedRun,
    /// What is to be said of it
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    message: String,
}

/// A recorded run, with all of its policies
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub run get nightly-2026-01-02")]
pub struct Get {
    /// Id of the run
    run_id: String,
}

/// Runs, newest first; of a policy also how many there are of each version and outcome
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  policyhub run list pricing@5\n  \
                  policyhub run list --outcome failed --since 2026-01-02T03:04:05Z")]
pub struct RunListArguments {
    /// Only runs under this policy, or this version of it
    #[arg(value_name = "POLICY[@VERSION]")]
    about: Option<PolicyOrVersionTarget>,
    /// Only runs that ended so, or that are open
    #[arg(long)]
    outcome: Option<Outcome>,
    /// Only runs recorded at or after this time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = text::parse_time)]
    since: Option<prost_types::Timestamp>,
    /// Only runs recorded before this time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = text::parse_time)]
    until: Option<prost_types::Timestamp>,
    /// Runs at most
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    narrowed: Narrowed,
}

/// How a run ends.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum EndedRun {
    Succeeded,
    Failed,
    Cancelled,
}

/// How a run ended, or that it did not.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Outcome {
    Open,
    Succeeded,
    Failed,
    Cancelled,
}

impl From<EndedRun> for pb::RunOutcome {
    fn from(ended: EndedRun) -> Self {
        match ended {
            EndedRun::Succeeded => Self::Succeeded,
            EndedRun::Failed => Self::Failed,
            EndedRun::Cancelled => Self::Cancelled,
        }
    }
}

impl From<Outcome> for pb::RunOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Open => Self::Open,
            Outcome::Succeeded => Self::Succeeded,
            Outcome::Failed => Self::Failed,
            Outcome::Cancelled => Self::Cancelled,
        }
    }
}

/// Runs the command.
pub async fn run(session: &Session, command: RunsCommands) -> anyhow::Result<()> {
    match command {
        RunsCommands::Record(arguments) => record(session, arguments).await,
        RunsCommands::Complete(arguments) => complete(session, arguments).await,
        RunsCommands::Get(arguments) => get(session, arguments).await,
        RunsCommands::List(arguments) => list(session, arguments).await,
    }
}

async fn record(session: &Session, arguments: Record) -> anyhow::Result<()> {
    // The id of the run is its idempotency key; that of the request lets the client retry.
    let request_id = uuid::Uuid::now_v7().to_string();
    let request = pb::RecordRunRequest {
        parent: session.namespace.name(),
        policies: arguments.policies.iter().map(ToString::to_string).collect(),
        run_id: arguments.run_id.clone(),
        cursor: arguments.at.map(pb::Cursor::from),
        request_id: request_id.clone(),
    };
    let response = session.client.record_run(request).await;
    let response = response.with_context(|| format!("failed to record run {}", arguments.run_id))?;
    session.output.print_mutation(&response, &request_id, |response| shown(response.run.as_ref()))
}

async fn complete(session: &Session, arguments: Complete) -> anyhow::Result<()> {
    let request_id = uuid::Uuid::now_v7().to_string();
    let request = pb::CompleteRunRequest {
        name: run_name(session, &arguments.run_id),
        outcome: pb::RunOutcome::from(arguments.outcome).into(),
        message: arguments.message,
        request_id: request_id.clone(),
    };
    let response = session.client.complete_run(request).await;
    let response = response.with_context(|| format!("failed to complete run {}", arguments.run_id))?;
    session.output.print_mutation(&response, &request_id, |response| shown(response.run.as_ref()))
}

async fn get(session: &Session, arguments: Get) -> anyhow::Result<()> {
    let request = pb::GetRunRequest { name: run_name(session, &arguments.run_id) };
    let response = session.client.get_run(request).await;
    let response = response.with_context(|| format!("failed to get run {}", arguments.run_id))?;
    session.output.print(&response, |response| shown(response.run.as_ref()))
}

async fn list(session: &Session, arguments: RunListArguments) -> anyhow::Result<()> {
    let version = match &arguments.about {
        Some(PolicyOrVersionTarget { policy, version: Some(version) }) => {
            let target = VersionTarget { policy: policy.clone(), version: version.clone() };
            target.number(&session.client, &session.namespace).await?
        }
        _ => 0,
    };
    let filter = filter(&arguments, version);
    let request = pb::ListRunsRequest { parent: session.namespace.name(), filter, ..Default::default() };
    let mut first = None;
    let read = pages::collect(arguments.limit, async |page_token, page_size| {
        let page = session.client.list_runs(pb::ListRunsRequest { page_token, page_size, ..request.clone() }).await?;
        // The counts are of all pages, and come with the first one.
        first.get_or_insert((page.counts, page.counts_omitted));
        Ok((page.runs, page.next_page_token))
    });
    let (runs, next_page_token) = read.await.context("failed to list runs")?;
    let (counts, counts_omitted) = first.unwrap_or_default();
    let response = pb::ListRunsResponse { runs, next_page_token, counts, counts_omitted };
    session.output.print(&response, listed)?;
    pages::say_if_cut(session.output, response.runs.len(), &response.next_page_token, pages::HIGHER_LIMIT);
    Ok(())
}

/// Returns the flags as one filter; version 0 is any.
fn filter(arguments: &RunListArguments, version: i64) -> String {
    let mut conditions = Conditions::default();
    if let Some(about) = &arguments.about {
        conditions.add_text("policy", "=", about.policy.as_str());
    }
    if version > 0 {
        conditions.add("version", "=", version);
    }
    conditions.add_one_of("outcome", arguments.outcome.map(|outcome| pb::RunOutcome::from(outcome).as_str_name()));
    if let Some(since) = arguments.since {
        conditions.add_text("create_time", ">=", &since.to_string());
    }
    if let Some(until) = arguments.until {
        conditions.add_text("create_time", "<", &until.to_string());
    }
    conditions.add_filter(&arguments.narrowed.filter);
    conditions.to_string()
}

fn outcome(outcome: i32) -> &'static str {
    pb::RunOutcome::try_from(outcome).map_or("UNKNOWN", |outcome| text::word(outcome.as_str_name(), "RUN_OUTCOME_"))
}

fn run_name(session: &Session, id: &str) -> String {
    format!("{}/runs/{id}", session.namespace.name())
}

/// Returns a run on one line, and one more line for each of its policies in the response.
fn shown(run: Option<&pb::Run>) -> String {
    let run = run.cloned().unwrap_or_default();
    let mut first = format!(
        "{} {} at {}, {}recorded by {} at {}",
        text::line(short(&run.name)),
        outcome(run.outcome),
        text::cursor(run.cursor.as_ref()),
        if run.whole_set { "the whole active set, " } else { "" },
        run.recorder,
        text::time(run.create_time.as_ref())
    );
    if run.complete_time.is_some() {
        let _ = write!(first, ", completed at {}", text::time(run.complete_time.as_ref()));
    }
    if !run.message.is_empty() {
        let _ = write!(first, ": {}", run.message);
    }
    let mut text = text::line(&first) + "\n";
    for each in &run.policies {
        let digest = text::digest(&each.digest);
        let line = format!("{}@{} {digest} in force since {}", each.policy, each.version, each.activation_revision);
        let _ = writeln!(text, "  {}", text::line(&line));
    }
    let left = left(&run);
    if left > 0 {
        let _ = writeln!(text, "  and {left} more");
    }
    text
}

/// Returns how many policies of a run are not in the response.
fn left(run: &pb::Run) -> usize {
    usize::try_from(run.policy_count).unwrap_or_default().saturating_sub(run.policies.len())
}

fn listed(response: &pb::ListRunsResponse) -> String {
    let rows: Vec<Vec<String>> = response.runs.iter().map(row).collect();
    let mut text = text::table(&["RUN", "OUTCOME", "RECORDED", "AT", "POLICY", "WHO", "MESSAGE"], &rows);
    if !response.counts.is_empty() {
        let row = |count: &pb::RunCount| {
            vec![count.version.to_string(), outcome(count.outcome).to_owned(), count.count.to_string()]
        };
        let counts: Vec<Vec<String>> = response.counts.iter().map(row).collect();
        let _ = write!(text, "\n{}", text::table(&["VERSION", "OUTCOME", "RUNS"], &counts));
    }
    if response.counts_omitted {
        text.push_str("\nnot counted: too many runs, or --filter has what no index counts; name a version, an outcome or a time\n");
    }
    text
}

fn row(run: &pb::Run) -> Vec<String> {
    let mut policy =
        run.policies.first().map(|first| format!("{}@{}", first.policy, first.version)).unwrap_or_default();
    if left(run) > 0 {
        let _ = write!(policy, " +{}", left(run));
    }
    vec![
        text::line(short(&run.name)),
        outcome(run.outcome).to_owned(),
        text::time(run.create_time.as_ref()),
        text::cursor(run.cursor.as_ref()),
        text::line(&policy),
        text::line(&run.recorder),
        text::line(&run.message),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(policies: &[&str]) -> pb::Run {
        let policy = |id: &&str| pb::RunPolicy {
            policy: (*id).to_owned(),
            version: 3,
            digest: format!("sha256:{}", "a".repeat(64)),
            activation_revision: 40,
        };
        pb::Run {
            name: "namespaces/default/runs/job-7".to_owned(),
            cursor: Some(pb::Cursor { epoch: 1, revision: 42, ..Default::default() }),
            create_time: Some(prost_types::Timestamp::default()),
            recorder: "local:ci".to_owned(),
            policies: policies.iter().map(policy).collect(),
            policy_count: i32::try_from(policies.len()).expect("few"),
            outcome: pb::RunOutcome::Open.into(),
            ..Default::default()
        }
    }

    #[test]
    fn a_run_is_shown_with_its_policies() {
        let expected = "job-7 OPEN at 1:42, recorded by local:ci at 1970-01-01T00:00:00Z\n  \
                        limits@3 sha256:aaaaaaaaaaaa in force since 40\n  \
                        pricing@3 sha256:aaaaaaaaaaaa in force since 40\n";
        assert_eq!(shown(Some(&of(&["limits", "pricing"]))), expected);
        let completed = pb::Run {
            policy_count: 3,
            whole_set: true,
            outcome: pb::RunOutcome::Failed.into(),
            message: "no\nspace".to_owned(),
            complete_time: Some(prost_types::Timestamp { seconds: 60, nanos: 0 }),
            ..of(&["limits"])
        };
        let expected = "job-7 FAILED at 1:42, the whole active set, recorded by local:ci at 1970-01-01T00:00:00Z, \
                        completed at 1970-01-01T00:01:00Z: no space\n  \
                        limits@3 sha256:aaaaaaaaaaaa in force since 40\n  and 2 more\n";
        assert_eq!(shown(Some(&completed)), expected);
    }

    #[test]
    fn a_list_has_its_counts_below() {
        let count = pb::RunCount { version: 3, outcome: pb::RunOutcome::Open.into(), count: 7 };
        let more = pb::Run { policy_count: 4, ..of(&["pricing"]) };
        let response = pb::ListRunsResponse { runs: vec![more], counts: vec![count], ..Default::default() };
        assert_eq!(
            listed(&response).lines().collect::<Vec<_>>(),
            [
                "RUN    OUTCOME  RECORDED              AT    POLICY        WHO       MESSAGE",
                "job-7  OPEN     1970-01-01T00:00:00Z  1:42  pricing@3 +3  local:ci",
                "",
                "VERSION  OUTCOME  RUNS",
                "3        OPEN     7",
            ]
        );
        let omitted = pb::ListRunsResponse { counts_omitted: true, ..Default::default() };
        assert!(listed(&omitted).contains("\nnot counted: too many runs, or --filter has what no index counts;"));
    }
}
