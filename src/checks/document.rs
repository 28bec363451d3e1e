//! Contents as documents: from exact bytes to one JSON value, or to the place where they stop being one. A stream of several YAML
//! documents is one content, and its value the list of them.
//!
//! Nothing is repaired: content that two readers could take differently is refused, and the author told where.

use serde_json::Value;

use super::{json, yaml};
use crate::domain::policy::PolicyKind;

/// Longest JSON Pointer given in a report, in bytes: a key may be as long as a content.
pub(super) const POINTER_MAX_BYTES: usize = 1024;
/// Longest message taken over from a parser or validator, in characters.
const MESSAGE_MAX_CHARS: usize = 400;

/// A parsed content.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// What it says, in the data model of JSON (RFC 8259). Of a stream: the list of its documents, so that a JSON Pointer begins with
    /// the index of one, from 0.
    pub value: Value,
    /// How many documents it is, when it is a stream of several.
    pub stream: Option<usize>,
}

impl Document {
    fn one(value: Value) -> Self {
        Self { value, stream: None }
    }

    /// Of documents, at least one.
    fn of(mut documents: Vec<Value>) -> Self {
        match documents.len() {
            1 => Self::one(documents.swap_remove(0)),
            count => Self { value: Value::Array(documents), stream: Some(count) },
        }
    }
}

/// Why and where a content can't be parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseFailure {
    /// What is wrong, as a lower-case fragment for the author.
    pub message: String,
    /// Line, from 1; 0 without a place.
    pub line: u32,
    /// Column in characters, from 1; 0 without a place.
    pub column: u32,
    /// JSON Pointer (RFC 6901) of the value or member at fault, or of its nearest ancestor that fits; empty for the
    /// whole.
    pub pointer: String,
}

impl ParseFailure {
    pub(super) fn new(message: impl AsRef<str>, line: u32, column: u32, pointer: String) -> Self {
        Self { message: shortened(message.as_ref()), line, column, pointer }
    }
}

/// Parses content as its kind. `None`: the kind has nothing to parse (OPAQUE).
///
/// # Errors
/// Content that is no document of its kind, and every CEDAR or REGO content: this version has no parser for them.
pub fn parse(kind: PolicyKind, content: &[u8]) -> Result<Option<Document>, ParseFailure> {
    let document = match kind {
        PolicyKind::Json => Document::one(json::parse(text(content)?)?),
        PolicyKind::Yaml => Document::of(yaml::parse(text(content)?)?),
        PolicyKind::Cedar => return Err(no_parser("CEDAR")),
        PolicyKind::Rego => return Err(no_parser("REGO")),
        PolicyKind::Opaque => return Ok(None),
    };
    Ok(Some(document))
}

fn no_parser(kind: &str) -> ParseFailure {
    ParseFailure::new(format!("this build has no parser for {kind} policies"), 0, 0, String::new())
}

fn text(content: &[u8]) -> Result<&str, ParseFailure> {
    let failure = |message: &str, offset: usize| {
        let (line, column) = place(content, offset);
        ParseFailure::new(message, line, column, String::new())
    };
    let text = std::str::from_utf8(content).map_err(|error| failure("not UTF-8", error.valid_up_to()))?;
    if text.trim().is_empty() {
        return Err(ParseFailure::new("empty document", 1, 1, String::new()));
    }
    match text.find('\0') {
        Some(offset) => Err(failure("NUL character", offset)),
        None => Ok(text),
    }
}

/// Line and column, both from 1, of the character that starts at byte `offset`.
fn place(content: &[u8], offset: usize) -> (u32, u32) {
    let before = content.get(..offset).unwrap_or(content);
    let line = before.split(|byte| *byte == b'\n').count();
    let last = before.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    (count(line), count(characters(last) + 1))
}

/// Characters in the bytes of (a prefix of) UTF-8 text.
pub(super) fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0xC0 != 0x80).count()
}

pub(super) fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Text that may quote hostile content, cut to what a report should hold.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(MESSAGE_MAX_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Adds a member or index to a pointer, unless the result would be over [`POINTER_MAX_BYTES`]: then false.
pub(super) fn push_token(pointer: &mut String, token: &str) -> bool {
    if pointer.len() + 1 + token.len() > POINTER_MAX_BYTES {
        return false;
    }
    pointer.push('/');
    pointer.push_str(&token.replace('~', "~0").replace('/', "~1"));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(kind: PolicyKind, content: &[u8]) -> ParseFailure {
        parse(kind, content).unwrap_err()
    }

    #[test]
    fn kinds_without_a_parser_are_refused_by_name() {
        assert_eq!(failure(PolicyKind::Cedar, b"x").message, "this build has no parser for CEDAR policies");
        assert_eq!(failure(PolicyKind::Rego, b"x").message, "this build has no parser for REGO policies");
        assert_eq!(parse(PolicyKind::Opaque, b"\xff\0"), Ok(None));
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_with_their_place() {
        for kind in [PolicyKind::Json, PolicyKind::Yaml] {
            let found = failure(kind, b"{\n  \"\xc3\xa9\": \"\xff\"}");
            assert_eq!((found.message.as_str(), found.line, found.column), ("not UTF-8", 2, 9));
            let found = failure(kind, b"\"a\0b\"");
            assert_eq!((found.message.as_str(), found.line, found.column), ("NUL character", 1, 3));
            for empty in [&b""[..], b" \n\t\n"] {
                assert_eq!(failure(kind, empty).message, "empty document");
            }
        }
    }

    #[test]
    fn what_a_report_quotes_is_bounded() {
        let key = "k".repeat(100_000);
        let found = failure(PolicyKind::Json, format!("{{\"a\":{{\"{key}\":1,\"{key}\":2}}}}").as_bytes());
        assert!(found.message.chars().count() <= MESSAGE_MAX_CHARS + 1, "{} characters", found.message.len());
        assert_eq!(found.pointer, "/a");
    }
}
