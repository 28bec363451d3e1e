//! Resource names (AIP-122) and the ids they are made of.
//!
//! Parsed once at the edge; inside, an id that exists is an id that is well formed.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::error::{Error, Reason, Result};
use super::label::Label;
use super::limits::ID_MAX_CHARS;

/// The namespace of changes that belong to no tenant.
pub const SYSTEM_NAMESPACE: &str = "system";

/// Id of a namespace: `^[a-z]([a-z0-9_-]{0,61}[a-z0-9])?$`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NamespaceId(String);

/// Id of a policy, by the same grammar.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PolicyId(String);

/// A policy in its namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PolicyName {
    /// The tenant.
    pub namespace: NamespaceId,
    /// The policy.
    pub policy: PolicyId,
}

/// Which version a caller means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum VersionRef {
    /// It names a version by number, from 1.
    Number(i64),
    /// The one in force.
    Active,
    /// The one with the highest number.
    Latest,
    /// It names a version by label, written `v1.5.0`.
    Label(Label),
}

/// A version a caller named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionName {
    /// Its policy.
    pub policy: PolicyName,
    /// The version of it.
    pub version: VersionRef,
}

/// A policy, or one version of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum PolicyOrVersion {
    /// The one open draft of a policy.
    Policy(PolicyName),
    /// Exactly this version.
    Version(VersionName),
}

fn is_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    bytes.len() <= ID_MAX_CHARS
        && first.is_ascii_lowercase()
        && !b"_-".contains(last)
        && bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(byte))
}

/// States the rule for ids that clients choose, for errors. None of its characters needs an escape in a resource name (RFC 3986 §2.3, and ':').
pub const FOREIGN_ID_RULE: &str = "characters of A-Z a-z 0-9 . _ ~ : -";

/// Returns whether a text can be an id that somebody else gives out, of at most `max_chars`.
#[must_use]
pub fn is_foreign_id(text: &str, max_chars: usize) -> bool {
    (1..=max_chars).contains(&text.len()) && text.bytes().all(is_unreserved)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'~' | b':' | b'-')
}

/// Describes the violation of a version named by `latest` or `active`, which may mean another version by the time it is done.
pub const INEXACT_VERSION: &str = "must name the version by its number or label";

/// Takes the name of a member of a collection of a namespace, `namespaces/{namespace}/{collection}/{id}`. Returns both ids.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub(super) fn parse_member<'a>(field: &str, text: &'a str, collection: &str) -> Result<(NamespaceId, &'a str)> {
    match text.split('/').collect::<Vec<_>>().as_slice() {
        ["namespaces", namespace, found, id] if *found == collection => Ok((NamespaceId::parse(field, namespace)?, id)),
        _ => Err(Error::invalid_text(field, text, format!("must be namespaces/{{namespace}}/{collection}/{{id}}"))),
    }
}

const ID_RULE: &str = "must match ^[a-z]([a-z0-9_-]{0,61}[a-z0-9])?$";

impl NamespaceId {
    /// Takes an id; `field` is named in the error.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        if is_id(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::invalid_text(field, text, format!("namespace id {ID_RULE}")))
        }
    }

    /// Takes `namespaces/{namespace}`.
    pub fn parse_name(field: &str, name: &str) -> Result<Self> {
        match name.split('/').collect::<Vec<_>>().as_slice() {
            ["namespaces", id] if !id.is_empty() => Self::parse(field, id),
            _ => Err(Error::invalid_text(field, name, "must be namespaces/{namespace}")),
        }
    }

    /// Returns the id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the reserved namespace.
    #[must_use]
    pub fn system() -> Self {
        Self(SYSTEM_NAMESPACE.to_owned())
    }

    /// Returns the error for a namespace that is not there, or that the caller may not know of.
    #[must_use]
    pub fn not_found(&self) -> Error {
        Error::new(Reason::NamespaceNotFound, format!("{} does not exist", self.name())).about(self.name())
    }

    /// Returns whether it is the reserved one.
    #[must_use]
    pub fn is_system(&self) -> bool {
        self.0 == SYSTEM_NAMESPACE
    }

    /// Returns the resource name, `namespaces/{namespace}`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("namespaces/{}", self.0)
    }
}

impl PolicyId {
    /// Takes an id; `field` is named in the error.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        if is_id(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::invalid_text(field, text, format!("policy id {ID_RULE}")))
        }
    }

    /// Takes an id, or a whole name that must lie in `namespace`.
    pub fn parse_within(field: &str, namespace: &NamespaceId, text: &str) -> Result<Self> {
        if !text.contains('/') {
            return Self::parse(field, text);
        }
        let name = PolicyName::parse(field, text)?;
        if &name.namespace == namespace {
            Ok(name.policy)
        } else {
            Err(Error::invalid(field, format!("must lie in {}", namespace.name())))
        }
    }

    /// Returns the id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PolicyName {
    /// Takes `namespaces/{namespace}/policies/{policy}`.
    pub fn parse(field: &str, name: &str) -> Result<Self> {
        match name.split('/').collect::<Vec<_>>().as_slice() {
            ["namespaces", namespace, "policies", policy] if !namespace.is_empty() && !policy.is_empty() => {
                Ok(Self { namespace: NamespaceId::parse(field, namespace)?, policy: PolicyId::parse(field, policy)? })
            }
            _ => Err(Error::invalid_text(field, name, "must be namespaces/{namespace}/policies/{policy}")),
        }
    }

    /// Returns the error for a version that is not there; `version` is as it was asked for.
    #[must_use]
    pub fn version_not_found(&self, version: impl fmt::Display) -> Error {
        let name = format!("{self}/versions/{version}");
        Error::new(Reason::VersionNotFound, format!("{name} does not exist")).about(name)
    }

    /// Returns the name of one of its versions.
    #[must_use]
    pub fn version(&self, number: i64) -> String {
        format!("{self}/versions/{number}")
    }
}

impl PolicyId {
    /// Takes a label of this policy: `1.5.0`, `v1.5.0`, or the tag `{policy}/v1.5.0`.
    pub fn parse_label(&self, field: &str, text: &str) -> Result<Label> {
        let Some((policy, version)) = text.split_once('/') else { return Label::parse(field, text) };
        if policy != self.0 {
            return Err(Error::invalid(field, format!("must be a label, or a tag of this policy: {self}/v{{label}}")));
        }
        match VersionRef::parse(field, version)? {
            VersionRef::Label(label) => Ok(label),
            _ => Err(Error::invalid(field, format!("must have a label after its slash: {self}/v{{label}}"))),
        }
    }
}

impl VersionRef {
    /// Takes the last part of a version's name.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        match text {
            "active" => return Ok(Self::Active),
            "latest" => return Ok(Self::Latest),
            _ => {}
        }
        if let Some(label) = text.strip_prefix('v') {
            // A label may be given with a `v` of its own; a version has one name.
            if label.starts_with('v') {
                return Err(Error::invalid(field, "version must have one v before its label"));
            }
            return Ok(Self::Label(Label::parse(field, label)?));
        }
        match text.parse::<i64>() {
            Ok(number) if number > 0 && number.to_string() == text => Ok(Self::Number(number)),
            _ => Err(Error::invalid(field, "version must be a number from 1, active, latest, or v{label}")),
        }
    }
}

impl VersionName {
    /// Takes `namespaces/{namespace}/policies/{policy}/versions/{version}`.
    pub fn parse(field: &str, name: &str) -> Result<Self> {
        let rule = "must be namespaces/{namespace}/policies/{policy}/versions/{version}";
        match name.split('/').collect::<Vec<_>>().as_slice() {
            parts if parts.contains(&"") => Err(Error::invalid_text(field, name, rule)),
            ["namespaces", namespace, "policies", policy, "versions", version] => Ok(Self {
                policy: PolicyName {
                    namespace: NamespaceId::parse(field, namespace)?,
                    policy: PolicyId::parse(field, policy)?,
                },
                version: VersionRef::parse(field, version)?,
            }),
            _ => Err(Error::invalid(field, rule)),
        }
    }
}

impl PolicyOrVersion {
    /// Returns the namespace that it is in.
    #[must_use]
    pub fn namespace(&self) -> &NamespaceId {
        match self {
            Self::Policy(policy) => &policy.namespace,
            Self::Version(version) => &version.policy.namespace,
        }
    }
}

impl fmt::Display for NamespaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "namespaces/{}/policies/{}", self.namespace, self.policy)
    }
}

impl fmt::Display for VersionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Active => f.write_str("active"),
            Self::Latest => f.write_str("latest"),
            Self::Label(label) => write!(f, "v{label}"),
        }
    }
}

impl fmt::Display for VersionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/versions/{}", self.policy, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_grammar() {
        let longest = "a".repeat(63);
        for good in ["a", "a1", "a-b", "a_b", "a_-_b", "z9", longest.as_str()] {
            assert!(is_id(good), "{good} must be an id");
        }
        let too_long = "a".repeat(64);
        for bad in ["", "1a", "-a", "a-", "_a", "a_", "A", "a/b", "ä", "a b", "a\n", too_long.as_str()] {
            assert!(!is_id(bad), "{bad:?} must not be an id");
        }
    }

    #[test]
    fn versions_are_named_by_number_label_and_pointer() {
        let parse = |text: &str| VersionName::parse("name", &format!("namespaces/n/policies/p/versions/{text}"));
        for good in ["1", "42", "active", "latest", "v1.5.0", "v1.0.0-rc.1+b5"] {
            assert_eq!(parse(good).map(|name| name.version.to_string()).ok().as_deref(), Some(good));
        }
        for bad in ["0", "-1", "01", "+1", "", "v1", "v", "vv1.0.0", "newest", "99999999999999999999"] {
            assert!(parse(bad).is_err(), "{bad:?} must not name a version");
        }
    }
}
