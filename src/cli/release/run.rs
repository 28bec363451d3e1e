//! The way of a release through its parts, top to bottom: look at git and `.state`, deliver, and tell.
//!
//! Boundary: what needs a server is `pipeline`. The baseline moves here, last, and only when nothing is left.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;

use super::activation::highest_pending;
use super::arguments::Arguments;
use super::baseline::Baseline;
use super::git::{Commit, Git};
use super::outcome::{Report, Status, Told};
use super::pipeline::Pipeline;
use super::plan::{Candidate, Changes, plan};
use super::state::{self, Delivered, State};
use super::{markdown, summary};
use crate::cli::args::Global;
use crate::cli::failure::Partial;
use crate::cli::output::{Format, print_json, write_stdout};
use crate::cli::session::Session;
use crate::cli::text;

/// Runs it.
pub async fn run(global: &Global, arguments: Arguments) -> anyhow::Result<()> {
    let git = Git::open(&arguments.repository)?;
    let commit = git.head()?;
    let state = State::of(&git, &global.namespace)?;
    let delivered = state.delivered()?;
    let baseline = Baseline::find(&git, &state, &commit)?;
    let changes = baseline.changes(&git, &commit)?;
    let plan = plan(&changes, &git.tree(&commit)?, &delivered);
    let mut report = Report {
        namespace: global.namespace.clone(),
        dry_run: arguments.dry_run,
        moved: false,
        delivered_before: plan.delivered_before,
        told: plan.refused.iter().map(|(name, why)| Told::failed(name, why)).collect(),
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
    let lanes: Vec<Vec<Candidate>> = plan.lanes.into_values().collect();
    let waits = !highest_pending(&delivered).is_empty();
    if waits && !arguments.activate {
        report.notes.push("some published versions wait for a release with --activate".to_owned());
    }
    if !lanes.is_empty() || (waits && arguments.activate) {
        deliver(global, &arguments, (&git, &state), (lanes, delivered), &mut report).await;
    }
    report.told.sort_by(|one, other| one.name.cmp(&other.name));
    let has_changes = changes != Changes::Of(Vec::new());
    finish(&arguments, (&git, &state), has_changes, &mut report);
    tell(global.output, arguments.summary.as_deref(), &report)
}

/// What needs a server. Without one, everything is kept for the next release.
async fn deliver(
    global: &Global,
    arguments: &Arguments,
    (git, state): (&Git, &State),
    (lanes, delivered): (Vec<Vec<Candidate>>, Delivered),
    report: &mut Report,
) {
    match Session::open(global).await {
        Ok(session) => Pipeline { arguments, git, state, session: &session, delivered, report }.run(lanes).await,
        Err(error) => {
            report.problems.push(text::line(&format!("{error:#}")));
            let left = lanes.iter().flatten();
            report
                .told
                .extend(left.map(|candidate| Told::held(&candidate.key, "there is no connection to the server")));
        }
    }
}

/// Moves the baseline when nothing is left, and commits `.state` when that is asked for.
fn finish(arguments: &Arguments, (git, state): (&Git, &State), has_changes: bool, report: &mut Report) {
    if arguments.dry_run {
        return;
    }
    // Where nothing changed it stays: else each release of nothing would be a commit, and that a release again.
    if report.status() == Status::Success && has_changes {
        match state.move_baseline(git, &report.commit) {
            Ok(()) => report.moved = true,
            Err(error) => report.problems.push(format!("{error:#}")),
        }
    }
    if arguments.commit
        && let Err(error) = commit(git, &report.commit)
    {
        report.problems.push(format!("failed to commit .state, which is as it should be: {error:#}"));
    }
}

fn commit(git: &Git, released: &Commit) -> anyhow::Result<()> {
    let there: Vec<&str> = state::FILES.into_iter().filter(|name| git.root().join(name).exists()).collect();
    if !there.is_empty() {
        git.commit(&there, &format!("Record the release of {}", released.short()))?;
    }
    Ok(())
}

fn tell(format: Format, file: Option<&Path>, report: &Report) -> anyhow::Result<()> {
    match format {
        Format::Text => write_stdout(summary::text(report).as_bytes())?,
        Format::Json => print_json(&report.to_json())?,
    }
    if let Some(path) = file {
        let appended = OpenOptions::new().create(true).append(true).open(path);
        let appended = appended.and_then(|mut file| file.write_all(markdown::section(report).as_bytes()));
        appended.with_context(|| format!("failed to write the summary to {}", path.display()))?;
    }
    match report.status() {
        Status::Success => Ok(()),
        Status::Partial => {
            Err(Partial("the release is partial: what is left is kept for the next one".to_owned()).into())
        }
        Status::Failed => Err(anyhow::anyhow!("the release failed: everything is kept for the next one")),
    }
}
