//! Writes a release as text for people: what was done, what is left and why, and where the next one begins.

use crate::cli::local_check;
use crate::cli::release::github;
use crate::cli::release::outcome::{FolderResult, ReleaseActivation, ReleaseReport, VersionOutcome};
use std::fmt::Write as _;

/// Most lines of one kind; `--output json` has all.
pub const NAMED_MAX: usize = 20;

/// Returns the whole text. With `annotate`, failures are written as GitHub workflow commands.
pub fn text(report: &ReleaseReport, annotate: bool) -> String {
    let mut text = format!(
        "release of {} into {}: {}{}\n",
        report.commit.short(),
        report.namespace,
        report.status().word(),
        if report.dry_run { " (dry run)" } else { "" }
    );
    let _ = writeln!(text, "{}", counted(report));
    for (what, lines) in [("problem", &report.problems), ("warning", &report.warnings), ("note", &report.notes)] {
        text.push_str(&listed(what, lines));
    }
    let as_line = if annotate { github::annotation } else { line };
    text.push_str(&left_lines(&report.results, as_line));
    let problems = report.checked.iter().filter(|one| one.has_problems()).take(NAMED_MAX);
    text.extend(problems.map(|one| local_check::text(&one.content, &one.report)));
    if let Some(activated) = &report.activated {
        let _ = writeln!(text, "{}", activation(activated));
    }
    let _ = writeln!(text, "{}", baseline(report));
    text
}

/// Returns one line for each, up to `NAMED_MAX`, and how many more there are.
pub fn listed(what: &str, lines: &[String]) -> String {
    let mut text: String = lines.iter().take(NAMED_MAX).map(|line| format!("{what}: {line}\n")).collect();
    if let Some(more) = lines.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
        let _ = writeln!(text, "and {more} more of this kind");
    }
    text
}

/// Returns what is left, failures first, up to `NAMED_MAX`; and how many more there are.
pub fn left(results: &[FolderResult]) -> (Vec<&FolderResult>, usize) {
    let mut left: Vec<&FolderResult> = results.iter().filter(|result| result.is_left()).collect();
    left.sort_by_key(|result| matches!(result.outcome, VersionOutcome::Held(_)));
    let more = left.len().saturating_sub(NAMED_MAX);
    left.truncate(NAMED_MAX);
    (left, more)
}

/// Returns what is left, one line each.
pub fn left_lines(results: &[FolderResult], as_line: fn(&FolderResult) -> String) -> String {
    let (shown, more) = left(results);
    let mut text: String = shown.into_iter().map(|result| as_line(result) + "\n").collect();
    if more > 0 {
        let _ = writeln!(text, "and {more} more: --output json names them all");
    }
    text
}

/// Returns the line for what is left of one version.
pub fn line(result: &FolderResult) -> String {
    format!("{} {}: {}", result.outcome.word(), result.name, result.outcome.why())
}

/// Returns how many versions had each outcome, without the zeros.
pub fn counted(report: &ReleaseReport) -> String {
    let before = (report.delivered_before > 0).then(|| format!("{} delivered before", report.delivered_before));
    let all: Vec<String> =
        [report.counts().to_string()].into_iter().chain(before).filter(|text| !text.is_empty()).collect();
    if all.is_empty() { "nothing to deliver".to_owned() } else { all.join(", ") }
}

/// Returns the text of what was activated.
pub fn activation(activated: &ReleaseActivation) -> String {
    let targets: Vec<String> = activated.targets.iter().take(NAMED_MAX).map(|(key, _)| key.to_string()).collect();
    let more = activated.targets.len().saturating_sub(NAMED_MAX);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    if activated.revision == 0 {
        format!("would activate {}{more}", targets.join(", "))
    } else {
        format!("activated {}{more} at revision {}", targets.join(", "), activated.revision)
    }
}

/// Returns the text of where the next release begins.
pub fn baseline(report: &ReleaseReport) -> String {
    let from = report.baseline.from.as_ref().map_or("the beginning", |commit| commit.short());
    if report.moved {
        format!("baseline moved from {from} to {}", report.commit.short())
    } else {
        format!("baseline stays at {from}")
    }
}
