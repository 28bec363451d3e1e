//! The lines of a content that have a text, cut around it. Pure; its time is linear in the content, whatever is in both.

use crate::checks::content_tar;
use crate::domain::bundle::Bundle;
use crate::domain::policy::is_of_several_files;

/// Bytes that are returned of a line before what was found, and after it.
const LINE_CONTEXT_BYTES: usize = 80;

/// A line that has the text, in the parts around it. A long one is cut.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundLine {
    /// The file, of a content that has several; else empty.
    pub file: String,
    /// The number of the line, from 1.
    pub number: usize,
    /// What stands before the text. It begins with `…` when there is more.
    pub before: String,
    /// The text as it is in the content.
    pub found: String,
    /// What stands after it. It ends with `…` when there is more.
    pub after: String,
}

/// Returns the first `max` lines of a content that have a text, which is given in lower case. A file that is no text has none.
#[must_use]
pub fn find_lines(bundle: &Bundle, text: &str, max: usize) -> Vec<FoundLine> {
    let has_files = is_of_several_files(&bundle.version.content_type);
    let mut lines = Vec::new();
    for file in content_tar::files_or_whole(&bundle.content, has_files) {
        if let Ok(content) = std::str::from_utf8(file.bytes) {
            add_lines(content, &file.path, text, max, &mut lines);
        }
    }
    lines
}

/// Adds the lines of a file that have the text, until there are `max`.
fn add_lines(content: &str, path: &str, text: &str, max: usize, lines: &mut Vec<FoundLine>) {
    if lines.len() >= max {
        return;
    }
    // Offsets stay as they are: only letters of ASCII change.
    let lowered = content.to_ascii_lowercase();
    let (mut from, mut number) = (0, 1);
    while lines.len() < max
        && let Some(at) = lowered.get(from..).and_then(|rest| rest.find(text)).map(|at| from + at)
    {
        let passed = part(content, from, at);
        number += passed.matches('\n').count();
        let start = passed.rfind('\n').map_or(from, |line_feed| from + line_feed + 1);
        lines.push(FoundLine { file: path.to_owned(), number, ..cut_line(content, start, at, at + text.len()) });
        // The next line: a line is returned once, however often it has the text.
        let Some(line_feed) = part(content, at, content.len()).find('\n') else { return };
        (from, number) = (at + line_feed + 1, number + 1);
    }
}

/// Returns the parts of the line that begins at `start`, in which the text is from `at` to `end`.
fn cut_line(content: &str, start: usize, at: usize, end: usize) -> FoundLine {
    let line_end = part(content, end, content.len()).find('\n').map_or(content.len(), |line_feed| end + line_feed);
    let from = content.ceil_char_boundary(at.saturating_sub(LINE_CONTEXT_BYTES)).max(start);
    let to = content.floor_char_boundary(end + LINE_CONTEXT_BYTES).min(line_end);
    let [begins, ends] = [(from > start), (to < line_end)].map(|is_cut| if is_cut { "…" } else { "" });
    FoundLine {
        before: format!("{begins}{}", part(content, from, at)),
        found: part(content, at, end).to_owned(),
        after: format!("{}{ends}", part(content, end, to).trim_end_matches('\r')),
        ..FoundLine::default()
    }
}

fn part(content: &str, from: usize, to: usize) -> &str {
    content.get(from..to).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(content: &str, text: &str, max: usize) -> Vec<(usize, String)> {
        let mut lines = Vec::new();
        add_lines(content, "", text, max, &mut lines);
        lines.into_iter().map(|line| (line.number, format!("{}[{}]{}", line.before, line.found, line.after))).collect()
    }

    #[test]
    fn each_line_is_found_once_with_its_number() {
        let content = "Tokens: 5\r\n\ntokens tokens\nother\n  x: TOKENS";
        let expected = [(1, "[Tokens]: 5"), (3, "[tokens] tokens"), (5, "  x: [TOKENS]")];
        assert_eq!(found(content, "tokens", 9), expected.map(|(number, text)| (number, text.to_owned())));
        assert_eq!(found(content, "tokens", 2).len(), 2);
        assert!(found(content, "absent", 9).is_empty() && found("", "a", 9).is_empty());
        assert_eq!(
            found("ä=Ä\nÜb", "ä", 9),
            [(1, "[ä]=Ä".to_owned())],
            "only letters of ASCII are the same in either case"
        );
    }

    #[test]
    fn a_long_line_is_cut_around_what_was_found() {
        let line = format!("first\n{}needle{}\nlast", "ä".repeat(500_000), "€".repeat(500_000));
        let expected =
            format!("…{}[needle]{}…", "ä".repeat(LINE_CONTEXT_BYTES / 2), "€".repeat(LINE_CONTEXT_BYTES / 3));
        assert_eq!(found(&line, "needle", 9), [(2, expected)]);
        let short = format!("{}needle{}", "x".repeat(LINE_CONTEXT_BYTES), "y".repeat(LINE_CONTEXT_BYTES));
        assert!(!found(&short, "needle", 9)[0].1.contains('…'));
        assert_eq!(
            found("a\nb", "a\nb", 9),
            [(1, "[a\nb]".to_owned())],
            "a text of two lines is found where it begins"
        );
    }
}
