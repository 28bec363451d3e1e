//! A release as text for people: what was done, what is left and why, and where the next one begins.

use std::fmt::Write as _;

use super::github;
use super::outcome::{Activated, Outcome, Report, Told};

/// Lines of one kind at most; `--output json` has all.
pub const NAMED_MAX: usize = 20;

/// The whole text. With `annotate`, failures are said as GitHub wants to hear them.
pub fn text(report: &Report, annotate: bool) -> String {
    let mut text = format!(
        "release of {} into {}: {}{}\n",
        report.commit.short(),
        report.namespace,
        report.status().word(),
        if report.dry_run { " (dry run)" } else { "" }
    );
    let _ = writeln!(text, "{}", counted(report));
    for (what, lines) in [("problem", &report.problems), ("warning", &report.warnings), ("note", &report.notes)] {
        for line in lines.iter().take(NAMED_MAX) {
            let _ = writeln!(text, "{what}: {line}");
        }
        if let Some(more) = lines.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
            let _ = writeln!(text, "and {more} more of this kind");
        }
    }
    let (shown, more) = left(report);
    for told in shown {
        let _ = if annotate {
            writeln!(text, "{}", github::annotation(told))
        } else {
            writeln!(text, "{} {}: {}", told.outcome.word(), told.name, told.outcome.why())
        };
    }
    if more > 0 {
        let _ = writeln!(text, "and {more} more: --output json names them all");
    }
    if let Some(activated) = &report.activated {
        let _ = writeln!(text, "{}", activation(activated));
    }
    let _ = writeln!(text, "{}", baseline(report));
    text
}

/// What is left, failures first, as far as it is named; and how many more there are.
pub fn left(report: &Report) -> (Vec<&Told>, usize) {
    let mut left: Vec<&Told> = report.told.iter().filter(|told| told.is_left()).collect();
    left.sort_by_key(|told| matches!(told.outcome, Outcome::Held(_)));
    let more = left.len().saturating_sub(NAMED_MAX);
    left.truncate(NAMED_MAX);
    (left, more)
}

/// How many of each, without those that are none.
pub fn counted(report: &Report) -> String {
    let (now, before) = (report.counts().to_string(), report.delivered_before);
    match (now.is_empty(), before) {
        (true, 0) => "nothing to deliver".to_owned(),
        (false, 0) => now,
        (true, _) => format!("{before} delivered before"),
        (false, _) => format!("{now}, {before} delivered before"),
    }
}

/// What was put in force.
pub fn activation(activated: &Activated) -> String {
    let targets: Vec<String> = activated.targets.iter().take(NAMED_MAX).map(|(key, _)| key.to_string()).collect();
    let more = activated.targets.len().saturating_sub(NAMED_MAX);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    if activated.revision == 0 {
        format!("would activate {}{more}", targets.join(", "))
    } else {
        format!("activated {}{more} at revision {}", targets.join(", "), activated.revision)
    }
}

/// Where the next release begins.
pub fn baseline(report: &Report) -> String {
    let from = report.baseline.from.as_ref().map_or("the beginning", |commit| commit.short());
    if report.moved {
        format!("baseline moved from {from} to {}", report.commit.short())
    } else {
        format!("baseline stays at {from}")
    }
}
