//! Computes the difference of two contents: a unified diff for people, a JSON Patch for programs.
//!
//! Both are bounded for hostile pairs: beyond the bound the result is coarser, never wrong.

use std::time::Duration;

use serde_json::{Value, json};
use similar::TextDiff;

use crate::domain::limits::CONTENT_MAX_BYTES;

/// Unchanged lines shown around a change.
const CONTEXT_LINES: usize = 3;
/// Time after which the remaining lines are shown as replaced. Measured by the library's own clock.
const SEARCH_MAX: Duration = Duration::from_secs(1);
/// Longest patch of single changes: a longer one is no better than the new document, which is at most as long as a content with its
/// expanded aliases.
const PATCH_MAX_BYTES: usize = CONTENT_MAX_BYTES;
/// Most bytes of member paths in a patch: every change repeats the path above it.
const PATCH_PATHS_MAX_BYTES: usize = 16 * 1024 * 1024;

/// Returns the unified diff of two texts by line. Empty when they are equal or one of them is not UTF-8.
#[must_use]
pub fn unified(from_name: &str, from: &[u8], to_name: &str, to: &[u8]) -> String {
    let (Ok(from), Ok(to)) = (std::str::from_utf8(from), std::str::from_utf8(to)) else {
        return String::new();
    };
    let diff = TextDiff::configure().timeout(SEARCH_MAX).diff_lines(from, to);
    diff.unified_diff().context_radius(CONTEXT_LINES).header(from_name, to_name).to_string()
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
