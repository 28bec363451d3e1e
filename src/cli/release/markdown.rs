//! Writes a release as Markdown, for the summary of a job.
//!
//! Invariant: untrusted text can't act as markup. All ASCII punctuation that Markdown could interpret is escaped, and nothing
//! breaks a line.

use crate::cli::output::text;
use crate::cli::release::checked_version::CheckedVersion;
use crate::cli::release::outcome::{FolderResult, ReleaseReport, ReleaseStatus};
use crate::cli::release::summary::{NAMED_MAX, activation, baseline, counted, left};
use std::fmt::Write as _;

/// Longest text of a cell.
const CELL_MAX_CHARS: usize = 500;

/// Returns the whole section.
pub fn section(report: &ReleaseReport) -> String {
    let mark = match report.status() {
        ReleaseStatus::Success => "✅",
        ReleaseStatus::Partial => "⚠️",
        ReleaseStatus::Failed => "❌",
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
    let (left, more) = left(&report.results);
    let done = report.results.iter().filter(|result| !result.is_left());
    let shown: Vec<&FolderResult> = left.into_iter().chain(done.take(NAMED_MAX)).collect();
    if !shown.is_empty() {
        markdown.push_str("\n| version | number | outcome | why |\n|---|---|---|---|\n");
    }
    for result in &shown {
        let number = if result.version == 0 { String::new() } else { result.version.to_string() };
        let (name, why) = (escaped(&result.name), escaped(result.outcome.why()));
        let _ = writeln!(markdown, "| {name} | {number} | {} | {why} |", result.outcome.word());
    }
    let unnamed = report.results.len() - shown.len();
    if unnamed > 0 {
        let _ = writeln!(markdown, "\nAnd {unnamed} more, {more} of them not delivered.");
    }
    if let Some(activated) = &report.activated {
        let _ = writeln!(markdown, "\n{}.", capital(&escaped(&activation(activated))));
    }
    let found: Vec<String> = report.checked.iter().flat_map(CheckedVersion::lines).collect();
    let listed =
        [("Finding", &found), ("Problem", &report.problems), ("Warning", &report.warnings), ("Note", &report.notes)];
    for (what, lines) in listed {
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

/// Escapes text. A backslash escapes any ASCII punctuation (CommonMark 2.4), in a table too.
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
