//! The differences of two documents, field by field, for people.
//!
//! Bounded for hostile pairs: beyond the bound fields are left out, and the result says so.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::domain::version::{FieldDifference, FieldDifferences};

/// Most fields that are named.
const FIELDS_MAX: usize = 1_000;
/// Longest value and longest path that is shown of a field.
const TEXT_MAX_CHARS: usize = 200;

/// Returns the fields that differ, in the order of their paths. Elements of lists are compared by their places.
#[must_use]
pub fn field_differences(old: &Value, new: &Value) -> FieldDifferences {
    let mut found = FieldDifferences::default();
    compare(&mut String::new(), Some(old), Some(new), &mut found);
    found
}

/// Compares two values at a path. A document has a bounded depth, so the recursion has one too.
fn compare(path: &mut String, old: Option<&Value>, new: Option<&Value>, found: &mut FieldDifferences) {
    if old == new || found.is_cut {
        return;
    }
    match (old, new) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for name in names {
                at(path, &name.replace('~', "~0").replace('/', "~1"), |path| {
                    compare(path, old.get(name), new.get(name), found);
                });
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => {
            for index in 0..old.len().max(new.len()) {
                at(path, &index.to_string(), |path| compare(path, old.get(index), new.get(index), found));
            }
        }
        _ if found.fields.len() == FIELDS_MAX => found.is_cut = true,
        _ => found.fields.push(FieldDifference {
            pointer: cut(path),
            old: old.map(|value| cut(&value.to_string())),
            new: new.map(|value| cut(&value.to_string())),
        }),
    }
}

/// Runs a step at a member of the path.
fn at(path: &mut String, member: &str, step: impl FnOnce(&mut String)) {
    let length = path.len();
    path.push('/');
    path.push_str(member);
    step(path);
    path.truncate(length);
}

fn cut(text: &str) -> String {
    let mut cut: String = text.chars().take(TEXT_MAX_CHARS).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_that_differ_have_both_values() {
        let old = json!({"tokens": 1000, "same": [1], "gone": true, "list": [1, {"a/b": 1}]});
        let new = json!({"tokens": 5000, "same": [1], "added": null, "list": [1, {"a/b": 2}, 3]});
        let found = field_differences(&old, &new);
        let said: Vec<(&str, Option<&str>, Option<&str>)> =
            found.fields.iter().map(|each| (each.pointer.as_str(), each.old.as_deref(), each.new.as_deref())).collect();
        assert_eq!(
            said,
            [
                ("/added", None, Some("null")),
                ("/gone", Some("true"), None),
                ("/list/1/a~1b", Some("1"), Some("2")),
                ("/list/2", None, Some("3")),
                ("/tokens", Some("1000"), Some("5000")),
            ]
        );
        assert!(!found.is_cut && field_differences(&old, &old).fields.is_empty());
    }

    #[test]
    fn hostile_documents_have_a_bounded_difference() {
        let list = |value: i32| Value::from(vec![value; 5_000]);
        let found = field_differences(&list(1), &list(2));
        assert_eq!((found.fields.len(), found.is_cut), (FIELDS_MAX, true));
        let long = field_differences(&json!("x".repeat(100_000)), &json!(1));
        assert!(long.fields[0].old.as_ref().is_some_and(|text| text.chars().count() == TEXT_MAX_CHARS + 1));
    }
}
