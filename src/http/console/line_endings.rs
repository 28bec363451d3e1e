//! Line endings of a text that went through a browser: it sends every line with CRLF (WHATWG HTML, form submission), whatever it was
//! given. Here they become those of the text that was edited, so that nothing changes that the author did not change.

use std::time::Duration;

use similar::{DiffOp, TextDiff};

/// How long lines are matched when the base has several kinds of endings. What is not matched then has the most frequent ending.
const SEARCH_MAX: Duration = Duration::from_millis(100);

/// A line without its ending, and the ending.
type Line<'a> = (&'a str, &'a str);

/// Returns a text with the line endings of its base; with LF when that has none.
#[must_use]
pub fn restore_line_endings(base: &str, text: &str) -> String {
    let (base, text) = (lines_of(base), lines_of(text));
    let usual = usual_ending(&base);
    if base.iter().all(|(_, ending)| ending.is_empty() || *ending == usual) {
        return join(&text, |_| usual);
    }
    let endings = match_endings(&base, &text, usual);
    join(&text, |index| endings.get(index).copied().unwrap_or(usual))
}

fn join<'a>(text: &[Line<'_>], ending_of: impl Fn(usize) -> &'a str) -> String {
    let mut joined = String::new();
    for (index, (line, ending)) in text.iter().enumerate() {
        joined.push_str(line);
        // The last line may have none.
        if !ending.is_empty() {
            joined.push_str(ending_of(index));
        }
    }
    joined
}

/// Returns the ending of each line: that of the line of the base that it is, or that stood in its place.
fn match_endings<'a>(base: &[Line<'a>], text: &[Line<'_>], usual: &'a str) -> Vec<&'a str> {
    let contents = |lines: &[Line<'_>]| -> Vec<String> { lines.iter().map(|(line, _)| (*line).to_owned()).collect() };
    let (old, new) = (contents(base), contents(text));
    let (old, new): (Vec<&str>, Vec<&str>) =
        (old.iter().map(String::as_str).collect(), new.iter().map(String::as_str).collect());
    let diff = TextDiff::configure().timeout(SEARCH_MAX).diff_slices(&old, &new);
    let of_base = |index: usize| base.get(index).map(|(_, ending)| *ending).filter(|ending| !ending.is_empty());
    let mut endings = vec![usual; text.len()];
    for op in diff.ops() {
        let (old_index, new_index, len) = match *op {
            DiffOp::Equal { old_index, new_index, len } => (old_index, new_index, len),
            DiffOp::Replace { old_index, old_len, new_index, new_len } => (old_index, new_index, old_len.min(new_len)),
            DiffOp::Delete { .. } | DiffOp::Insert { .. } => continue,
        };
        for (offset, ending) in endings.iter_mut().skip(new_index).take(len).enumerate() {
            *ending = of_base(old_index + offset).unwrap_or(usual);
        }
    }
    endings
}

/// Returns the most frequent ending; LF when there is none.
fn usual_ending(lines: &[Line<'_>]) -> &'static str {
    let count = |wanted: &str| lines.iter().filter(|(_, ending)| *ending == wanted).count();
    let counted = [("\r", count("\r")), ("\r\n", count("\r\n")), ("\n", count("\n"))];
    // Of equal ones the last one is taken.
    counted.into_iter().max_by_key(|(_, count)| *count).map_or("\n", |(ending, _)| ending)
}

/// Cuts a text into lines that end with LF, CRLF or CR.
fn lines_of(text: &str) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['\r', '\n']) {
        let (line, after) = rest.split_at(at);
        let length = if after.starts_with("\r\n") { 2 } else { 1 };
        let (ending, after) = after.split_at(length);
        lines.push((line, ending));
        rest = after;
    }
    if !rest.is_empty() {
        lines.push((rest, ""));
    }
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns a text as a browser sends it.
    fn sent(text: &str) -> String {
        lines_of(text)
            .iter()
            .map(|(line, ending)| format!("{line}{}", if ending.is_empty() { "" } else { "\r\n" }))
            .collect()
    }

    #[test]
    fn endings_are_those_of_the_base() {
        for (base, text, expected) in [
            ("a\nb\n", "a\r\nc\r\n", "a\nc\n"),
            ("a\r\nb\r\n", "a\r\nc\r\n", "a\r\nc\r\n"),
            ("a\rb\r", "a\r\nc\r\n", "a\rc\r"),
            ("", "a\r\nb", "a\nb"),
            ("a", "a\r\nb\r\n", "a\nb\n"),
            ("a\nb", "a\r\nb\r\n", "a\nb\n"),
            // Mixed: a line that stays, is changed, is new, or is gone.
            ("a\r\nb\nc\nd\n", "a\r\nb\r\nc\r\nd\r\n", "a\r\nb\nc\nd\n"),
            ("a\r\nb\nc\nd\n", "A\r\nb\r\nc\r\nd\r\n", "A\r\nb\nc\nd\n"),
            ("a\r\nb\nc\nd\n", "new\r\na\r\nb\r\nc\r\nd\r\n", "new\na\r\nb\nc\nd\n"),
            ("a\nb\r\nc\nd\n", "b\r\nc\r\nd\r\n", "b\r\nc\nd\n"),
            ("a\r\nb\nc", "a\r\nb\r\nc\r\nd", "a\r\nb\nc\nd"),
        ] {
            assert_eq!(restore_line_endings(base, text), expected, "{base:?} {text:?}");
        }
    }

    proptest! {
        /// A text that nobody changed is the same text again, whatever its lines end with.
        #[test]
        fn what_is_not_changed_stays(base in "([ab]{0,2}(\r\n|\n|\r)){0,8}[ab]{0,2}") {
            prop_assert_eq!(restore_line_endings(&base, &sent(&base)), base);
        }
    }
}
