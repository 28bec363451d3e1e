//! `policyhub schedule`

use anyhow::Context as _;
use clap::{Args, Subcommand};

use crate::cli::arguments::MutationArguments;
use crate::cli::names::{VersionTarget, short};
use crate::cli::narrowed::Narrowed;
use crate::cli::output::text;
use crate::cli::pages;
use crate::cli::schedule_entry::{EntryArgument, written};
use crate::cli::session::Session;
use crate::client::now_seconds;
use crate::client::pb;
use crate::client::pb::activate_target::To;
use crate::client::pb::schedule_entry::When;

/// What to do with schedules.
#[derive(Debug, Subcommand)]
pub enum ScheduleCommands {
    Create(CreateArguments),
    List(ScheduleListArguments),
    Show(ScheduleShowArguments),
    Cancel(CancelArguments),
    Resume(ResumeArguments),
}

/// Activate published versions later, once or every week
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    policyhub schedule create launch pricing@3 limits@v1.0.0 --at 2026-12-01T00:00:00Z --reason 'new season'\n  \
    policyhub schedule create shop --time-zone Europe/Berlin --entry 'mon 00:00 pricing@3' \\\n    \
 --entry 'sat 00:00 pricing@4' --reason 'weekend prices'")]
pub struct CreateArguments {
    /// Id of the schedule
    id: String,
    /// What to activate at the time of --at: POLICY@N, POLICY@vLABEL, POLICY/vLABEL or POLICY@latest
    #[arg(value_name = "POLICY@VERSION", requires = "at")]
    targets: Vec<VersionTarget>,
    /// When to activate them, once
    #[arg(long, value_name = "TIME", value_parser = text::parse_time, requires = "targets", required_unless_present = "entry")]
    at: Option<prost_types::Timestamp>,
    /// 'DAYS HH:MM POLICY@VERSION...' for every week, or 'TIME POLICY@VERSION...' for once; may be given up to 8 times
    #[arg(long, value_name = "ENTRY", conflicts_with = "at")]
    entry: Vec<EntryArgument>,
    /// IANA time zone of the weekly entries
    #[arg(long, value_name = "ZONE", default_value = "", hide_default_value = true)]
    time_zone: String,
    /// Why
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    mutation: MutationArguments,
}

/// The schedules of a namespace
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  policyhub schedule list\n  policyhub schedule list --filter 'state = SUSPENDED'")]
pub struct ScheduleListArguments {
    /// Schedules at most
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    limit: usize,
    #[command(flatten)]
    narrowed: Narrowed,
}

/// A schedule, with its entries
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub schedule show shop --output json")]
pub struct ScheduleShowArguments {
    /// Id of the schedule
    id: String,
}

/// End a schedule
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub schedule cancel shop --reason 'the season is over'")]
pub struct CancelArguments {
    #[command(flatten)]
    change: ScheduleChange,
}

/// Let a suspended schedule run again; what it missed last runs at once
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub schedule resume shop --reason 'the rollback was on purpose'")]
pub struct ResumeArguments {
    #[command(flatten)]
    change: ScheduleChange,
}

/// The arguments of a change.
#[derive(Debug, Args)]
struct ScheduleChange {
    /// Id of the schedule
    id: String,
    /// Why
    #[arg(long)]
    reason: String,
    /// Fail unless the schedule has this etag, as `schedule show` tells it
    #[arg(long, value_name = "ETAG", default_value = "", hide_default_value = true)]
    etag: String,
    #[command(flatten)]
    mutation: MutationArguments,
}

/// Runs the command.
pub async fn run(session: &Session, command: ScheduleCommands) -> anyhow::Result<()> {
    match command {
        ScheduleCommands::Create(arguments) => create(session, arguments).await,
        ScheduleCommands::List(arguments) => list(session, &arguments).await,
        ScheduleCommands::Show(arguments) => show(session, &arguments).await,
        ScheduleCommands::Cancel(CancelArguments { change }) => cancel(session, change).await,
        ScheduleCommands::Resume(ResumeArguments { change }) => resume(session, change).await,
    }
}

fn name(session: &Session, id: &str) -> String {
    format!("{}/schedules/{id}", session.namespace.name())
}

async fn create(session: &Session, arguments: CreateArguments) -> anyhow::Result<()> {
    let mut given = arguments.entry;
    given.extend(arguments.at.map(|time| EntryArgument { when: When::Time(time), targets: arguments.targets }));
    let mut entries = Vec::with_capacity(given.len());
    for EntryArgument { when, targets } in given {
        let mut resolved = Vec::with_capacity(targets.len());
        for target in &targets {
            let to = match target.destination(&session.client, &session.namespace).await? {
                To::Label(label) => pb::scheduled_target::To::Label(label),
                To::Version(number) => pb::scheduled_target::To::Version(number),
                To::None(()) => anyhow::bail!("{target} names no version"),
            };
            resolved.push(pb::ScheduledTarget { policy: target.policy.to_string(), to: Some(to) });
        }
        entries.push(pb::ScheduleEntry { targets: resolved, when: Some(when) });
    }
    let request_id = arguments.mutation.request_id();
    let validate_only = arguments.mutation.validate_only;
    let request = pb::CreateScheduleRequest {
        parent: session.namespace.name(),
        schedule_id: arguments.id,
        schedule: Some(pb::Schedule { entries, time_zone: arguments.time_zone, ..Default::default() }),
        reason: arguments.reason,
        request_id: request_id.clone(),
        validate_only,
    };
    let response = session.client.create_schedule(request).await.context("failed to make the schedule")?;
    session.output.print_mutation(&response, &request_id, |response| {
        let done = if validate_only { "would be made" } else { "made" };
        changed(response.schedule.as_ref(), done, response.cursor)
    })
}

async fn list(session: &Session, arguments: &ScheduleListArguments) -> anyhow::Result<()> {
    let parent = session.namespace.name();
    let read = pages::collect(arguments.limit, async |page_token, page_size| {
        let (parent, filter) = (parent.clone(), arguments.narrowed.filter.clone());
        let request = pb::ListSchedulesRequest { parent, page_size, page_token, filter, ..Default::default() };
        let page = session.client.list_schedules(request).await?;
        Ok((page.schedules, page.next_page_token))
    });
    let (schedules, next_page_token) = read.await.context("failed to list the schedules")?;
    let response = pb::ListSchedulesResponse { schedules, next_page_token };
    session.output.print(&response, |response| {
        let rows: Vec<Vec<String>> = response.schedules.iter().map(row).collect();
        text::table(&["SCHEDULE", "STATE", "NEXT", "LAST", "BY", "PROBLEM"], &rows)
    })?;
    pages::say_if_cut(session.output, response.schedules.len(), &response.next_page_token, pages::HIGHER_LIMIT);
    Ok(())
}

fn row(schedule: &pb::Schedule) -> Vec<String> {
    vec![
        text::line(short(&schedule.name)),
        state(schedule).to_owned(),
        text::time(schedule.next_time.as_ref()),
        text::time(schedule.last_due_time.as_ref()),
        text::line(&schedule.creator),
        text::line(&schedule.problem),
    ]
}

fn state(schedule: &pb::Schedule) -> &'static str {
    text::word(schedule.state().as_str_name(), "SCHEDULE_STATE_")
}

async fn show(session: &Session, arguments: &ScheduleShowArguments) -> anyhow::Result<()> {
    let request = pb::GetScheduleRequest { name: name(session, &arguments.id) };
    let response = session.client.get_schedule(request).await;
    let response = response.with_context(|| format!("failed to read the schedule {}", arguments.id))?;
    session.output.print(&response, |response| response.schedule.as_ref().map(description).unwrap_or_default())
}

/// Returns a schedule as lines of text.
fn description(schedule: &pb::Schedule) -> String {
    let facts = [
        ("state", state(schedule).to_owned()),
        ("problem", text::line(&schedule.problem)),
        ("next", text::time(schedule.next_time.as_ref())),
        ("last", text::time(schedule.last_due_time.as_ref())),
        ("time zone", text::line(&schedule.time_zone)),
        ("by", text::line(&schedule.creator)),
        ("reason", text::line(&schedule.reason)),
        ("base", text::cursor(schedule.base.as_ref())),
        ("etag", text::line(&schedule.etag)),
    ];
    let entries = schedule.entries.iter().map(|entry| ("entry", written(entry)));
    let facts = facts.into_iter().chain(entries).filter(|(_, value)| !value.is_empty());
    let lines: String = facts.map(|(fact, value)| format!("  {fact:<10} {value}\n")).collect();
    format!("{}\n{lines}", text::line(short(&schedule.name)))
}

async fn cancel(session: &Session, change: ScheduleChange) -> anyhow::Result<()> {
    let request_id = change.mutation.request_id();
    let validate_only = change.mutation.validate_only;
    let request = pb::CancelScheduleRequest {
        name: name(session, &change.id),
        reason: change.reason,
        etag: change.etag,
        request_id: request_id.clone(),
        validate_only,
    };
    let response = session.client.cancel_schedule(request).await;
    let response = response.with_context(|| format!("failed to cancel the schedule {}", change.id))?;
    session.output.print_mutation(&response, &request_id, |response| {
        let done = if validate_only { "would be cancelled" } else { "cancelled" };
        changed(response.schedule.as_ref(), done, response.cursor)
    })
}

async fn resume(session: &Session, change: ScheduleChange) -> anyhow::Result<()> {
    let request_id = change.mutation.request_id();
    let validate_only = change.mutation.validate_only;
    let request = pb::ResumeScheduleRequest {
        name: name(session, &change.id),
        reason: change.reason,
        etag: change.etag,
        request_id: request_id.clone(),
        validate_only,
    };
    let response = session.client.resume_schedule(request).await;
    let response = response.with_context(|| format!("failed to resume the schedule {}", change.id))?;
    session.output.print_mutation(&response, &request_id, |response| {
        let done = if validate_only { "would be resumed" } else { "resumed" };
        let entries = response.schedule.iter().flat_map(|schedule| &schedule.entries);
        let entries: String = entries.map(|entry| format!("  {}\n", written(entry))).collect();
        changed(response.schedule.as_ref(), done, response.cursor) + &missed(response.schedule.as_ref()) + &entries
    })
}

/// Returns a line that says that a schedule which stood still runs at once, if its time has passed by this machine's clock.
fn missed(schedule: Option<&pb::Schedule>) -> String {
    let next = schedule.and_then(|schedule| schedule.next_time.as_ref()).filter(|time| time.seconds <= now_seconds());
    next.map(|time| format!("  it runs at once: it missed {}\n", text::time(Some(time)))).unwrap_or_default()
}

/// Returns what was done to a schedule, and when it runs next, as a line.
fn changed(schedule: Option<&pb::Schedule>, done: &str, cursor: Option<pb::Cursor>) -> String {
    let name = schedule.map(|schedule| text::line(short(&schedule.name))).unwrap_or_default();
    let next = schedule.and_then(|schedule| schedule.next_time.as_ref());
    let next = next.map(|time| format!(", next at {}", text::time(Some(time)))).unwrap_or_default();
    let at = text::at_revision(cursor);
    if cursor.is_some() { format!("{name} {done}{at}{next}\n") } else { format!("{name} {done}{next}{at}\n") }
}
