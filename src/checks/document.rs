//! Parses contents as documents: from exact bytes to one JSON value, or to the position of the first error. A stream of several
//! YAML documents is one content, and its value is the list of them.
//!
//! Nothing is repaired: content that two readers could understand differently is refused, with the position for the author.

use serde_json::{Map, Value};

use super::parse_failure::{BOM, ParseFailure, place};
use super::{json, yaml};
use crate::domain::policy::PolicyKind;

/// A parsed content.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The value in the data model of JSON (RFC 8259). For a stream: the list of its documents, so that a JSON Pointer begins with
    /// the index of one, from 0.
    pub value: Value,
    /// Number of documents, when it is a stream of several.
    pub stream: Option<usize>,
    /// Whether the value is a map from the paths of several files to their documents.
    pub is_of_files: bool,
}

impl Document {
    fn one(value: Value) -> Self {
        Self { value, stream: None, is_of_files: false }
    }

    /// Makes a document from the documents of several files, by path.
    pub(super) fn of_files(documents: Map<String, Value>) -> Self {
        Self { value: Value::Object(documents), stream: None, is_of_files: true }
    }

    /// Makes a document from at least one parsed document.
    fn of(mut documents: Vec<Value>) -> Self {
        match documents.len() {
            1 => Self::one(documents.swap_remove(0)),
            count => Self { value: Value::Array(documents), stream: Some(count), is_of_files: false },
        }
    }
}

/// Parses content as its kind. `None`: a content of the kind is no document (CEDAR, REGO, OPAQUE).
///
/// # Errors
/// The content is no document of its kind.
pub fn parse(kind: PolicyKind, content: &[u8]) -> Result<Option<Document>, ParseFailure> {
    let mut document = match kind {
        PolicyKind::Json => Document::one(json::parse(text(content)?)?),
        PolicyKind::Yaml => Document::of(yaml::parse(text(content)?)?),
        PolicyKind::Template => parse_template(text(content)?)?,
        PolicyKind::Cedar | PolicyKind::Rego | PolicyKind::Opaque => return Ok(None),
    };
    // Differences and findings come in this order, which must not depend on the features of the JSON library.
    document.value.sort_all_objects();
    Ok(Some(document))
}

/// Parses a template by what it begins with, since its media type may be that of JSON and of YAML: an object of JSON begins with a
/// brace, and whatever else is a template is YAML.
fn parse_template(text: &str) -> Result<Document, ParseFailure> {
    if text.trim_start().starts_with('{') {
        json::parse(text).map(Document::one)
    } else {
        yaml::parse(text).map(Document::of)
    }
}

/// Returns the text of a content.
///
/// # Errors
/// It is not UTF-8, is empty, or has a NUL.
pub(super) fn text(content: &[u8]) -> Result<&str, ParseFailure> {
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

/// Returns a text without the byte order mark that it may begin with: editors show none, so it is no column of the first line.
#[must_use]
pub fn without_bom(text: &str) -> &str {
    text.strip_prefix(BOM).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::super::parse_failure::MESSAGE_MAX_CHARS;
    use super::*;

    fn failure(kind: PolicyKind, content: &[u8]) -> ParseFailure {
        parse(kind, content).unwrap_err()
    }

    #[test]
    fn only_json_and_yaml_are_documents() {
        for kind in [PolicyKind::Cedar, PolicyKind::Rego, PolicyKind::Opaque] {
            assert_eq!(parse(kind, b"\xff\0"), Ok(None));
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_with_their_place() {
        for kind in [PolicyKind::Json, PolicyKind::Yaml] {
            let found = failure(kind, b"{\n  \"\xc3\xa9\": \"\xff\"}");
            assert_eq!((found.message.as_str(), found.line, found.column), ("not UTF-8", 2, 9));
            let found = failure(kind, b"\"a\0b\"");
            assert_eq!((found.message.as_str(), found.line, found.column), ("NUL character", 1, 3));
            let found = failure(kind, b"\"a\r\0\"");
            assert_eq!((found.line, found.column), (2, 1), "CR alone ends a line");
            for empty in [&b""[..], b" \n\t\n"] {
                assert_eq!(failure(kind, empty).message, "empty document");
            }
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_column() {
        let cases: [(&[u8], u32, u32); 3] =
            [(b"\xef\xbb\xbfa: \0", 1, 4), (b"\xef\xbb\xbfa:\n  \xff", 2, 3), (b"\xef\xbb\xbfa: @", 1, 4)];
        for (content, line, column) in cases {
            let found = failure(PolicyKind::Yaml, content);
            assert_eq!((found.line, found.column), (line, column), "{found:?}");
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
