//! Shows the line of a content that a finding is about, with a mark below the place.

use std::borrow::Cow;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::checks::{content_tar, without_bom};
use crate::cli::output::terminal_style::TerminalStyle;
use crate::cli::output::text::line;
use crate::client::pb;
use crate::domain::policy::is_of_several_files;

/// Most bytes of a line that are shown, around the mark: a content may be one line of 1 MiB.
const LINE_MAX_BYTES: usize = 400;

/// A content whose findings are shown.
#[derive(Debug, Clone, Copy)]
pub struct ShownContent<'a> {
    /// Path of the content, or its name.
    pub path: &'a str,
    /// Media type of the content.
    pub content_type: &'a str,
    /// The exact content.
    pub content: &'a [u8],
    /// Style of the output that the findings are printed to.
    pub style: TerminalStyle,
}

/// Returns the path of a file of a content; an empty one is the content itself.
#[must_use]
pub fn path_of(content: &str, file: &str) -> String {
    if file.is_empty() { content.to_owned() } else { format!("{}/{file}", content.trim_end_matches('/')) }
}

impl ShownContent<'_> {
    /// Returns the line with its mark; `None` when the finding has no place in the content.
    #[must_use]
    pub fn excerpt(&self, found: &pb::Finding) -> Option<String> {
        let row = usize::try_from(found.line).ok()?.checked_sub(1)?;
        let column = usize::try_from(found.column).ok()?.checked_sub(1)?;
        let bytes = match is_of_several_files(self.content_type) {
            true => content_tar::read(self.content).ok()?.into_iter().find(|file| file.path == found.file)?.bytes,
            false => self.content,
        };
        let text = lines(without_bom(std::str::from_utf8(bytes).ok()?)).nth(row)?;
        let start = text.char_indices().map(|(at, _)| at).chain([text.len()]).nth(column)?;
        let end = start + token_bytes(text.get(start..)?);
        let (part, mark) = around(text, start..end);
        // Each character is one column, so that the mark stays below its place.
        let shown: String = part.replace('\t', " ");
        let shown_column = part.get(..mark.start)?.chars().count() + 1;
        let path = line(&path_of(self.path, &found.file));
        let snippet = Snippet::source(shown).path(path.clone()).line_start(row + 1);
        let marked = snippet.annotation(AnnotationKind::Primary.span(mark));
        let level = if found.severity() == pb::finding::Severity::Warning { Level::WARNING } else { Level::ERROR };
        let renderer = if self.style.has_colours() { Renderer::styled() } else { Renderer::plain() };
        let rendered = renderer.render(&[Group::with_level(level).element(marked)]);
        // The head names the place in the part that is shown; people look for that in the line.
        let place = |column: usize| format!("{path}:{}:{column}", row + 1);
        Some(rendered.replacen(&place(shown_column), &place(column + 1), 1))
    }
}

/// Returns the lines of a text. They end as in YAML: with LF, CR LF, or CR alone.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

/// Returns the part of a line around a mark, with an ellipsis for what is left out, and where the mark is in it.
fn around(line: &str, mark: Range<usize>) -> (Cow<'_, str>, Range<usize>) {
    if line.len() <= LINE_MAX_BYTES {
        return (line.into(), mark);
    }
    let from = line.floor_char_boundary(mark.start.saturating_sub(LINE_MAX_BYTES / 2));
    let to = line.floor_char_boundary(from + LINE_MAX_BYTES);
    let (before, after) = (if from > 0 { "…" } else { "" }, if to < line.len() { "…" } else { "" });
    let moved = |at: usize| at.clamp(from, to) - from + before.len();
    (format!("{before}{}{after}", line.get(from..to).unwrap_or_default()).into(), moved(mark.start)..moved(mark.end))
}

/// Returns how many bytes of the text the value takes that begins there; at least one character.
fn token_bytes(text: &str) -> usize {
    let quote = text.chars().next().filter(|first| matches!(first, '"' | '\''));
    let end = match quote {
        Some(quote) => {
            let mut escaped = false;
            text.char_indices().skip(1).find(|(_, letter)| {
                let is_end = *letter == quote && !escaped;
                escaped = *letter == '\\' && !escaped && quote == '"';
                is_end
            })
        }
        .map(|(at, _)| at + 1),
        None => text
            .char_indices()
            .skip(1)
            .find(|(_, each)| each.is_whitespace() || ",;:]})".contains(*each))
            .map(|(at, _)| at),
    };
    end.unwrap_or(text.len()).max(text.chars().next().map_or(0, char::len_utf8))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt(content: &str, row: i32, column: i32) -> Option<String> {
        let found = pb::Finding { line: row, column, ..Default::default() };
        shown(content.as_bytes(), TerminalStyle::PLAIN).excerpt(&found)
    }

    fn shown(content: &[u8], style: TerminalStyle) -> ShownContent<'_> {
        ShownContent { path: "a.yaml", content_type: "application/yaml", content, style }
    }

    #[test]
    fn only_where_colours_are_wanted_an_excerpt_has_some() {
        let found = pb::Finding { line: 1, column: 4, ..Default::default() };
        let excerpt = |style| shown(b"a: 1", style).excerpt(&found).expect("an excerpt");
        assert!(excerpt(TerminalStyle::COLOURED).contains("\u{1b}["));
        for style in [TerminalStyle::PLAIN, TerminalStyle::COLOURLESS_TERMINAL] {
            assert!(!excerpt(style).contains('\u{1b}'), "{style:?}");
        }
    }

    #[test]
    fn the_mark_is_below_the_value() {
        let shown = excerpt("a: 1\nb:\tzoë 60000 # much\n", 2, 8).expect("an excerpt");
        let lines: Vec<&str> = shown.lines().map(str::trim_end).collect();
        assert_eq!(lines, [" --> a.yaml:2:8", "  |", "2 | b: zoë 60000 # much", "  |        ^^^^^"]);
        assert!(excerpt("a: \"x \\\" y\", 1", 1, 4).expect("one").ends_with("^^^^^^^^"), "to the end of the quotes");
        assert!(excerpt("a:", 1, 3).is_some(), "where nothing is");
    }

    #[test]
    fn what_has_no_place_has_no_excerpt() {
        for (row, column) in [(0, 0), (0, 1), (1, 0), (9, 1), (1, 9), (-1, -1)] {
            assert_eq!(excerpt("a: 1\n", row, column), None, "{row}:{column}");
        }
        let found = pb::Finding { line: 1, column: 1, ..Default::default() };
        assert_eq!(shown(b"\xff: 1", TerminalStyle::PLAIN).excerpt(&found), None);
    }

    #[test]
    fn a_long_line_is_cut_around_the_mark() {
        let long = format!("a\n{}é: 60000, {}", "x: 1, ".repeat(100_000), "y: 1, ".repeat(1_000));
        let shown = excerpt(&long, 2, 600_004).expect("an excerpt");
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[0].trim_start(), "--> a.yaml:2:600004", "the place in the line: {shown}");
        let marked = lines[2].chars().zip(lines[3].chars()).filter(|(_, mark)| *mark == '^').map(|(letter, _)| letter);
        assert_eq!(marked.collect::<String>(), "60000", "{shown}");
        assert!(shown.len() < 4 * LINE_MAX_BYTES, "{} bytes", shown.len());
        let all = excerpt(&format!("[{}]", "x".repeat(LINE_MAX_BYTES * 2)), 1, 2).expect("an excerpt");
        assert!(all.contains("--> a.yaml:1:2"), "a value that is longer than what is shown: {all}");
    }

    #[test]
    fn a_byte_order_mark_is_no_column() {
        for content in ["a: 1\nb: 2", "\u{feff}a: 1\nb: 2"] {
            for (row, line) in [(1, "1 | a: 1"), (2, "2 | b: 2")] {
                let shown = excerpt(content, row, 4).expect("an excerpt");
                let lines: Vec<&str> = shown.lines().map(str::trim_end).collect();
                assert_eq!(lines, [&format!(" --> a.yaml:{row}:4"), "  |", line, "  |    ^"], "{content:?}");
            }
        }
    }

    #[test]
    fn lines_end_with_cr_too() {
        for ends in ["\r", "\n", "\r\n"] {
            let shown = excerpt(&["a: 1", "b: 2", "c: 3"].join(ends), 2, 4).expect("an excerpt");
            assert!(shown.contains("2 | b: 2\n"), "{ends:?}: {shown}");
        }
    }
}
