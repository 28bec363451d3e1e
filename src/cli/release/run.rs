//! Runs a release, top to bottom: read git and `.state`, deliver, and report.
//!
//! Boundary: what needs a server is in `pipeline`. The baseline is moved here, last, and only when nothing is left to deliver.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, ensure};

use crate::cli::exit_code::{CommandReason, PartialError};
use crate::cli::global::Global;
use crate::cli::output::document::{Format, print_text, say};
use crate::cli::output::text;
use crate::cli::release::activation::highest_pending;
use crate::cli::release::arguments::ReleaseArguments;
use crate::cli::release::baseline::{Baseline, ChangedPaths};
use crate::cli::release::delivered_file::{Delivered, DeliveredFile};
use crate::cli::release::git::{Commit, Git, POLICIES};
use crate::cli::release::outcome::{FolderResult, ReleaseReport, ReleaseStatus};
use crate::cli::release::pipeline::Pipeline;
use crate::cli::release::plan::{Plan, PlannedVersion, plan};
use crate::cli::release::state::ReleaseState;
use crate::cli::release::{github, keep, markdown, summary};
use crate::cli::session::Session;
use crate::cli::typed_commands::TypedCommands;
use crate::client::name::NamespaceId;

/// Runs the command.
pub async fn run(global: &Global, arguments: ReleaseArguments) -> anyhow::Result<()> {
    let git = Git::open(&arguments.repository, &arguments.path)?;
    let commit = git.head()?;
    let namespace = global.namespace()?;
    let state = ReleaseState::of(&git, &namespace)?;
    let (delivered, migrated) = delivered(&state, arguments.dry_run)?;
    let baseline = match &migrated {
        Some(_) => Baseline { from: None, why: Some("delivered.json had the form of another tool".to_owned()) },
        None => Baseline::find(&git, &state, &commit)?,
    };
    let changes = baseline.changes(&git, &commit)?;
    let tree = git.tree(&commit)?;
    ensure!(git.top() == POLICIES || !tree.is_empty(), "{} has no folder {:?}", commit.short(), git.top());
    let plan = plan(git.top(), &changes, &tree, &delivered);
    let (mut report, queues) = begin(namespace, &arguments, (commit, baseline), plan);
    report.notes.extend(migrated);
    let waits = !highest_pending(&delivered).is_empty();
    if waits && !arguments.activate {
        report.notes.push("some published versions wait for a release with --activate".to_owned());
    }
    if !queues.is_empty() || (waits && arguments.activate) {
        deliver(global, &arguments, (&git, &state), (queues, delivered), &mut report).await;
    }
    report.results.sort_by(|one, other| one.name.cmp(&other.name));
    report.fill_commands(&TypedCommands::after(global)?);
    let has_changes = changes != ChangedPaths::Of(Vec::new());
    finish(&arguments, (&git, &state), has_changes, &mut report);
    tell(global.output, &arguments, &report)
}

/// Returns what was delivered before, and a note when another tool wrote it and it is migrated.
fn delivered(state: &ReleaseState, dry_run: bool) -> anyhow::Result<(Delivered, Option<String>)> {
    let DeliveredFile { versions, foreign } = state.delivered()?;
    let Some(count) = foreign else { return Ok((versions, None)) };
    if !dry_run {
        state.migrate()?;
    }
    let done = if dry_run { "would be" } else { "was" };
    let note = format!(
        "delivered.json had the form of another tool, and named {count} deliveries: it {done} migrated; the server is asked for each \
         version, since those were made to another one"
    );
    Ok((versions, Some(note)))
}

/// Returns the report before anything is delivered, and what is to be delivered.
fn begin(
    namespace: NamespaceId,
    arguments: &ReleaseArguments,
    (commit, baseline): (Commit, Baseline),
    plan: Plan,
) -> (ReleaseReport, Vec<Vec<PlannedVersion>>) {
    let mut report = ReleaseReport {
        namespace,
        dry_run: arguments.dry_run,
        moved: false,
        delivered_before: plan.delivered_before,
        results: plan.refusals(),
        checked: Vec::new(),
        activated: None,
        problems: Vec::new(),
        warnings: plan.warnings,
        notes: plan.notes,
        commit,
        baseline,
    };
    if let Some(why) = &report.baseline.why {
        report.notes.insert(0, format!("every version folder counts as changed: {why}"));
    }
    (report, plan.queues.into_values().collect())
}

/// Runs the part that needs a server. When the server is unreachable, everything is left to the next release.
async fn deliver(
    global: &Global,
    arguments: &ReleaseArguments,
    (git, state): (&Git, &ReleaseState),
    (queues, delivered): (Vec<Vec<PlannedVersion>>, Delivered),
    report: &mut ReleaseReport,
) {
    match Session::open(global).await {
        Ok(session) => {
            Pipeline { arguments, git, state, global, session: &session, delivered, report }.run(queues).await
        }
        Err(error) => {
            report.problems.push(text::line(&format!("{error:#}")));
            let left = queues.iter().flatten();
            report
                .results
                .extend(left.map(|planned| FolderResult::held(&planned.key, "there is no connection to the server")));
        }
    }
}

/// Moves the baseline when nothing is left, and commits `.state` to git when that is asked for.
fn finish(
    arguments: &ReleaseArguments,
    (git, state): (&Git, &ReleaseState),
    has_changes: bool,
    report: &mut ReleaseReport,
) {
    if arguments.dry_run {
        return;
    }
    // Without changes the baseline stays: otherwise each release of nothing would make a commit, which is then released again.
    if report.status() == ReleaseStatus::Success && has_changes {
        match state.move_baseline(git, &report.commit) {
            Ok(()) => report.moved = true,
            Err(error) => report.problems.push(text::line(&format!("{error:#}"))),
        }
    }
    if let Err(error) = keep::keep(arguments, git, state, report) {
        report.problems.push(text::line(&format!("{error:#}")));
    }
}

fn tell(format: Format, arguments: &ReleaseArguments, report: &ReleaseReport) -> anyhow::Result<()> {
    match format {
        Format::Text => print_text(&summary::text(report, arguments.annotate))?,
        Format::Json | Format::Yaml | Format::Sarif => {
            format.print_document(&report.to_json()?)?;
            // stdout carries the document; GitHub reads both streams.
            let failed = report.results.iter().filter(|result| arguments.annotate && result.is_left());
            failed.for_each(|result| say(&github::annotation(result)));
        }
    }
    append(arguments.summary.as_deref(), &markdown::section(report))?;
    append(arguments.outputs.as_deref(), &github::outputs(report))?;
    match report.status() {
        ReleaseStatus::Success => Ok(()),
        ReleaseStatus::Partial => {
            Err(PartialError("the release is partial: what is left is kept for the next one".to_owned()).into())
        }
        ReleaseStatus::Failed => {
            Err(CommandReason::NotDelivered.error("the release failed: everything is kept for the next one"))
        }
    }
}

fn append(file: Option<&Path>, text: &str) -> anyhow::Result<()> {
    let Some(path) = file else { return Ok(()) };
    let appended = OpenOptions::new().create(true).append(true).open(path);
    let appended = appended.and_then(|mut file| file.write_all(text.as_bytes()));
    appended.with_context(|| format!("failed to write to {}", path.display()))
}
