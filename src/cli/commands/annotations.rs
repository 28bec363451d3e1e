//! Parses annotations of versions on the command line, and formats them.

use crate::cli::exit_code::UsageError;
use crate::cli::output::text;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Most characters of a value that one line shows.
const VALUE_SHOWN_CHARS: usize = 200;

/// Parses an annotation: `owner=team-a`.
pub fn annotation(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE, such as owner=team-a")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Returns the given annotations by key.
///
/// # Errors
/// A key is given twice: one of the values would be lost.
pub fn once_each(given: &[(String, String)]) -> Result<HashMap<String, String>, UsageError> {
    let mut annotations = HashMap::new();
    for (key, value) in given {
        if annotations.insert(key.clone(), value.clone()).is_some() {
            return Err(UsageError(format!("--annotation {key} is given twice: give one value for each key")));
        }
    }
    Ok(annotations)
}

/// Returns one line for each, in order of the keys: `owner: team-a`.
#[must_use]
pub fn lines(annotations: &HashMap<String, String>) -> String {
    let sorted: BTreeMap<_, _> = annotations.iter().collect();
    sorted.into_iter().map(|(key, value)| format!("{}: {}\n", text::line(key), shown(value))).collect()
}

/// Returns all annotations in one cell of a table: `owner=team-a, tier=1`.
#[must_use]
pub fn cell(annotations: &HashMap<String, String>) -> String {
    let sorted: BTreeMap<_, _> = annotations.iter().collect();
    let all: Vec<String> = sorted.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    all.join(", ")
}

/// Returns the differences between two versions, in one line: `annotations: owner team-a -> team-b, tier none -> 1`. `None` when
/// there are none.
#[must_use]
pub fn difference(from: &HashMap<String, String>, to: &HashMap<String, String>) -> Option<String> {
    let keys: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
    let changed: Vec<String> = keys
        .into_iter()
        .filter(|key| from.get(*key) != to.get(*key))
        .map(|key| {
            let side = |all: &HashMap<String, String>| all.get(key).map_or_else(|| "none".to_owned(), |it| shown(it));
            format!("{} {} -> {}", text::line(key), side(from), side(to))
        })
        .collect();
    (!changed.is_empty()).then(|| format!("annotations: {}", changed.join(", ")))
}

fn shown(value: &str) -> String {
    text::shortened(value, VALUE_SHOWN_CHARS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(entries: &[(&str, &str)]) -> HashMap<String, String> {
        entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn an_annotation_is_a_key_and_a_value() {
        assert_eq!(annotation("owner=a=b"), Ok(("owner".to_owned(), "a=b".to_owned())));
        assert!(annotation("owner").is_err());
        let twice = [("a".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())];
        assert!(once_each(&twice).is_err() && once_each(&twice[..1]).is_ok());
    }

    #[test]
    fn they_are_shown_in_order_and_on_their_line() {
        let annotations = of(&[("tier", "1"), ("owner", "team\n\u{1b}[2Ja")]);
        assert_eq!(lines(&annotations), "owner: team  [2Ja\ntier: 1\n");
        assert_eq!(cell(&of(&[("tier", "1"), ("owner", "a")])), "owner=a, tier=1");
    }

    #[test]
    fn a_difference_names_what_changed() {
        let (from, to) = (of(&[("a", "1"), ("b", "2"), ("c", "3")]), of(&[("a", "1"), ("b", "4"), ("d", "5")]));
        let line = "annotations: b 2 -> 4, c 3 -> none, d none -> 5";
        assert_eq!(difference(&from, &to).as_deref(), Some(line));
        assert_eq!(difference(&from, &from), None);
    }
}
