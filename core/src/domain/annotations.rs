//! Annotations: what an author says of a version beside its content, such as who owns it, by name.
//!
//! They are kept with the version, and its manifest covers them. Nothing is decided by them. Invariant: they are sorted by key
//! and within the bounds of `limits`, wherever they were read from, so that each set of them has one spelling.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::limits::{ANNOTATION_KEY_MAX_CHARS, ANNOTATION_VALUE_MAX_BYTES, ANNOTATIONS_MAX, ANNOTATIONS_MAX_BYTES};
use super::{Error, Result};

/// Texts by key, in order of the keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Annotations(BTreeMap<String, String>);

impl Annotations {
    /// Takes annotations from a request; `field` is named in the error.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` with everything that is wrong.
    pub fn new(field: &str, entries: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let entries: BTreeMap<String, String> = entries.into_iter().collect();
        if entries.len() > ANNOTATIONS_MAX {
            return Err(Error::invalid(field, format!("has over {ANNOTATIONS_MAX} entries")));
        }
        for (key, value) in &entries {
            check_key(key).map_err(|rule| Error::invalid(field, format!("key {key:?} {rule}")))?;
            check_value(value).map_err(|rule| Error::invalid(format!("{field}.{key}"), rule))?;
        }
        let annotations = Self(entries);
        if annotations.bytes() > ANNOTATIONS_MAX_BYTES {
            return Err(Error::invalid(field, format!("has over {ANNOTATIONS_MAX_BYTES} bytes of keys and values")));
        }
        Ok(annotations)
    }

    /// Adds one, if there is room for it and it is within the bounds. Returns whether it was added.
    pub fn try_insert(&mut self, key: &str, value: &str) -> bool {
        let fits = self.0.len() < ANNOTATIONS_MAX
            && self.bytes() + key.len() + value.len() <= ANNOTATIONS_MAX_BYTES
            && !self.0.contains_key(key)
            && check_key(key).is_ok()
            && check_value(value).is_ok();
        if fits {
            self.0.insert(key.to_owned(), value.to_owned());
        }
        fits
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the number of bytes of all keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|(key, value)| key.len() + value.len()).sum()
    }

    /// Returns keys and values, in order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Returns them as a map.
    #[must_use]
    pub fn as_map(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

fn check_key(key: &str) -> std::result::Result<(), String> {
    let is_inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-/".contains(byte);
    let begins = key.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if begins && key.len() <= ANNOTATION_KEY_MAX_CHARS && key.as_bytes().iter().all(is_inner) {
        return Ok(());
    }
    Err(format!(
        "must be 1 to {ANNOTATION_KEY_MAX_CHARS} ASCII letters, digits, '.', '_', '-' and '/', and begin with a letter or a digit"
    ))
}

fn check_value(value: &str) -> std::result::Result<(), String> {
    if value.len() > ANNOTATION_VALUE_MAX_BYTES {
        return Err(format!("is over {ANNOTATION_VALUE_MAX_BYTES} bytes"));
    }
    // PostgreSQL can't store NUL, and terminals interpret the other control characters.
    if value.chars().any(|letter| letter.is_control() && letter != '\n' && letter != '\t') {
        return Err("holds a control character other than a line feed or a tab".to_owned());
    }
    Ok(())
}

impl From<Annotations> for BTreeMap<String, String> {
    fn from(annotations: Annotations) -> Self {
        annotations.0
    }
}

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(input: D) -> std::result::Result<Self, D::Error> {
        input.deserialize_map(OneSpelling)
    }
}

/// Reads an object without repeated members, each a text: of two values under one key, two readers may take different ones.
struct OneSpelling;

impl<'de> Visitor<'de> for OneSpelling {
    type Value = Annotations;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Annotations, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some((key, value)) = map.next_entry::<String, String>()? {
            if entries.insert(key, value).is_some() {
                return Err(A::Error::custom("a key is there twice"));
            }
            if entries.len() > ANNOTATIONS_MAX {
                break;
            }
        }
        Annotations::new("annotations", entries).map_err(A::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(entries: &[(&str, &str)]) -> Result<Annotations> {
        Annotations::new("annotations", entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn annotations_are_bounded() {
        let (key, value) = ("k".repeat(ANNOTATION_KEY_MAX_CHARS), "v".repeat(ANNOTATION_VALUE_MAX_BYTES));
        of(&[(key.as_str(), value.as_str()), ("Owner.team/a_b-c", "zoë\n\t\"z\"")]).expect("the largest");
        let (long_key, long_value) = (format!("{key}k"), format!("{value}v"));
        for (key, value) in [
            ("", "v"),
            (long_key.as_str(), "v"),
            ("a b", "v"),
            (".a", "v"),
            ("é", "v"),
            ("a=b", "v"),
            ("a", long_value.as_str()),
            ("a", "\0"),
            ("a", "\u{1b}[2J"),
        ] {
            of(&[(key, value)]).expect_err(key);
        }
        let many = |count: usize| Annotations::new("a", (0..count).map(|index| (index.to_string(), String::new())));
        many(ANNOTATIONS_MAX).expect("as many as there may be");
        many(ANNOTATIONS_MAX + 1).expect_err("one more");
        let half = "v".repeat(ANNOTATIONS_MAX_BYTES / 2 - 1);
        of(&[("a", half.as_str()), ("b", half.as_str())]).expect("just as many bytes");
        of(&[("a", half.as_str()), ("bc", half.as_str())]).expect_err("a byte more");
    }

    #[test]
    fn what_does_not_fit_is_not_added() {
        let mut annotations = of(&[("a", "1")]).expect("annotations");
        assert!(annotations.try_insert("b", "2"));
        assert!(!annotations.try_insert("a", "3") && !annotations.try_insert("c d", "4"));
        let half = "v".repeat(ANNOTATION_VALUE_MAX_BYTES);
        assert!(annotations.try_insert("c", &half) && !annotations.try_insert("d", &half), "no room");
        assert_eq!(annotations.iter().map(|(key, _)| key).collect::<Vec<_>>(), ["a", "b", "c"]);
    }

    #[test]
    fn they_are_written_in_order_and_read_without_doubt() {
        let annotations = of(&[("b", "2"), ("B", "3"), ("a", "1")]).expect("annotations");
        let text = serde_json::to_string(&annotations).expect("JSON");
        assert_eq!(text, r#"{"B":"3","a":"1","b":"2"}"#);
        assert_eq!(serde_json::from_str::<Annotations>(&text).ok(), Some(annotations));
        for other in [r#"{"a":"1","a":"1"}"#, r#"{"a":1}"#, r#"{"a":null}"#, r#"[["a","1"]]"#, r#"{"a b":""}"#, "null"]
        {
            assert!(serde_json::from_str::<Annotations>(other).is_err(), "{other}");
        }
    }
}
