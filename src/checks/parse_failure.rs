//! Describes why a content can't be parsed: a message for its author, and the place in the content.
//!
//! Invariant: what a report quotes of a content is bounded.

/// Longest JSON Pointer in a report, in bytes: a key may be as long as a content.
pub(super) const POINTER_MAX_BYTES: usize = 1024;
/// Longest message of a parser or validator, in characters.
pub(super) const MESSAGE_MAX_CHARS: usize = 400;

/// The byte order mark of UTF-8.
pub(super) const BOM: &str = "\u{feff}";

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

/// Returns line and column, both from 1, of the character that starts at byte `offset`. Lines end as in YAML, with CR alone too, so that
/// a line is the same one whichever parser names it. A byte order mark at the beginning is no column.
pub(super) fn place(content: &[u8], offset: usize) -> (u32, u32) {
    let before = content.get(..offset).unwrap_or(content);
    let ends_line = |at: usize, byte: u8| match byte {
        b'\n' => true,
        b'\r' => content.get(at + 1) != Some(&b'\n'),
        _ => false,
    };
    let ends = before.iter().enumerate().filter(|(at, byte)| ends_line(*at, **byte));
    let (lines, last) = ends.fold((0, 0), |(lines, _), (at, _)| (lines + 1, at + 1));
    let line = before.get(last..).unwrap_or_default();
    let line = if lines == 0 { line.strip_prefix(BOM.as_bytes()).unwrap_or(line) } else { line };
    (count(lines + 1), count(characters(line) + 1))
}

/// Counts the characters in the bytes of (a prefix of) UTF-8 text.
fn characters(bytes: &[u8]) -> usize {
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
