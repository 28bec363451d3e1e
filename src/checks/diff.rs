//! Computes the difference of two contents: a unified diff and two columns for people, a JSON Patch for programs.
//!
//! All are bounded for hostile pairs: beyond the bound the result is coarser, never wrong.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use similar::TextDiff;

use super::content_tar::ContentFile;
use super::side_by_side::{push_lines, push_row};
use crate::domain::limits::CONTENT_MAX_BYTES;
use crate::domain::side_by_side::{SideBySide, SideBySideRow};

/// Unchanged lines shown around a change.
const CONTEXT_LINES: usize = 3;
/// Time after which the remaining lines are shown as replaced, for all files together. Measured by the library's own clock.
const SEARCH_MAX: Duration = Duration::from_secs(1);
/// Longest patch of single changes: a longer one is no better than the new document, which is at most as long as a content with its
/// expanded aliases.
const PATCH_MAX_BYTES: usize = CONTENT_MAX_BYTES;
/// Most bytes of member paths in a patch: every change repeats the path above it.
const PATCH_PATHS_MAX_BYTES: usize = 16 * 1024 * 1024;

/// The name of a file that one side does not have, as `patch` and git know it.
const NO_FILE: &str = "/dev/null";

/// One side of a difference: its name, and its files in the order of their paths.
pub struct Side<'a> {
    /// What the headers of a difference call it.
    pub name: &'a str,
    /// Its files; one without a path for a content that is one file.
    pub files: &'a [ContentFile<'a>],
}

impl Side<'_> {
    fn file(&self, path: &str) -> Option<&[u8]> {
        self.files.iter().find(|file| file.path == path).map(|file| file.bytes)
    }

    fn name_of(&self, path: &str) -> String {
        match (self.file(path), path) {
            (None, _) => NO_FILE.to_owned(),
            (Some(_), "") => self.name.to_owned(),
            // The tab ends a name with a blank in it, for `patch`.
            (Some(_), path) => format!("{}/{path}{}", self.name, if path.contains(' ') { "\t" } else { "" }),
        }
    }
}

/// The lines that differ between two contents.
pub struct LineDifferences {
    /// As a unified diff, one file after another in the order of their paths. Empty when they are equal, or when they are one file each
    /// and one of them is not UTF-8; among several files such a file is a line that says that it differs.
    pub unified: String,
    /// As rows of two columns, from the same comparison.
    pub side_by_side: SideBySide,
}

/// Compares two contents by line.
#[must_use]
pub fn compare_lines(from: &Side<'_>, to: &Side<'_>) -> LineDifferences {
    let paths = from.files.iter().chain(to.files).map(|file| file.path.as_str());
    let changed: BTreeSet<&str> = paths.filter(|path| from.file(path) != to.file(path)).collect();
    let search_max = SEARCH_MAX / u32::try_from(changed.len()).unwrap_or(u32::MAX).max(1);
    let mut found = LineDifferences { unified: String::new(), side_by_side: SideBySide::default() };
    for path in changed {
        let (old, new) = (from.file(path), to.file(path));
        let names = (from.name_of(path), to.name_of(path));
        let texts = (text_of(old), text_of(new));
        let state = match (old, new, texts) {
            (_, _, (None, _) | (_, None)) => " is no text",
            (None, _, _) => " is new",
            (_, None, _) => " is gone",
            _ => "",
        };
        if !path.is_empty() {
            push_row(&mut found.side_by_side, SideBySideRow::File(format!("{path}{state}")));
        }
        match texts {
            // A file without a line, which came or went: no line can show it.
            (Some(""), Some("")) => found.unified.push_str(&format!("--- {}\n+++ {}\n", names.0, names.1)),
            (Some(old), Some(new)) => {
                let diff = TextDiff::configure().timeout(search_max).diff_lines(old, new);
                let unified = diff.unified_diff().context_radius(CONTEXT_LINES).header(&names.0, &names.1).to_string();
                found.unified.push_str(&unified);
                push_lines(&mut found.side_by_side, &diff, CONTEXT_LINES);
            }
            _ if path.is_empty() => {}
            _ => {
                let line = format!("Binary files {} and {} differ\n", names.0.trim_end(), names.1.trim_end());
                found.unified.push_str(&line);
            }
        }
    }
    found
}

/// Returns the text of a file, which is empty for one that does not exist; nothing when it is not UTF-8.
fn text_of(file: Option<&[u8]>) -> Option<&str> {
    std::str::from_utf8(file.unwrap_or_default()).ok()
}

/// Returns the JSON Patch (RFC 6902) that turns `from` into `to`, as JSON text; `[]` when they are equal.
#[must_use]
pub fn json_patch(from: &Value, to: &Value) -> String {
    let whole = || json!([{"op": "replace", "path": "", "value": to}]).to_string();
    if path_bytes(from, 0).saturating_add(path_bytes(to, 0)) > PATCH_PATHS_MAX_BYTES {
        return whole();
    }
    let single = serde_json::to_string(&json_patch::diff(from, to)).unwrap_or_default();
    if single.len() > PATCH_MAX_BYTES { whole() } else { single }
}

/// Returns the bytes of the pointers of all parts of a value whose own pointer has `own` bytes: an upper bound for the paths of any
/// patch, since each path names a part of one side.
fn path_bytes(value: &Value, own: usize) -> usize {
    const INDEX_MAX_BYTES: usize = 8;
    let parts: usize = match value {
        Value::Array(list) => list.iter().map(|part| path_bytes(part, own + INDEX_MAX_BYTES)).sum(),
        Value::Object(map) => map.iter().map(|(key, part)| path_bytes(part, own + 2 * key.len() + 1)).sum(),
        _ => 0,
    };
    own.saturating_add(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares two contents of one file.
    fn unified(from_name: &str, from: &[u8], to_name: &str, to: &[u8]) -> String {
        let [from, to] = [from, to].map(|bytes| [ContentFile { path: String::new(), bytes }]);
        compare_lines(&Side { name: from_name, files: &from }, &Side { name: to_name, files: &to }).unified
    }

    #[test]
    fn a_unified_diff_shows_three_lines_around_a_change() {
        let from = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let to = from.replace("5\n", "five\n");
        assert_eq!(
            unified("versions/1", from.as_bytes(), "versions/2", to.as_bytes()),
            "--- versions/1\n+++ versions/2\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n"
        );
        assert!(unified("a", b"x", "b", b"x\n").contains("\\ No newline at end of file"));
    }

    #[test]
    fn equal_or_binary_contents_have_no_diff() {
        assert_eq!(unified("a", b"x\n", "b", b"x\n"), "");
        assert_eq!(unified("a", b"x\n", "b", b"\xff\n"), "");
    }

    #[test]
    fn several_files_are_compared_each_with_itself() {
        let files = |files: &[(&str, &'static [u8])]| -> Vec<ContentFile<'static>> {
            files.iter().map(|(path, bytes)| ContentFile { path: (*path).to_owned(), bytes }).collect()
        };
        let old = files(&[("a.rego", b"a\n"), ("b/c.rego", b"c\n"), ("gone", b""), ("same", b"x\n"), ("z", b"z\n")]);
        let new = files(&[("a b", b"1\n"), ("a.rego", b"b\n"), ("new.rego", b"n\n"), ("same", b"x\n"), ("z", b"\xff")]);
        let found = compare_lines(&Side { name: "v/1", files: &old }, &Side { name: "v/2", files: &new });
        let expected = [
            "--- /dev/null\n+++ v/2/a b\t\n@@ -0,0 +1 @@\n+1\n",
            "--- v/1/a.rego\n+++ v/2/a.rego\n@@ -1 +1 @@\n-a\n+b\n",
            "--- v/1/b/c.rego\n+++ /dev/null\n@@ -1 +0,0 @@\n-c\n",
            "--- v/1/gone\n+++ /dev/null\n",
            "--- /dev/null\n+++ v/2/new.rego\n@@ -0,0 +1 @@\n+n\n",
            "Binary files v/1/z and v/2/z differ\n",
        ];
        assert_eq!(found.unified, expected.concat());
        let of_file = |row: &SideBySideRow| match row {
            SideBySideRow::File(text) => Some(text.clone()),
            _ => None,
        };
        let files: Vec<String> = found.side_by_side.rows.iter().filter_map(of_file).collect();
        assert_eq!(
            files,
            ["a b is new", "a.rego", "b/c.rego is gone", "gone is gone", "new.rego is new", "z is no text"]
        );
    }

    #[test]
    fn two_hostile_contents_still_end_with_every_line_shown() {
        let lines = |step: u64| -> String {
            let mut state = step;
            (0..400_000)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    if state >> 63 == 0 { "a\n" } else { "b\n" }
                })
                .collect()
        };
        let (from, to) = (lines(1), lines(2));
        let shown = unified("a", from.as_bytes(), "b", to.as_bytes());
        let count = |mark: &str| shown.lines().filter(|line| line.starts_with(mark)).count();
        // Removed and added lines differ by the difference in length: none.
        assert_eq!(count("-") - 1, count("+") - 1);
        assert!(count("-") > 1);
    }

    #[test]
    fn a_patch_makes_one_out_of_the_other() {
        let (from, to) = (json!({"a": [1, 2, 3], "b/c": null}), json!({"a": [1, 3], "d": {"e": "f"}}));
        let text = json_patch(&from, &to);
        let patch: json_patch::Patch = serde_json::from_str(&text).unwrap();
        let mut patched = from.clone();
        json_patch::patch(&mut patched, &patch).unwrap();
        assert_eq!(patched, to);
        assert!(text.contains("\"/b~1c\""), "{text}");
        assert_eq!(json_patch(&to, &to), "[]");
    }

    #[test]
    fn a_patch_longer_than_any_content_replaces_the_whole() {
        let members = |letter: &str| (0..60_000).map(|at| (format!("{letter}{at}"), json!(at))).collect();
        let (from, to) = (Value::Object(members("a")), Value::Object(members("b")));
        let text = json_patch(&from, &to);
        assert!(text.starts_with(r#"[{"op":"replace","path":"","value":"#), "{}", text.len());
        assert!(text.len() < PATCH_MAX_BYTES);
    }

    #[test]
    fn a_patch_that_would_repeat_a_long_path_replaces_the_whole() {
        let key = "k".repeat(500_000);
        let (from, to) = (json!({&key: vec![1; 100_000]}), json!({&key: vec![2; 100_000]}));
        let text = json_patch(&from, &to);
        assert!(text.starts_with(r#"[{"op":"replace","path":"","value":"#), "{}", text.len());
        assert!(text.len() < 1024 * 1024);
    }
}
