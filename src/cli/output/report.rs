//! Prints validation reports as lines.

use std::fmt::Write as _;

use crate::cli::output::excerpt::ShownContent;
use crate::cli::output::text::{line, word};
use crate::client::pb;

/// Returns a report as text: a line for each finding of each check, with its position, then the line of the content when that is known,
/// and below it what to do next.
#[must_use]
pub fn report(report: &pb::ValidationReport, content: Option<ShownContent<'_>>) -> String {
    let mut text = String::new();
    for check in &report.checks {
        if check.findings.is_empty() {
            let _ = writeln!(text, "{} {}", result(check), line(&check.id));
        }
        for found in &check.findings {
            let _ = writeln!(text, "{} {}{}", result_of(check, found), line(&check.id), finding(found, content));
        }
    }
    text
}

/// Returns the errors and warnings of a report in the same form.
#[must_use]
pub fn problems(report: &pb::ValidationReport, content: Option<ShownContent<'_>>) -> String {
    let mut text = String::new();
    for check in &report.checks {
        let is_problem = |found: &&pb::Finding| {
            [pb::finding::Severity::Error, pb::finding::Severity::Warning].contains(&found.severity())
        };
        for found in check.findings.iter().filter(is_problem) {
            let _ = writeln!(text, "{} {}{}", result_of(check, found), line(&check.id), finding(found, content));
        }
    }
    text
}

fn result(check: &pb::Check) -> &'static str {
    pb::check::Result::try_from(check.result).map_or("UNKNOWN", |result| word(result.as_str_name(), "RESULT_"))
}

/// Returns the result of a check as far as a finding made it: a warning beside an error is still one.
fn result_of(check: &pb::Check, found: &pb::Finding) -> &'static str {
    if found.severity() == pb::finding::Severity::Warning { "WARNING" } else { result(check) }
}

fn finding(found: &pb::Finding, content: Option<ShownContent<'_>>) -> String {
    let mut text = String::new();
    let place = match (found.file.as_str(), found.line) {
        ("", 0) => String::new(),
        ("", row) => format!("{row}:{}", found.column),
        (file, 0) => file.to_owned(),
        (file, row) => format!("{file}:{row}:{}", found.column),
    };
    for place in [place.as_str(), found.pointer.as_str()].into_iter().filter(|place| !place.is_empty()) {
        let _ = write!(text, " at {}", line(place));
    }
    let _ = write!(text, ": {}", line(&found.message));
    if let Some(excerpt) = content.and_then(|content| content.excerpt(found)) {
        let _ = write!(text, "\n{excerpt}");
    }
    if !found.hint.is_empty() {
        let _ = write!(text, "\n  hint: {}", line(&found.hint));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_each_place() {
        let number = pb::Finding {
            message: "is not a number".to_owned(),
            pointer: "/a/b".to_owned(),
            line: 4,
            column: 7,
            hint: "correct\nit".to_owned(),
            ..Default::default()
        };
        let in_file = pb::Finding { file: "main.rego".to_owned(), pointer: String::new(), ..number.clone() };
        let check = |id: &str, result: pb::check::Result, findings| pb::Check {
            id: id.to_owned(),
            result: result.into(),
            findings,
        };
        let nowhere = pb::Finding { message: "none".to_owned(), ..Default::default() };
        let checks = vec![
            check("json-schema", pb::check::Result::Failed, vec![number, in_file]),
            check("label", pb::check::Result::Skipped, vec![nowhere]),
            check("limits", pb::check::Result::Passed, vec![]),
        ];
        let text = report(&pb::ValidationReport { checks, ..Default::default() }, None);
        let expected = [
            "FAILED json-schema at 4:7 at /a/b: is not a number",
            "  hint: correct it",
            "FAILED json-schema at main.rego:4:7: is not a number",
            "  hint: correct it",
            "SKIPPED label: none",
            "PASSED limits",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }
}
