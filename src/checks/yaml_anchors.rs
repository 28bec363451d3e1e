//! Expands YAML aliases of anchored values within a budget.
//!
//! An anchor is known only after the end of its value, so no value contains itself; memory stays a small multiple of the content,
//! however anchors nest and aliases multiply.

use std::collections::HashMap;

use serde_json::Value;

use super::strict;
use crate::domain::limits::CONTENT_MAX_BYTES;

/// Most bytes of anchored values and expanded aliases together, counted as [`Size::bytes`].
const REPEATED_MAX_BYTES: usize = 2 * CONTENT_MAX_BYTES;

/// The anchored values of a document.
#[derive(Default)]
pub(super) struct YamlAnchors {
    values: HashMap<usize, (Value, Size)>,
    repeated_bytes: usize,
}

impl YamlAnchors {
    /// Forgets the anchors at the end of a document. The bytes stay counted, since the expanded values are kept.
    pub(super) fn forget(&mut self) {
        self.values.clear();
    }

    /// Keeps the value of an anchor; 0: no anchor.
    pub(super) fn remember(&mut self, anchor: usize, value: &Value) -> Result<(), String> {
        if anchor == 0 {
            return Ok(());
        }
        let size = Size::of(value);
        self.spend(size.bytes)?;
        self.values.insert(anchor, (value.clone(), size));
        Ok(())
    }

    /// Returns the value of an alias inside `parents` lists and maps.
    pub(super) fn repeat(&mut self, anchor: usize, parents: usize) -> Result<Value, String> {
        let size = self.values.get(&anchor).ok_or("alias to a value that holds it")?.1;
        if size.levels > 0 {
            strict::check_depth(parents + size.levels - 1)?;
        }
        self.spend(size.bytes)?;
        Ok(self.values.get(&anchor).map(|(value, _)| value.clone()).unwrap_or_default())
    }

    fn spend(&mut self, bytes: usize) -> Result<(), String> {
        self.repeated_bytes = self.repeated_bytes.saturating_add(bytes);
        if self.repeated_bytes <= REPEATED_MAX_BYTES {
            return Ok(());
        }
        Err(format!("anchors and aliases repeat more than {REPEATED_MAX_BYTES} bytes"))
    }
}

/// The cost of expanding a value.
#[derive(Clone, Copy)]
struct Size {
    /// Approximate bytes of the value as flow YAML: its text, and two for each value.
    bytes: usize,
    /// Number of lists and maps on its deepest path.
    levels: usize,
}

impl Size {
    /// Recursive: a value is at most as deep as a document may be.
    fn of(value: &Value) -> Self {
        let (own, parts): (usize, Vec<Self>) = match value {
            Value::String(text) => return Self { bytes: text.len() + 2, levels: 0 },
            Value::Array(list) => (2, list.iter().map(Self::of).collect()),
            Value::Object(map) => {
                (2 + map.keys().map(|key| key.len() + 2).sum::<usize>(), map.values().map(Self::of).collect())
            }
            _ => return Self { bytes: 2, levels: 0 },
        };
        let bytes = parts.iter().map(|part| part.bytes).sum::<usize>() + own;
        Self { bytes, levels: 1 + parts.iter().map(|part| part.levels).max().unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::checks::parse_failure::ParseFailure;
    use crate::checks::yaml;

    /// Returns the first document of a text.
    fn parse(text: &str) -> Result<serde_json::Value, ParseFailure> {
        yaml::parse(text).map(|mut documents| documents.remove(0))
    }

    fn message(text: &str) -> String {
        parse(text).unwrap_err().message
    }

    #[test]
    fn aliases_repeat_values_within_bounds() {
        assert_eq!(parse("a: &x [1, {b: c}]\nb: *x\n"), Ok(json!({"a": [1, {"b": "c"}], "b": [1, {"b": "c"}]})));
        let rows: String =
            (1..20).map(|row| format!("a{row}: &a{row} [{}]\n", vec![format!("*a{}", row - 1); 9].join(","))).collect();
        assert!(message(&format!("a0: &a0 [lol]\n{rows}")).starts_with("anchors and aliases repeat"));
        let long = format!("- &a {}\n{}", "x".repeat(500_000), "- *a\n".repeat(100_000));
        assert!(message(&long).starts_with("anchors and aliases repeat"));
        assert_eq!(message("a: &x [*x]\n"), "alias to a value that holds it");
        assert_eq!(message("- &a [1]\n- {*a : 1}\n"), "alias as a key must name text");
        let stream = "--- [&a xxxxxxxxxxxxxxxxxxxx, *a]\n".repeat(60_000);
        assert!(message(&stream).contains("anchors and aliases repeat"), "the budget is that of the whole content");
    }

    #[test]
    fn aliases_count_into_depth() {
        let chain = |rows: usize| -> String {
            (1..rows).fold("- &a0 []\n".to_owned(), |text, row| format!("{text}- &a{row} [*a{}]\n", row - 1))
        };
        assert!(parse(&chain(63)).is_ok());
        assert_eq!(message(&chain(64)), "nested deeper than 64 levels");
    }
}
