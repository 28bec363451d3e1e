//! A release as Markdown, for the summary of a job.
//!
//! Invariant: words from outside stay words. Every ASCII punctuation that Markdown could read is escaped, and nothing breaks
//! a line.

use std::fmt::Write as _;

use super::outcome::{Report, Status, Told};
use super::summary::{NAMED_MAX, activation, baseline, counted, left};
use crate::cli::text;

/// Longest text of a cell.
const CELL_MAX_CHARS: usize = 500;

/// The whole section.
pub fn section(report: &Report) -> String {
    let mark = match report.status() {
        Status::Success => "✅",
        Status::Partial => "⚠️",
        Status::Failed => "❌",
    };
    let rehearsal = if report.dry_run { " (dry run)" } else { "" };
    let mut markdown = format!(
        "## {mark} Policy release: {}{rehearsal}\n\nCommit `{}` into namespace `{}`: {}. {}.\n",
        report.status().word(),
        report.commit.short(),
        report.namespace,
        counted(report),
        capital(&baseline(report)),
    );
    let (left, more) = left(&report.told);
    let done = report.told.iter().filter(|told| !told.is_left());
    let shown: Vec<&Told> = left.into_iter().chain(done.take(NAMED_MAX)).collect();
    if !shown.is_empty() {
        markdown.push_str("\n| version | number | outcome | why |\n|---|---|---|---|\n");
    }
    for told in &shown {
        let number = if told.version == 0 { String::new() } else { told.version.to_string() };
        let (name, why) = (escaped(&told.name), escaped(told.outcome.why()));
        let _ = writeln!(markdown, "| {name} | {number} | {} | {why} |", told.outcome.word());
    }
    let unnamed = report.told.len() - shown.len();
    if unnamed > 0 {
        let _ = writeln!(markdown, "\nAnd {unnamed} more, {more} of them not delivered.");
    }
    if let Some(activated) = &report.activated {
        let _ = writeln!(markdown, "\n{}.", capital(&escaped(&activation(activated))));
    }
    for (what, lines) in [("Problem", &report.problems), ("Warning", &report.warnings), ("Note", &report.notes)] {
        for (index, line) in lines.iter().take(NAMED_MAX).enumerate() {
            let gap = if index == 0 { "\n" } else { "" };
            let _ = writeln!(markdown, "{gap}- {what}: {}", escaped(line));
        }
    }
    markdown.push('\n');
    markdown
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Text as text. A backslash takes its meaning from any ASCII punctuation (CommonMark 2.4), in a table too.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text::line(text).chars().take(CELL_MAX_CHARS) {
        if letter.is_ascii_punctuation() && !"-,'()/".contains(letter) {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}
