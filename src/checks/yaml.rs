//! Parses YAML 1.2.2 from granit-parser's events, without recursion and under the rules of `strict`.
//!
//! Accepts one document, or a stream of several (YAML 1.2.2 §9.2), none of them empty. Keys are their text as written (`1: a` has
//! the key "1"); lists and maps as keys, merge keys (`<<`, YAML 1.1), tags outside the core schema and a `%YAML` other than 1.2 are
//! refused, since readers differ on them. Aliases are expanded within a budget, and never into themselves.

use granit_parser::{ErrorKind, Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag};
use serde_json::{Map, Value};

use super::parse_failure::{ParseFailure, count, push_token};
use super::yaml_anchors::YamlAnchors;
use super::yaml_stream::begins_another;
use super::{strict, yaml_scalar};

/// Parses the documents of a text, at least one.
pub(super) fn parse(text: &str) -> Result<Vec<Value>, ParseFailure> {
    let mut builder = Builder::default();
    for next in Parser::new_from_str(text) {
        let (found, at) = match next {
            Ok((event, span)) => (builder.take(written(event, span)), span.start),
            Err(error) => (Err(refusal(&error)), *error.marker()),
        };
        found.map_err(|message| builder.failure(text, &message, at))?;
    }
    if builder.documents.is_empty() {
        return Err(ParseFailure::new("empty document", 1, 1, String::new()));
    }
    Ok(builder.documents)
}

/// Returns the message for a parser error. The parser reads ahead, so hostile nesting reaches its limit before ours.
fn refusal(error: &ScanError) -> String {
    match error.kind() {
        ErrorKind::RecursionLimitExceeded => strict::too_deep(),
        _ => error.info(),
    }
}

/// Corrects the parser's `~` where nothing is written: as a key or a whole document they are not the same.
fn written(event: Event<'_>, span: Span) -> Event<'_> {
    match event {
        Event::Scalar(_, ScalarStyle::Plain, anchor, None) if span.start.index() == span.end.index() => {
            Event::Scalar("".into(), ScalarStyle::Plain, anchor, None)
        }
        other => other,
    }
}

/// Builds documents from events.
#[derive(Default)]
struct Builder {
    /// The documents that are complete.
    documents: Vec<Value>,
    /// The value of the current document, once it is complete.
    root: Option<Value>,
    /// Number of documents that have begun.
    begun: usize,
    open: Vec<Open>,
    anchors: YamlAnchors,
}

/// A list or map that is not complete.
struct Open {
    anchor: usize,
    items: Items,
}

enum Items {
    List(Vec<Value>),
    Map(Map<String, Value>, Option<String>),
}

impl Builder {
    fn take(&mut self, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::DocumentStart(_, version) => {
                self.begun += 1;
                self.anchors.forget();
                match version {
                    Some(version) if (version.major, version.minor) != (1, 2) => {
                        Err(format!("%YAML {}.{}: only 1.2 is accepted", version.major, version.minor))
                    }
                    _ => Ok(()),
                }
            }
            Event::Scalar(text, style, anchor, tag) => self.scalar(&text, style, anchor, tag.as_deref()),
            Event::SequenceStart(_, anchor, tag) => self.begin("seq", Items::List(Vec::new()), anchor, tag.as_deref()),
            Event::MappingStart(_, anchor, tag) => {
                self.begin("map", Items::Map(Map::new(), None), anchor, tag.as_deref())
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.alias(anchor),
            Event::DocumentEnd => {
                self.documents.extend(self.root.take());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, anchor: usize, tag: Option<&Tag>) -> Result<(), String> {
        let plain = tag.is_none() && style == ScalarStyle::Plain;
        let value = match tag {
            None if plain => yaml_scalar::plain(text),
            None => Ok(Value::String(text.to_owned())),
            Some(tag) if is_non_specific(tag) => Ok(Value::String(text.to_owned())),
            Some(tag) => match tag.core_suffix() {
                Some(suffix) => yaml_scalar::tagged(suffix, text),
                None => Err(unknown(tag)),
            },
        };
        if self.wants_key() {
            // A key is its text, so a number out of range does no harm in it.
            match tag {
                Some(tag) if tag.core_suffix().is_none() && !is_non_specific(tag) => return Err(unknown(tag)),
                _ if plain && text == "<<" => {
                    return Err("merge key <<: YAML 1.2 has none; quote it or write the members out".to_owned());
                }
                _ => {}
            }
            let value = Value::String(text.to_owned());
            self.anchors.remember(anchor, &value)?;
            return self.add_key(text.to_owned());
        }
        let value = value?;
        if self.open.is_empty() && plain && text.is_empty() {
            return Err("empty document".to_owned());
        }
        self.anchors.remember(anchor, &value)?;
        self.add_value(value);
        Ok(())
    }

    fn begin(&mut self, suffix: &str, items: Items, anchor: usize, tag: Option<&Tag>) -> Result<(), String> {
        if self.wants_key() {
            return Err("a list or map can't be a key".to_owned());
        }
        strict::check_depth(self.open.len())?;
        match tag {
            Some(tag) if tag.core_suffix() != Some(suffix) && !is_non_specific(tag) => return Err(unknown(tag)),
            _ => {}
        }
        self.open.push(Open { anchor, items });
        Ok(())
    }

    fn end(&mut self) -> Result<(), String> {
        let Some(Open { anchor, items }) = self.open.pop() else { return Ok(()) };
        let value = match items {
            Items::List(list) => Value::Array(list),
            Items::Map(map, _) => Value::Object(map),
        };
        self.anchors.remember(anchor, &value)?;
        self.add_value(value);
        Ok(())
    }

    fn alias(&mut self, anchor: usize) -> Result<(), String> {
        let value = self.anchors.repeat(anchor, self.open.len())?;
        match (self.wants_key(), value) {
            (true, Value::String(text)) => self.add_key(text),
            (true, _) => Err("alias as a key must name text".to_owned()),
            (false, value) => {
                self.add_value(value);
                Ok(())
            }
        }
    }

    fn wants_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { items: Items::Map(_, None), .. }))
    }

    fn add_key(&mut self, text: String) -> Result<(), String> {
        match self.open.last_mut() {
            Some(Open { items: Items::Map(map, key), .. }) => {
                // Set before the check, so that a failure points at the key.
                strict::check_new_key(map, key.insert(text))
            }
            _ => Ok(()),
        }
    }

    fn add_value(&mut self, value: Value) {
        match self.open.last_mut().map(|open| &mut open.items) {
            Some(Items::List(list)) => list.push(value),
            Some(Items::Map(map, key)) => {
                if let Some(key) = key.take() {
                    map.insert(key, value);
                }
            }
            None => self.root = Some(value),
        }
    }

    /// Returns what is wrong, and where. In a stream, both name the document.
    fn failure(&self, text: &str, message: &str, at: Marker) -> ParseFailure {
        let mut pointer = String::new();
        let is_stream = self.begun > 1 || begins_another(text, at.line());
        let index = self.documents.len();
        let message = if is_stream { format!("document {}: {message}", index + 1) } else { message.to_owned() };
        if is_stream {
            push_token(&mut pointer, &index.to_string());
        }
        for open in &self.open {
            let fits = match &open.items {
                Items::List(list) => push_token(&mut pointer, &list.len().to_string()),
                Items::Map(_, Some(key)) => push_token(&mut pointer, key),
                Items::Map(_, None) => false,
            };
            if !fits {
                break;
            }
        }
        ParseFailure::new(&message, count(at.line()), count(at.col() + 1), pointer)
    }
}

/// Returns whether the tag is `!`: the node is taken by its own kind, a scalar as text (YAML 1.2.2 §6.9.1).
fn is_non_specific(tag: &Tag) -> bool {
    tag.original() == "!"
}

fn unknown(tag: &Tag) -> String {
    format!("tag {} does not belong here: only those of the core schema, on values they fit", tag.original())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::domain::policy::PolicyKind;

    /// Returns the only document of a text.
    fn parse(text: &str) -> Result<Value, ParseFailure> {
        let mut documents = super::parse(text)?;
        assert_eq!(documents.len(), 1, "{text}");
        Ok(documents.remove(0))
    }

    fn refused(text: &str) -> (String, u32, u32, String) {
        let failure = parse(text).unwrap_err();
        (failure.message, failure.line, failure.column, failure.pointer)
    }

    fn message(text: &str) -> String {
        refused(text).0
    }

    #[test]
    fn documents_become_values() {
        let text = "%YAML 1.2\n---\na: [1, 'x', \"1\", ~]\nb:\n- |\n  two\n  lines\n- yes\n1: {on: off}\n? k\n: !!str 7\n'<<': !\n...\n";
        let value =
            json!({"a": [1, "x", "1", null], "b": ["two\nlines\n", "yes"], "1": {"on": "off"}, "k": "7", "<<": ""});
        assert_eq!(parse(text), Ok(value));
        assert_eq!(parse("\u{feff}a: 1\n"), Ok(json!({"a": 1})));
        assert_eq!(parse("null"), Ok(json!(null)));
        assert_eq!(parse("{: 1, ~: 2}"), Ok(json!({"": 1, "~": 2})));
    }

    #[test]
    fn syntax_errors_carry_line_and_character_column() {
        let (_, line, column, _) = refused("é: 1\nb: [1, ü}\n");
        assert_eq!((line, column), (2, 4));
        assert_eq!(refused("a:\n\tb: 1\n").1, 2);
        for text in ["a: b: c", "[1", "'x", "a: 1\n b: 2", "*nowhere", "a: \"\\q\"", "a: \u{1}", "@a", "a: !<"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn duplicate_keys_are_refused_where_they_stand() {
        let found = refused("a:\n  - b: 1\n    é: 2\n    \"b\": 3\n");
        assert_eq!(found, ("duplicate key \"b\"".to_owned(), 4, 5, "/a/0/b".to_owned()));
        assert_eq!(message("{1: a, '1': b}"), "duplicate key \"1\"");
        assert_eq!(message("{&k b: 1, *k : 2}"), "duplicate key \"b\"");
        assert!(parse("- {a: 1}\n- {a: 1}\n").is_ok());
    }

    #[test]
    fn numbers_keep_to_the_same_bounds_as_json() {
        assert_eq!(
            parse("[9007199254740991, -9007199254740991]"),
            Ok(json!([9_007_199_254_740_991_i64, -9_007_199_254_740_991_i64]))
        );
        let (message, line, column, pointer) = refused("a:\n  b: -9007199254740992\n");
        assert!(message.starts_with("number beyond ±9007199254740991"), "{message}");
        assert_eq!((line, column, pointer.as_str()), (2, 6, "/a/b"));
        assert!(parse("a: .inf").is_err());
    }

    #[test]
    fn a_document_is_not_empty_and_only_yaml_1_2() {
        for text in ["---\n", "# nothing\n", "---\n...\n", "# a\n---\n# b\n", "\u{feff}"] {
            assert_eq!(message(text), "empty document", "{text:?}");
        }
        assert_eq!(message("%YAML 1.1\n---\na: yes\n"), "%YAML 1.1: only 1.2 is accepted");
    }

    #[test]
    fn what_readers_take_differently_is_refused() {
        assert!(message("a: &a {x: 1}\nb: {<<: *a}\n").starts_with("merge key <<"));
        assert_eq!(message("[1, 2]: a"), "a list or map can't be a key");
        assert_eq!(message("{? {a: 1} : b}"), "a list or map can't be a key");
        for text in [
            "!Ref x",
            "!!binary aGk=",
            "!local {a: 1}",
            "!!set {a}",
            "!!seq {a: 1}",
            "{!x a: 1}",
            "!!timestamp 2001-12-14",
        ] {
            assert!(message(text).starts_with("tag !"), "{text}: {}", message(text));
        }
        assert_eq!(parse("!!map {a: !!seq [!!int 1]}"), Ok(json!({"a": [1]})));
    }

    #[test]
    fn depth_ends_at_64_and_hostile_depth_does_not_overflow() {
        let flow = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&flow(64)).is_ok());
        assert_eq!(refused(&flow(65)), ("nested deeper than 64 levels".to_owned(), 1, 65, "/0".repeat(64)));
        let block = |depth: usize| format!("{}1\n", "- ".repeat(depth));
        assert!(parse(&block(64)).is_ok());
        assert_eq!(message(&block(65)), "nested deeper than 64 levels");
        for unit in ["[", "{", "- ", "? ", "{a: ", "[? "] {
            let text = unit.repeat((1 << 20) / unit.len());
            assert!(
                ["nested deeper than 64 levels", "a list or map can't be a key"].contains(&message(&text).as_str())
            );
        }
    }

    fn levels(value: &Value) -> usize {
        match value {
            Value::Array(list) => 1 + list.iter().map(levels).max().unwrap_or_default(),
            Value::Object(map) => 1 + map.values().map(levels).max().unwrap_or_default(),
            _ => 0,
        }
    }

    const REAL: &str = "name: limit # of calls\nrules:\n  - &first\n    when: {role: \"user\", at: '09:00'}\n    text: >-\n      folded\n      lines\n    max: 10.5\n  - *first\n? long key\n: !!str 1\n";

    proptest! {
        #[test]
        fn any_bytes_end_in_a_value_or_a_failure(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for kind in [PolicyKind::Json, PolicyKind::Yaml] {
                let _ = crate::checks::parse(kind, &bytes);
            }
        }

        #[test]
        fn any_syntax_ends_with_a_sound_value(text in "[-a1\\[\\]{}:,?&*!|>'\"%#@~<. \t\n\\\\]{0,60}") {
            for value in super::parse(&text).unwrap_or_default() {
                prop_assert!(levels(&value) <= 64);
            }
        }

        #[test]
        fn mutated_real_documents_end(at in 0..REAL.len(), cut in 0..20usize, put in "[-\\[\\]{}:,?&*!|>'\"%# \n]{0,4}") {
            let mut bytes = REAL.as_bytes().to_vec();
            let end = (at + cut).min(bytes.len());
            bytes.splice(at..end, put.bytes());
            if let Err(failure) = crate::checks::parse(PolicyKind::Yaml, &bytes) {
                prop_assert!(failure.line >= 1 && failure.column >= 1, "{failure:?}");
            }
        }

        #[test]
        fn json_is_yaml(number in -9_007_199_254_740_991_i64..=9_007_199_254_740_991, text in "[ -~é😀]{0,20}", flag: bool) {
            let value = json!({"n": number, "t": [text, flag, null], "f": number as f64 / 1024.0});
            let text = value.to_string();
            prop_assert_eq!(parse(&text).ok(), crate::checks::json::parse(&text).ok());
        }
    }
}
