//! Compiles JSON Schemas (draft 2020-12 unless `$schema` names another) without any network, and validates within bounds.
//!
//! Patterns run on the linear-time engine, so look-around and back-references are refused when the schema is set. A schema is JSON
//! under the same rules as a content.

use std::fmt;

use jsonschema::{PatternOptions, Retrieve, Uri, Validator};
use serde_json::Value;

use super::check_limit::ANSWER_FINDINGS_MAX;
use super::document;
use super::parse_failure::{push_token, shortened};
use crate::domain::limits::SCHEMA_MAX_BYTES;
use crate::domain::policy::PolicyKind;

/// A compiled JSON Schema.
pub struct Schema(Validator);

/// Compiles a JSON Schema from its JSON text.
///
/// # Errors
/// The text is too large, not JSON, not a schema, or has references outside of itself and the published meta-schemas. The error is
/// a lower-case fragment for the author.
pub fn compile_schema(schema_text: &str) -> Result<Schema, String> {
    if schema_text.len() > SCHEMA_MAX_BYTES {
        return Err(format!("schema is over {SCHEMA_MAX_BYTES} bytes"));
    }
    let schema = document::parse(PolicyKind::Json, schema_text.as_bytes())
        .map_err(|failure| format!("{} at line {} column {}", failure.message, failure.line, failure.column))?
        .map_or(Value::Null, |parsed| parsed.value);
    jsonschema::options()
        .with_retriever(NeverFetched)
        .with_pattern_options(PatternOptions::regex())
        .build(&schema)
        .map(Schema)
        .map_err(|error| {
            let pointer = bounded(error.instance_path().as_str());
            let place = if pointer.is_empty() { String::new() } else { format!("at {pointer}: ") };
            shortened(&format!("{place}{error}"))
        })
}

/// Refuses every reference that is neither in the schema nor a published meta-schema.
struct NeverFetched;

impl Retrieve for NeverFetched {
    fn retrieve(&self, _: &Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err("a reference outside the schema is never fetched".into())
    }
}

impl Schema {
    /// Returns the violations in `value`: JSON Pointer (RFC 6901; the nearest ancestor when it would be overlong) and message, the
    /// first `ANSWER_FINDINGS_MAX`. Empty when it is valid.
    #[must_use]
    pub fn errors(&self, value: &Value) -> Vec<(String, String)> {
        let describe = |error: jsonschema::ValidationError<'_>| {
            (bounded(error.instance_path().as_str()), shortened(&error.to_string()))
        };
        self.0.iter_errors(value).take(ANSWER_FINDINGS_MAX).map(describe).collect()
    }

    /// Returns the same for each document of a stream: pointers begin with its index. The first `ANSWER_FINDINGS_MAX` in all.
    #[must_use]
    pub fn errors_of_each(&self, documents: &[Value]) -> Vec<(String, String)> {
        let each = documents.iter().enumerate();
        let found = each.flat_map(|(index, document)| {
            let describe = move |error: jsonschema::ValidationError<'_>| {
                let pointer = format!("/{index}{}", error.instance_path().as_str());
                (bounded(&pointer), shortened(&format!("document {}: {error}", index + 1)))
            };
            self.0.iter_errors(document).map(describe)
        });
        found.take(ANSWER_FINDINGS_MAX).collect()
    }
}

fn bounded(pointer: &str) -> String {
    let mut kept = String::new();
    for token in pointer.split('/').skip(1) {
        if !push_token(&mut kept, &token.replace("~1", "/").replace("~0", "~")) {
            break;
        }
    }
    kept
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Schema")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(schema: &Value) -> String {
        compile_schema(&schema.to_string()).unwrap_err()
    }

    #[test]
    fn errors_carry_pointers() {
        let schema = compile_schema(
            r#"{"type":"object","required":["n"],"properties":{"a/b":{"items":{"type":"integer"}},"n":{"minimum":1}}}"#,
        )
        .unwrap();
        assert_eq!(schema.errors(&json!({"n": 1, "a/b": [1]})), []);
        let mut pointers: Vec<_> =
            schema.errors(&json!({"n": 0, "a/b": [1, "x"]})).into_iter().map(|found| found.0).collect();
        pointers.sort();
        assert_eq!(pointers, ["/a~1b/1", "/n"]);
        assert_eq!(schema.errors(&json!({})), [(String::new(), "\"n\" is a required property".to_owned())]);
    }

    #[test]
    fn each_document_of_a_stream_is_validated() {
        let schema = compile_schema(r#"{"type":"object","properties":{"n":{"minimum":1}}}"#).unwrap();
        let documents = [json!({"n": 1}), json!({"n": 0}), json!([])];
        let found = schema.errors_of_each(&documents);
        let pointers: Vec<&str> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
        assert_eq!(pointers, ["/1/n", "/2"]);
        assert!(found[0].1.starts_with("document 2: 0 is less than"), "{found:?}");
        assert_eq!(schema.errors_of_each(&vec![json!(1); 30]).len(), ANSWER_FINDINGS_MAX);
    }

    #[test]
    fn the_default_draft_is_2020_12() {
        let schema = compile_schema(r#"{"prefixItems":[{"type":"string"}],"items":false}"#).unwrap();
        assert_eq!(schema.errors(&json!(["x"])), []);
        assert_eq!(schema.errors(&json!(["x", 1])).len(), 1);
    }

    #[test]
    fn only_local_and_published_references_resolve() {
        let local = json!({"$defs": {"n": {"type": "integer"}}, "items": {"$ref": "#/$defs/n"}});
        assert_eq!(compile_schema(&local.to_string()).unwrap().errors(&json!([1, "x"])).len(), 1);
        assert!(compile_schema(r#"{"$ref":"https://json-schema.org/draft/2020-12/schema"}"#).is_ok());
        for reference in ["http://127.0.0.1:1/s.json", "https://example.com/s", "file:///etc/hostname"] {
            let message = refused(&json!({"$ref": reference}));
            assert!(message.contains("a reference outside the schema is never fetched"), "{message}");
            assert!(compile_schema(&json!({"$schema": reference}).to_string()).is_err(), "{reference}");
        }
        assert!(refused(&json!({"$ref": "other.json"})).contains("other.json"));
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        for text in
            ["", "{", "[]", "1", r#"{"type":"strin"}"#, r#"{"type":"object","type":"array"}"#, r#"{"minimum":"1"}"#]
        {
            assert!(compile_schema(text).is_err(), "{text}");
        }
        let large = format!("{{\"$comment\":\"{}\"}}", "x".repeat(SCHEMA_MAX_BYTES));
        assert!(compile_schema(&large).unwrap_err().contains("over"));
        assert!(compile_schema(&json!({"pattern": "(?=x)"}).to_string()).is_err());
        assert!(compile_schema(&json!({"pattern": "(a{1000}){1000}"}).to_string()).is_err());
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        for schema in [
            json!({"$ref": "#"}),
            json!({"allOf": [{"$ref": "#"}]}),
            json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}),
            json!({"not": {"$dynamicRef": "#"}}),
        ] {
            if let Ok(compiled) = compile_schema(&schema.to_string()) {
                let _ = compiled.errors(&json!({"a": [1]}));
            }
        }
    }

    #[test]
    fn errors_are_bounded_in_number_and_size() {
        let schema = compile_schema(r#"{"additionalProperties":{"items":{"type":"string"}}}"#).unwrap();
        let key = "k".repeat(100_000);
        let errors = schema.errors(&json!({&key: vec![vec![0; 1000]; 50]}));
        assert_eq!(errors.len(), ANSWER_FINDINGS_MAX);
        for (pointer, message) in errors {
            assert!(pointer.len() <= 1024 && message.chars().count() <= 401, "{} {}", pointer.len(), message.len());
        }
    }
}
