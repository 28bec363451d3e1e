//! Writes a value as the text of a content: the same text for the same value.
//!
//! JSON is indented by two. YAML is in block style with all texts in double quotes, so that none of them can be read as another type.

use std::fmt::Write as _;

use serde_json::Value;

use crate::domain::policy::PolicyKind;

/// Plain keys that readers of YAML 1.1 or 1.2 take for something else than a text.
const RESERVED: [&str; 9] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
/// Longest key that is written without quotes.
const PLAIN_KEY_MAX_CHARS: usize = 128;

/// Returns the text of a value whose members are in the order in which they are to be written; as JSON unless the kind is YAML.
pub(super) fn write(kind: PolicyKind, value: &Value) -> String {
    let mut text = String::new();
    if kind == PolicyKind::Yaml {
        write_yaml(value, 0, &mut text);
    } else {
        let _ = write!(text, "{value:#}");
        text.push('\n');
    }
    text
}

/// Writes a value whose first line is indented already, with its line end.
fn write_yaml(value: &Value, indent: usize, text: &mut String) {
    let pad = |text: &mut String, is_first: bool| {
        if !is_first {
            text.extend(std::iter::repeat_n(' ', indent));
        }
    };
    match value {
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                pad(text, index == 0);
                text.push_str("- ");
                write_yaml(item, indent + 2, text);
            }
        }
        Value::Object(members) if !members.is_empty() => {
            for (index, (key, member)) in members.iter().enumerate() {
                pad(text, index == 0);
                if is_plain(key) {
                    text.push_str(key)
                } else {
                    text.push_str(&quoted(key))
                }
                text.push(':');
                if is_block(member) {
                    text.push('\n');
                    text.extend(std::iter::repeat_n(' ', indent + 2));
                } else {
                    text.push(' ');
                }
                write_yaml(member, indent + 2, text);
            }
        }
        Value::String(string) => {
            text.push_str(&quoted(string));
            text.push('\n');
        }
        other => {
            let _ = writeln!(text, "{other}");
        }
    }
}

fn is_block(value: &Value) -> bool {
    match value {
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        _ => false,
    }
}

fn is_plain(key: &str) -> bool {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.');
    key.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && key.len() <= PLAIN_KEY_MAX_CHARS
        && key.chars().all(is_word)
        && !RESERVED.contains(&key.to_ascii_lowercase().as_str())
}

/// Returns a text in double quotes. JSON escapes what YAML 1.2 §5.7 has the same escapes for; what else YAML may not hold is escaped here.
fn quoted(string: &str) -> String {
    let json = Value::from(string).to_string();
    let mut text = String::with_capacity(json.len());
    for letter in json.chars() {
        match letter {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                let _ = write!(text, "\\u{:04x}", u32::from(letter));
            }
            _ => text.push(letter),
        }
    }
    text
}
