//! Writes a document for programs as YAML.
//!
//! Invariant: it parses to the same value in YAML 1.1 and 1.2, and has no character that a terminal or a viewer acts on.

use crate::cli::output::json::escaped as json_escaped;
use crate::cli::output::terminal_style::is_acted_on;
use anyhow::Context as _;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::Value;
use serde_saphyr::{DoubleQuoted, to_fmt_writer_with_options};

/// Returns one document, with the marker that separates it from the one before.
pub fn document(value: &Value) -> anyhow::Result<String> {
    if has_guarded_key(value) {
        // The library does not quote keys. JSON is valid YAML, and the characters escaped here need no surrogate pairs, which YAML lacks.
        return Ok(format!("---\n{}\n", json_escaped(&value.to_string())));
    }
    let mut text = String::from("---\n");
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    to_fmt_writer_with_options(&mut text, &Guarded(value), options).context("failed to write YAML")?;
    Ok(escaped(&text))
}

fn has_guarded_key(value: &Value) -> bool {
    match value {
        Value::Array(values) => values.iter().any(has_guarded_key),
        Value::Object(fields) => {
            fields.iter().any(|(key, value)| key.chars().any(is_acted_on) || has_guarded_key(value))
        }
        _ => false,
    }
}

/// A value whose texts are quoted when a character in them must be escaped.
struct Guarded<'a>(&'a Value);

impl Serialize for Guarded<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::String(text) if text.chars().any(is_acted_on) => DoubleQuoted(text).serialize(serializer),
            Value::Array(values) => serializer.collect_seq(values.iter().map(Guarded)),
            Value::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (key, value) in fields {
                    map.serialize_entry(key, &Guarded(value))?;
                }
                map.end()
            }
            plain => plain.serialize(serializer),
        }
    }
}

/// Escapes characters that a terminal acts on, except line ends: they are within double quotes, where YAML 1.2 §5.7 escapes them.
fn escaped(yaml: &str) -> String {
    let mut text = String::with_capacity(yaml.len());
    for letter in yaml.chars() {
        if is_acted_on(letter) && letter != '\n' {
            text.push_str(&format!("\\U{:08x}", u32::from(letter)));
        } else {
            text.push(letter);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::checks;
    use crate::domain::policy::PolicyKind;

    #[test]
    fn it_reads_back_as_what_it_was_and_moves_no_cursor() {
        let hostile = [
            "\u{1b}[31m",
            "a\u{9b}b",
            "x\u{202e}y",
            "\u{feff}",
            "\u{2028}",
            "a\nb: c\n",
            "\r",
            "\t",
            "\0",
            "😀\u{200b}",
        ];
        let tricky = [
            "yes",
            "no",
            "null",
            "~",
            "",
            " ",
            "1.0",
            "0x1F",
            "1_000",
            "12:30",
            "2026-01-01",
            "- a",
            "a: b",
            "#",
            "&a",
            "*a",
            "!t",
            "'",
            "\"",
            "\\",
            "{",
            "[",
            "%",
            "@",
            "`",
            "|",
            ">",
            "---",
            "...",
        ];
        let texts: Vec<&str> = hostile.into_iter().chain(tricky).collect();
        let keyed = |keys: &[&str]| -> Value {
            keys.iter().map(|key| ((*key).to_owned(), json!(key))).collect::<serde_json::Map<_, _>>().into()
        };
        let plain = json!({"texts": texts, "keyed": keyed(&tricky), "long": "word ".repeat(100), "empty": [{}, []],
            "numbers": [0, -1, 9_007_199_254_740_991_u64, -9_007_199_254_740_991_i64, 1.5, 1e-7], "rest": [true, false, null]});
        let keys = json!([{"texts": texts, "keyed": keyed(&texts)}]);
        for value in [plain, keys] {
            let yaml = document(&value).expect("YAML");
            let read = checks::parse(PolicyKind::Yaml, yaml.as_bytes());
            let read = read.unwrap_or_else(|error| panic!("{error:?}: {yaml}")).expect("a document").value;
            assert_eq!(read, value, "{yaml}");
            assert!(yaml.chars().all(|letter| letter == '\n' || !is_acted_on(letter)), "{yaml}");
        }
    }
}
