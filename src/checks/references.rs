//! References in contents: the members that hold one, what each names, and the value that it leads to.
//!
//! Invariant: the number of references of a content, the work for each and what is quoted of them are bounded.

use serde_json::Value;

use super::parse_failure::{push_token, shortened};
use crate::domain::limits::REFERENCES_MAX;
use crate::domain::name::PolicyId;

/// The members of a content that hold references.
#[derive(Debug, Default, PartialEq)]
pub(super) struct References {
    /// The first `REFERENCES_MAX` of them.
    pub(super) members: Vec<ReferenceMember>,
    /// Whether there are more.
    pub(super) has_more: bool,
}

/// A member that holds a reference.
#[derive(Debug, PartialEq)]
pub(super) struct ReferenceMember {
    /// JSON Pointer of the member, or of its nearest ancestor whose pointer is short enough.
    pub(super) pointer: String,
    /// Its text, shortened; empty when it is no text.
    pub(super) text: String,
    /// What it refers to, or why it is no reference.
    pub(super) reference: Result<Reference, String>,
}

/// A place in a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    /// The policy in whose active version it is; none: in the same content.
    pub(super) policy: Option<PolicyId>,
    /// The place, as a JSON Pointer (RFC 6901).
    pub(super) place: String,
}

/// A step from a value to one in it.
enum PathStep<'a> {
    Item(usize),
    Member(&'a str),
}

impl References {
    /// Finds the references of a document: the members with one of these names, at any depth.
    pub(super) fn find(document: &Value, keys: &[&str]) -> Self {
        let mut found = Self::default();
        found.walk(document, keys, &mut Vec::new());
        found
    }

    /// Goes through a value. The parsers bound its depth.
    fn walk<'a>(&mut self, value: &'a Value, keys: &[&str], path: &mut Vec<PathStep<'a>>) {
        match value {
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    path.push(PathStep::Item(index));
                    self.walk(item, keys, path);
                    path.pop();
                }
            }
            Value::Object(members) => {
                for (key, member) in members {
                    path.push(PathStep::Member(key));
                    if keys.contains(&key.as_str()) {
                        self.add(member, path);
                    }
                    self.walk(member, keys, path);
                    path.pop();
                }
            }
            _ => {}
        }
    }

    fn add(&mut self, value: &Value, path: &[PathStep<'_>]) {
        if self.members.len() == REFERENCES_MAX {
            self.has_more = true;
            return;
        }
        let mut pointer = String::new();
        for step in path {
            let is_short = match step {
                PathStep::Item(index) => push_token(&mut pointer, &index.to_string()),
                PathStep::Member(key) => push_token(&mut pointer, key),
            };
            if !is_short {
                break;
            }
        }
        let text = value.as_str();
        let reference = text.map_or_else(|| Err("is not a text".to_owned()), Reference::parse);
        self.members.push(ReferenceMember { pointer, text: shortened(text.unwrap_or_default()), reference });
    }

    /// Returns the other policies that they name.
    pub(super) fn policies(&self) -> impl Iterator<Item = &PolicyId> {
        self.members.iter().filter_map(|member| member.reference.as_ref().ok()?.policy.as_ref())
    }
}

impl Reference {
    /// Reads a reference: `#`, `#/a/b`, or either of them behind the id of a policy.
    fn parse(text: &str) -> Result<Self, String> {
        let (policy, fragment) = text.split_once('#').ok_or("has no #")?;
        let policy = match policy {
            "" => None,
            id => Some(PolicyId::parse("policy", id).map_err(|_| "names no id of a policy before its #")?),
        };
        let place = decode(fragment).ok_or("has a % without the two hex digits of a character after it")?;
        if !place.is_empty() && !place.starts_with('/') {
            return Err("has something else than / after its #".to_owned());
        }
        // RFC 6901 §3.
        if place.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1'])) {
            return Err("has a ~ that is neither ~0 nor ~1".to_owned());
        }
        Ok(Self { policy, place })
    }

    /// Checks that the place is in a document.
    ///
    /// # Errors
    /// Returns the pointer, shortened, of the first value on the way that is not there.
    pub(super) fn resolve_in(&self, document: &Value) -> Result<(), String> {
        if document.pointer(&self.place).is_some() {
            return Ok(());
        }
        let ends = self.place.char_indices().skip(1).filter(|(_, letter)| *letter == '/').map(|(at, _)| at);
        let mut ways = ends.filter_map(|end| self.place.get(..end));
        // The depth of a document is bounded, and so is the number of these steps.
        let missing = ways.find(|way| document.pointer(way).is_none());
        Err(shortened(missing.unwrap_or(&self.place)))
    }
}

/// Decodes the escapes of a URI fragment (RFC 3986 §2.1; RFC 6901 §6); none when it is malformed.
fn decode(fragment: &str) -> Option<String> {
    let mut parts = fragment.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(document: &Value, keys: &[&str]) -> Vec<(String, String)> {
        let found = References::find(document, keys);
        found.members.into_iter().map(|member| (member.pointer, member.text)).collect()
    }

    #[test]
    fn members_with_the_names_are_found_at_any_depth() {
        let document = json!({"see": "#", "a/b": [{"see": "p#/x"}, {"seen": "#/no"}], "c": {"see": {"see": "#/c"}}});
        let expected = [("/see", "#"), ("/a~1b/0/see", "p#/x"), ("/c/see", ""), ("/c/see/see", "#/c")];
        let mut found = texts(&document, &["see"]);
        found.sort();
        let mut expected = expected.map(|(pointer, text)| (pointer.to_owned(), text.to_owned()));
        expected.sort();
        assert_eq!(found, expected);
        assert_eq!(texts(&document, &["other"]), []);
    }

    #[test]
    fn references_are_bounded() {
        let of = |count: usize| References::find(&json!(vec![json!({"see": "#"}); count]), &["see"]);
        assert!(!of(REFERENCES_MAX).has_more);
        let over = of(REFERENCES_MAX + 1);
        assert_eq!((over.members.len(), over.has_more), (REFERENCES_MAX, true));
    }

    #[test]
    fn a_reference_is_a_policy_and_a_place() {
        let parsed =
            |text: &str| Reference::parse(text).map(|found| (found.policy.map(|id| id.to_string()), found.place));
        let of = |policy: &str, place: &str| Ok(((!policy.is_empty()).then(|| policy.to_owned()), place.to_owned()));
        assert_eq!(parsed("#"), of("", ""));
        assert_eq!(parsed("#/a/b"), of("", "/a/b"));
        assert_eq!(parsed("pricing#/a/0"), of("pricing", "/a/0"));
        assert_eq!(parsed("pricing#"), of("pricing", ""));
        assert_eq!(parsed("#/a%20b/%c3%A9/~0~1/c#d"), of("", "/a b/é/~0~1/c#d"));
        for (text, why) in [
            ("", "has no #"),
            ("/a/b", "has no #"),
            ("#a", "has something else than / after its #"),
            ("Pricing#/a", "names no id of a policy before its #"),
            ("https://example.com/x#/a", "names no id of a policy before its #"),
            ("#/~2", "has a ~ that is neither ~0 nor ~1"),
            ("#/~", "has a ~ that is neither ~0 nor ~1"),
            ("#/%", "has a % without the two hex digits of a character after it"),
            ("#/%+1", "has a % without the two hex digits of a character after it"),
            ("#/%é", "has a % without the two hex digits of a character after it"),
            ("#/%ff", "has a % without the two hex digits of a character after it"),
        ] {
            assert_eq!(parsed(text), Err(why.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_place_is_there_or_the_first_that_is_missing_is_named() {
        let document = json!({"a": {"b": [1, {"c": null}]}, "": {"": 2}, "m~n": 3, "x/y": 4});
        let missing = |text: &str| Reference::parse(text).expect(text).resolve_in(&document).err();
        for text in ["#", "#/a", "#/a/b/1/c", "#/", "#//", "#/m~0n", "#/x~1y"] {
            assert_eq!(missing(text), None, "{text}");
        }
        for (text, first) in [
            ("#/b", "/b"),
            ("#/a/x/y/z", "/a/x"),
            ("#/a/b/2", "/a/b/2"),
            ("#/a/b/01", "/a/b/01"),
            ("#/a/b/-", "/a/b/-"),
            ("#/a/b/0/c", "/a/b/0/c"),
        ] {
            assert_eq!(missing(text).as_deref(), Some(first), "{text}");
        }
        let long = format!("#{}", "/a".repeat(100_000));
        assert_eq!(missing(&long).as_deref(), Some("/a/a"));
    }
}
