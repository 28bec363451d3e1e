//! A content as numbered lines with the findings at them: escaped text, bounded, never rendered.

use crate::domain::report::{Report, Severity};
use crate::http::console::visible_text::VisibleText;

/// Most lines that a page shows, and most bytes of them. What is beyond is in the file.
const LINES_MAX: usize = 2_000;
const BYTES_MAX: usize = 192 * 1024;
/// Longest line.
const LINE_MAX_CHARS: usize = 2_000;

/// The lines of a content.
#[derive(Debug, Default)]
pub struct ContentLines {
    /// The lines that are shown.
    pub lines: Vec<ContentLine>,
    /// Whether there are more.
    pub is_cut: bool,
    /// Whether it is no text, so that there are none.
    pub is_binary: bool,
}

/// One line.
#[derive(Debug)]
pub struct ContentLine {
    /// Its number, from 1.
    pub number: u32,
    /// Its text.
    pub text: VisibleText,
    /// What checks found there.
    pub findings: Vec<LineFinding>,
}

/// What a check found.
#[derive(Debug)]
pub struct LineFinding {
    /// How much it matters.
    pub severity: &'static str,
    /// Id of the check.
    pub check: VisibleText,
    /// What it says.
    pub message: VisibleText,
    /// What to do; empty when there is nothing to do.
    pub hint: VisibleText,
    /// Where it is, in a content of several files; empty in a single one.
    pub file: VisibleText,
    /// The line; 0 without a place.
    pub line: u32,
}

/// Returns every finding of a report, in order.
#[must_use]
pub fn findings_of(report: &Report) -> Vec<LineFinding> {
    let each = report.checks.iter().flat_map(|check| check.findings.iter().map(move |finding| (check, finding)));
    each.map(|(check, finding)| LineFinding {
        severity: match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
        },
        check: VisibleText::line(&check.id),
        message: VisibleText::line(&finding.message),
        hint: VisibleText::line(&finding.hint),
        file: VisibleText::line(&finding.file),
        line: finding.line,
    })
    .collect()
}

/// Returns the lines that a page shows.
fn shown_lines(text: &str) -> impl Iterator<Item = &str> {
    let mut bytes = 0;
    text.lines().take(LINES_MAX).take_while(move |line| {
        bytes += line.len().min(LINE_MAX_CHARS);
        bytes <= BYTES_MAX
    })
}

/// Returns whether a page shows the line with this number, from 1, of a content.
#[must_use]
pub fn has_line(content: &[u8], number: usize) -> bool {
    std::str::from_utf8(content).is_ok_and(|text| shown_lines(text).count() >= number)
}

/// Cuts a content into lines. Those findings that have a line here are moved to it; the others stay in `findings`.
#[must_use]
pub fn content_lines(content: &[u8], findings: &mut Vec<LineFinding>) -> ContentLines {
    let Ok(text) = std::str::from_utf8(content) else {
        return ContentLines { is_binary: true, ..ContentLines::default() };
    };
    let mut shown = ContentLines::default();
    for (index, line) in shown_lines(text).enumerate() {
        shown.is_cut |= line.len() > LINE_MAX_CHARS;
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        let (here, rest) = std::mem::take(findings)
            .into_iter()
            .partition(|finding| finding.line == number && finding.file.is_empty() && finding.severity != "info");
        *findings = rest;
        shown.lines.push(ContentLine { number, text: VisibleText::bounded(line, LINE_MAX_CHARS), findings: here });
    }
    shown.is_cut |= text.lines().nth(shown.lines.len()).is_some();
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::digest::Digest;
    use crate::domain::report::{Check, CheckFinding, CheckResult};
    use crate::domain::time::Micros;

    #[test]
    fn findings_are_at_their_lines() {
        let found = vec![
            CheckFinding::new(Severity::Error, "wrong").at_place(2, 1),
            CheckFinding::new(Severity::Error, "nowhere"),
        ];
        let check = Check::of("parse", CheckResult::Failed, found);
        let report = Report::new(Digest::from_sha256(&[0; 32]), String::new(), vec![check], Micros(0));
        let mut findings = findings_of(&report);
        let shown = content_lines("a: 1\nb: <x>\u{0}\n".as_bytes(), &mut findings);
        assert_eq!(shown.lines.len(), 2);
        assert_eq!(shown.lines[1].findings[0].message.to_string(), "wrong");
        assert_eq!(shown.lines[1].text.to_string(), "b: <x>⟨U+0000⟩");
        assert_eq!(findings.len(), 1, "without a line");
    }

    #[test]
    fn a_large_content_is_cut_and_a_binary_one_has_no_lines() {
        let lines = content_lines("x\n".repeat(3_000).as_bytes(), &mut Vec::new());
        assert!(lines.is_cut && lines.lines.len() == LINES_MAX);
        let long = content_lines("x".repeat(1_000_000).as_bytes(), &mut Vec::new());
        assert!(long.is_cut && long.lines.len() == 1);
        assert!(content_lines(&[0xff, 0xfe], &mut Vec::new()).is_binary);
    }
}
