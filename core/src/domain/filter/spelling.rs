//! How a filter is written by a program: texts in quotes, conditions joined by AND.

use std::fmt;

/// Writes a text in quotes, so that a filter has it as it is, whatever is in it.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// Conditions that are joined by AND.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions(Vec<String>);

impl Conditions {
    /// Adds `field operator value`, the value as it is written, such as a number or a name of an enum.
    pub fn add(&mut self, field: &str, operator: &str, value: impl fmt::Display) {
        self.0.push(format!("{field} {operator} {value}"));
    }

    /// Adds `field operator "text"`.
    pub fn add_text(&mut self, field: &str, operator: &str, text: &str) {
        self.add(field, operator, quoted(text));
    }

    /// Adds that a field is one of some values; nothing without values.
    pub fn add_one_of<V: fmt::Display>(&mut self, field: &str, values: impl IntoIterator<Item = V>) {
        let each: Vec<String> = values.into_iter().map(|value| format!("{field} = {value}")).collect();
        match each.as_slice() {
            [] => {}
            [only] => self.0.push(only.clone()),
            several => self.0.push(format!("({})", several.join(" OR "))),
        }
    }

    /// Adds a filter that somebody else wrote, as a condition of its own; nothing for an empty one.
    pub fn add_filter(&mut self, filter: &str) {
        if !filter.trim().is_empty() {
            self.0.push(format!("({filter})"));
        }
    }
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" AND "))
    }
}
