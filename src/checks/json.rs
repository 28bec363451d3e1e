//! Parses JSON (RFC 8259) with serde_json, through one visitor that enforces the rules of `strict`.
//!
//! The position of a failure is the last character read: the offending character, or the end of the offending token; for a duplicate key
//! it is where the key begins.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::parse_failure::{ParseFailure, place, push_token};
use super::strict;

/// Parses one JSON document.
pub(super) fn parse(text: &str) -> Result<Value, ParseFailure> {
    if text.starts_with('\u{feff}') {
        return Err(ParseFailure::new(
            "byte order mark: JSON must not start with one (RFC 8259 §8.1)",
            1,
            1,
            String::new(),
        ));
    }
    let mut path = Vec::new();
    let mut reader = serde_json::Deserializer::from_str(text);
    let parsed = Strict { path: &mut path }.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    parsed.map_err(|error| failure(text, &error, &path))
}

fn failure(text: &str, error: &serde_json::Error, path: &[PathStep]) -> ParseFailure {
    let full = error.to_string();
    let mut at = last_read(text, error);
    if full.starts_with(strict::DUPLICATE_KEY) {
        at = start_of_key(text.as_bytes(), at).unwrap_or(at);
    }
    let (line, column) = place(text.as_bytes(), at);
    let said_place = format!(" at line {} column {}", error.line(), error.column());
    let mut pointer = String::new();
    for step in path {
        let fits = match step {
            PathStep::Index(index) => push_token(&mut pointer, &index.to_string()),
            PathStep::Key(key) => push_token(&mut pointer, key),
        };
        if !fits {
            break;
        }
    }
    ParseFailure::new(full.strip_suffix(&said_place).unwrap_or(&full), line, column, pointer)
}

/// Returns where the last character begins that was read.
fn last_read(text: &str, error: &serde_json::Error) -> usize {
    let before: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let end = (before + error.column()).min(text.len());
    if error.column() == 0 { end } else { text.floor_char_boundary(end.saturating_sub(1)) }
}

/// Returns where the key begins whose closing quote is at a place.
fn start_of_key(text: &[u8], closing: usize) -> Option<usize> {
    let mut end = closing;
    loop {
        let quote = text.get(..end)?.iter().rposition(|byte| *byte == b'"')?;
        let backslashes = text.get(..quote)?.iter().rev().take_while(|byte| **byte == b'\\').count();
        if backslashes.is_multiple_of(2) {
            return Some(quote);
        }
        end = quote;
    }
}

/// One step of the path to the invalid value.
enum PathStep {
    Index(usize),
    Key(String),
}

/// Builds a value; when it fails, `path` leads to the value that was being built.
struct Strict<'a> {
    path: &'a mut Vec<PathStep>,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        strict::integer(value.into()).map_err(E::custom)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        strict::integer(value.into()).map_err(E::custom)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        strict::float(value).map_err(E::custom)
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        strict::check_depth(self.path.len()).map_err(A::Error::custom)?;
        let mut items = Vec::new();
        loop {
            self.path.push(PathStep::Index(items.len()));
            let next = access.next_element_seed(Strict { path: &mut *self.path })?;
            self.path.pop();
            match next {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        strict::check_depth(self.path.len()).map_err(A::Error::custom)?;
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            self.path.push(PathStep::Key(key.clone()));
            strict::check_new_key(&map, &key).map_err(A::Error::custom)?;
            let value = access.next_value_seed(Strict { path: &mut *self.path })?;
            self.path.pop();
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(text: &str) -> (String, u32, u32, String) {
        let failure = parse(text).unwrap_err();
        (failure.message, failure.line, failure.column, failure.pointer)
    }

    fn nested(depth: usize) -> String {
        format!("{}{}", "[".repeat(depth), "]".repeat(depth))
    }

    #[test]
    fn values_keep_their_types() {
        let text = r#" {"a": [1, -2, 1.5, "1", null, true], "é~/": {"": "\ud83d\ude00"}} "#;
        assert_eq!(parse(text), Ok(json!({"a": [1, -2, 1.5, "1", null, true], "é~/": {"": "😀"}})));
    }

    #[test]
    fn syntax_errors_carry_line_and_character_column() {
        let (_, line, column, pointer) = refused("{\n  \"é\": [1,\n  \"ü\" 2]\n}");
        assert_eq!((line, column, pointer.as_str()), (3, 7, "/é/2"));
        let (message, line, column, _) = refused("{} x");
        assert_eq!((message.as_str(), line, column), ("trailing characters", 1, 4));
        for text in
            ["{", "[1,]", "{\"a\":1,}", "NaN", "01", "'a'", "[1] [2]", "// c\n1", "\"\\ud800\"", "\"\u{1}\"", "1e400"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn duplicate_keys_are_refused_at_any_depth_and_after_unescaping() {
        assert_eq!(
            refused("{\"a\": [{\"b\": 1,\n \"\\u0062\": 2}]}"),
            ("duplicate key \"b\"".to_owned(), 2, 2, "/a/0/b".to_owned())
        );
        let (_, line, column, _) = refused("{\"\\\\\\\"é\":1,\r \"\\\\\\\"é\":2}");
        assert_eq!((line, column), (2, 2), "quotes in a key do not begin it, and CR alone ends a line");
        let (_, line, column, _) = refused("[1,\rx]");
        assert_eq!((line, column), (2, 1), "a line begins right after its end");
        assert!(parse("[{\"b\":1},{\"b\":1}]").is_ok());
    }

    #[test]
    fn integers_end_where_doubles_stop_being_exact() {
        assert_eq!(
            parse("[9007199254740991,-9007199254740991]"),
            Ok(json!([9_007_199_254_740_991_i64, -9_007_199_254_740_991_i64]))
        );
        for text in ["9007199254740992", "-9007199254740992", "18446744073709551616", "-9223372036854775809", "1e300"] {
            let (message, line, _, pointer) = refused(&format!("[0,{text}]"));
            assert!(message.starts_with("number beyond ±9007199254740991"), "{message}");
            assert_eq!((line, pointer.as_str()), (1, "/1"), "{text}");
        }
    }

    #[test]
    fn depth_ends_at_64_and_hostile_depth_does_not_overflow() {
        assert!(parse(&nested(64)).is_ok());
        let (message, line, column, _) = refused(&format!("{}1", "[".repeat(65)));
        assert_eq!((message.as_str(), line, column), ("nested deeper than 64 levels", 1, 65));
        for text in ["[".repeat(1 << 20), "{\"a\":".repeat(200_000)] {
            assert_eq!(refused(&text).0, "nested deeper than 64 levels");
        }
    }

    #[test]
    fn a_byte_order_mark_is_refused() {
        assert!(refused("\u{feff}{}").0.starts_with("byte order mark"));
    }
}
