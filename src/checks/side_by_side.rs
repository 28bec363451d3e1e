//! Two columns of lines out of a comparison by line: each changed line beside the one in whose place it is.
//!
//! Bounded for hostile pairs: beyond the bounds rows and parts of lines are left out, and the result says so.

use similar::{DiffOp, TextDiff};

use crate::domain::side_by_side::{NumberedLine, SideBySide, SideBySideRow};

/// Most rows.
const ROWS_MAX: usize = 2_000;
/// Most characters of a line.
const LINE_MAX_CHARS: usize = 2_000;
/// How many bytes of a long line that was changed are shown before its first difference.
const BEFORE_DIFFERENCE_BYTES: usize = 200;

/// Adds a row, unless there are as many as there may be.
pub fn push_row(shown: &mut SideBySide, row: SideBySideRow) {
    if shown.rows.len() < ROWS_MAX {
        shown.rows.push(row);
    } else {
        shown.is_cut = true;
    }
}

/// Adds the lines of a comparison that were changed, and `context` lines around them.
pub fn push_lines(shown: &mut SideBySide, diff: &TextDiff<'_, '_, str>, context: usize) {
    let mut old_end = 0;
    for group in diff.grouped_ops(context) {
        for op in group {
            if op.old_range().start > old_end {
                push_row(shown, SideBySideRow::Gap(op.old_range().start - old_end));
            }
            old_end = op.old_range().end;
            push_op(shown, diff, &op);
        }
    }
    if diff.old_len() > old_end && shown.rows.len() < ROWS_MAX {
        push_row(shown, SideBySideRow::Gap(diff.old_len() - old_end));
    }
}

fn push_op(shown: &mut SideBySide, diff: &TextDiff<'_, '_, str>, op: &DiffOp) {
    let (old, new) = (op.old_range(), op.new_range());
    for at in 0..old.len().max(new.len()) {
        if shown.rows.len() == ROWS_MAX {
            shown.is_cut = true;
            return;
        }
        let [old_at, new_at] = [&old, &new].map(|range| Some(range.start + at).filter(|index| range.contains(index)));
        let before = old_at.and_then(|index| diff.old_slice(index));
        let after = new_at.and_then(|index| diff.new_slice(index));
        let start = match (op, before, after) {
            (DiffOp::Equal { .. }, ..) => 0,
            (_, Some(before), Some(after)) => start_of_window(before, after),
            _ => 0,
        };
        let mut line = |index: Option<usize>, text: Option<&str>| {
            let (line, is_cut) = numbered(index?, text?, start);
            shown.is_cut |= is_cut;
            Some(line)
        };
        let (before, after) = (line(old_at, before), line(new_at, after));
        shown.rows.push(match (op, before) {
            (DiffOp::Equal { .. }, Some(line)) => SideBySideRow::Same(line, new.start + at + 1),
            (_, before) => SideBySideRow::Changed(before, after),
        });
    }
}

/// Returns where the shown part of two long lines begins: a little before their first difference, at the same character in both.
fn start_of_window(before: &str, after: &str) -> usize {
    if before.len().max(after.len()) <= LINE_MAX_CHARS {
        return 0;
    }
    let same = before.bytes().zip(after.bytes()).take_while(|(one, other)| one == other).count();
    // What is the same in both has its characters at the same places.
    before.floor_char_boundary(same.saturating_sub(BEFORE_DIFFERENCE_BYTES))
}

/// Returns the line at an index, as far as it is shown, and whether it was cut.
fn numbered(index: usize, text: &str, start: usize) -> (NumberedLine, bool) {
    let is_ended = text.ends_with(['\n', '\r']);
    let whole = text.strip_suffix('\n').unwrap_or(text);
    let mut shown: String = whole.get(start..).unwrap_or_default().chars().take(LINE_MAX_CHARS).collect();
    let is_end_cut = start + shown.len() < whole.len();
    if start > 0 {
        shown.insert(0, '…');
    }
    if is_end_cut {
        shown.push('…');
    }
    (NumberedLine { number: index + 1, text: shown, is_ended }, start > 0 || is_end_cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(from: &str, to: &str) -> SideBySide {
        let mut shown = SideBySide::default();
        push_lines(&mut shown, &TextDiff::from_lines(from, to), 1);
        shown
    }

    /// Writes a row as one line.
    fn text(row: &SideBySideRow) -> String {
        let side = |line: &Option<NumberedLine>| {
            line.as_ref().map_or("-".to_owned(), |line| format!("{}:{}:{}", line.number, line.text, line.is_ended))
        };
        match row {
            SideBySideRow::File(name) => name.clone(),
            SideBySideRow::Gap(lines) => format!("({lines})"),
            SideBySideRow::Same(line, other) => format!("{} = {other}", side(&Some(line.clone()))),
            SideBySideRow::Changed(old, new) => format!("{} | {}", side(old), side(new)),
        }
    }

    fn texts(from: &str, to: &str) -> Vec<String> {
        rows(from, to).rows.iter().map(text).collect()
    }

    #[test]
    fn changed_lines_are_beside_each_other_with_their_numbers() {
        let said = texts("1\n2\n3\n4\n5\n6\n7\n8", "1\n2\nthree\nfour\nand\n5\n6\n8\n");
        let expected = [
            "(1)",
            "2:2:true = 2",
            "3:3:true | 3:three:true",
            "4:4:true | 4:four:true",
            "- | 5:and:true",
            "5:5:true = 6",
            "6:6:true = 7",
            "7:7:true | 8:8:true",
            "8:8:false | -",
        ];
        assert_eq!(said, expected);
        assert_eq!(texts("a\n", "a\n"), ["(1)"]);
    }

    #[test]
    fn other_ends_of_lines_are_a_change() {
        assert_eq!(texts("a\r\nb\rc", "a\nb\nc"), ["1:a\r:true | 1:a:true", "2:b\r:true | 2:b:true", "3:c:false = 3"]);
    }

    #[test]
    fn of_a_long_line_the_part_that_differs_is_shown() {
        let line = |middle: &str| format!("{}{middle}{}", "ä".repeat(300_000), "z".repeat(300_000));
        let shown = rows(&line("old"), &line("ÖNEW"));
        assert!(shown.is_cut);
        let [SideBySideRow::Changed(Some(old), Some(new))] = shown.rows.as_slice() else { panic!("{shown:?}") };
        assert!(old.text.starts_with("…ä") && old.text.contains("äoldz") && new.text.contains("äÖNEWz"), "{shown:?}");
        assert_eq!((old.text.chars().count(), new.text.chars().count()), (LINE_MAX_CHARS + 2, LINE_MAX_CHARS + 2));
    }

    #[test]
    fn there_is_a_bound() {
        let lines = |letter: char| format!("{letter}\n").repeat(ROWS_MAX + 1);
        let shown = rows(&lines('a'), &lines('b'));
        assert!(shown.is_cut && shown.rows.len() == ROWS_MAX);
        let shown = rows("", &lines('b'));
        assert!(shown.is_cut && shown.rows.len() == ROWS_MAX);
    }
}
