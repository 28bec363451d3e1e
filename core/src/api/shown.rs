//! Parts of a request in the text of an error.

/// Longest part of a request that an error repeats.
const SHOWN_MAX_CHARS: usize = 40;

/// Writes a part of a request for an error: cut, and without anything that a terminal acts on.
pub(super) fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(SHOWN_MAX_CHARS).collect::<String>())
}
