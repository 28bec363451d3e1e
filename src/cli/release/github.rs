//! Writes annotations of files and output values for a GitHub job.
//!
//! Invariant: untrusted text can't act as markup. What begins a workflow command, or ends a line, is escaped.

use std::fmt::Write as _;

use crate::cli::output::text;
use crate::cli::release::outcome::{FolderResult, ReleaseReport, VersionOutcome};
use serde_json::json;

/// Returns a failure as a workflow command, without a line end.
pub fn annotation(result: &FolderResult) -> String {
    let mut line = "::error ".to_owned();
    if !result.file.is_empty() {
        let _ = write!(line, "file={},", property(&result.file));
    }
    if result.line > 0 {
        let _ = write!(line, "line={},", result.line);
    }
    let _ = write!(line, "title={}::{}", property(&result.name), data(result.outcome.why()));
    line
}

/// Returns the output values for later steps of the job, one per line.
pub fn outputs(report: &ReleaseReport) -> String {
    let counts = report.counts();
    let published = report.results.iter().filter(|result| result.outcome == VersionOutcome::Published);
    let names: Vec<&str> = published.map(|result| result.name.as_str()).collect();
    let revision = report.activated.as_ref().map_or(0, |activated| activated.revision);
    format!(
        "status={}\ncommit={}\npublished={}\nfailed={}\nrevision={revision}\nversions={}\n",
        report.status().word(),
        report.commit.as_str(),
        counts.published,
        counts.failed + counts.held,
        json!(names),
    )
}

fn data(words: &str) -> String {
    text::line(&words.replace('%', "%25"))
}

fn property(words: &str) -> String {
    data(words).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_begins_no_command() {
        let result = FolderResult::of("p,line=9::\n::error", VersionOutcome::failed("100%\r\n::stop-commands::x"));
        let result = FolderResult { line: 3, ..result.in_file("a:b,c%0A.json".to_owned()) };
        let expected =
            "::error file=a%3Ab%2Cc%250A.json,line=3,title=p%2Cline=9%3A%3A %3A%3Aerror::100%25  ::stop-commands::x";
        assert_eq!(annotation(&result), expected);
        assert_eq!(
            annotation(&FolderResult::of("p@v1.0.0", VersionOutcome::failed("bad"))),
            "::error title=p@v1.0.0::bad"
        );
    }
}
