//! Describes why a content can't be parsed: a message for its author, and the position.
//!
//! Invariant: what a report quotes of a content is bounded.

/// Longest JSON Pointer in a report, in bytes: a key may be as long as a content.
pub(super) const POINTER_MAX_BYTES: usize = 1024;
/// Longest message of a parser or validator, in characters.
pub(super) const MESSAGE_MAX_CHARS: usize = 400;

/// Why a check did not run that needs a parsed content.
pub(super) const DOES_NOT_PARSE: &str = "not checked: the content does not parse";

/// Why and where a content can't be parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseFailure {
    /// What is wrong, as a lower-case fragment for the author.
    pub message: String,
    /// Line, from 1; 0 when unknown.
    pub line: u32,
    /// Column in characters, from 1; 0 when unknown.
    pub column: u32,
    /// JSON Pointer (RFC 6901) of the invalid value or member, or of its nearest ancestor whose pointer is short enough; empty for
    /// the whole document.
    pub pointer: String,
}

impl ParseFailure {
    pub(super) fn new(message: impl AsRef<str>, line: u32, column: u32, pointer: String) -> Self {
        Self { message: shortened(message.as_ref()), line, column, pointer }
    }
}

/// Counts the characters in the bytes of (a prefix of) UTF-8 text.
pub(super) fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0xC0 != 0x80).count()
}

pub(super) fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Returns text that may quote hostile content, cut to the length for a report.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(MESSAGE_MAX_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Appends a member or index to a pointer. Returns false, without a change, when the result would exceed [`POINTER_MAX_BYTES`].
pub(super) fn push_token(pointer: &mut String, token: &str) -> bool {
    if pointer.len() + 1 + token.len() > POINTER_MAX_BYTES {
        return false;
    }
    pointer.push('/');
    pointer.push_str(&token.replace('~', "~0").replace('/', "~1"));
    true
}
