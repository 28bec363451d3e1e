//! Parses versions as they are written on the command line: `POLICY@3`, `POLICY@v1.2.0`, `POLICY@active`, `POLICY@latest`, and the
//! git tag `POLICY/v1.2.0`.
//!
//! Parsed before anything is sent: an invalid name is a usage error.

use std::fmt;
use std::str::FromStr;

use anyhow::Context as _;

use crate::cli::exit_code::UsageError;
use crate::client::name::{NamespaceId, PolicyId, PolicyName, VersionName, VersionRef};
use crate::client::pb::activate_target::To;
use crate::client::{Client, Cursor, pb};

/// A policy, and optionally one of its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyOrVersionTarget {
    /// The policy.
    pub policy: PolicyId,
    /// The version, when one is named.
    pub version: Option<VersionRef>,
}

/// A policy and one of its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionTarget {
    /// The policy.
    pub policy: PolicyId,
    /// The version.
    pub version: VersionRef,
}

/// A version whose policy is another argument: `3`, `v1.2.0`, `active`, `latest`, or a tag of the same policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedVersion {
    /// The policy of a tag.
    policy: Option<PolicyId>,
    version: VersionRef,
}

impl NamedVersion {
    /// Returns the version, of this policy.
    ///
    /// # Errors
    /// The version is a tag of another policy.
    pub fn of(&self, policy: &PolicyId) -> Result<VersionTarget, UsageError> {
        match &self.policy {
            Some(other) if other != policy => {
                Err(UsageError(format!("{other}/{} is a version of {other}, not of {policy}", self.version)))
            }
            _ => Ok(VersionTarget { policy: policy.clone(), version: self.version.clone() }),
        }
    }
}

impl PolicyOrVersionTarget {
    /// Returns the full name: of the version when one is named, else of the policy.
    #[must_use]
    pub fn name(&self, namespace: &NamespaceId) -> String {
        match &self.version {
            Some(version) => version_name(namespace, &self.policy, version),
            None => policy_name(namespace, &self.policy),
        }
    }
}

impl VersionTarget {
    /// Returns the full name.
    #[must_use]
    pub fn name(&self, namespace: &NamespaceId) -> String {
        version_name(namespace, &self.policy, &self.version)
    }

    /// Returns the number: as written, or read from the server when it is a label or a pointer.
    pub async fn number(&self, client: &Client, namespace: &NamespaceId) -> anyhow::Result<i64> {
        if let VersionRef::Number(number) = self.version {
            return Ok(number);
        }
        let request = pb::GetVersionRequest { name: self.name(namespace), view: pb::VersionView::Basic.into() };
        let response = client.get_version(request).await.with_context(|| format!("failed to find {self}"))?;
        Ok(response.version.unwrap_or_default().version)
    }

    /// Returns the destination of a pointer: the server resolves a label itself.
    pub async fn destination(&self, client: &Client, namespace: &NamespaceId) -> anyhow::Result<To> {
        match &self.version {
            VersionRef::Label(label) => Ok(To::Label(label.to_string())),
            _ => Ok(To::Version(self.number(client, namespace).await?)),
        }
    }
}

/// Returns the full name of a policy.
#[must_use]
pub fn policy_name(namespace: &NamespaceId, policy: &PolicyId) -> String {
    PolicyName { namespace: namespace.clone(), policy: policy.clone() }.to_string()
}

/// Returns the full name of a version.
#[must_use]
pub fn version_name(namespace: &NamespaceId, policy: &PolicyId, version: &VersionRef) -> String {
    let policy = PolicyName { namespace: namespace.clone(), policy: policy.clone() };
    VersionName { policy, version: version.clone() }.to_string()
}

/// Parses a cursor: `1:42`.
pub fn parse_cursor(text: &str) -> Result<Cursor, String> {
    let parsed = text
        .split_once(':')
        .and_then(|(epoch, revision)| Some((epoch.parse::<u32>().ok()?, revision.parse::<u64>().ok()?)));
    let (epoch, revision) = parsed.ok_or("must be EPOCH:REVISION, such as 1:42")?;
    let revision = i64::try_from(revision).map_err(|_| "revision is too large")?;
    Ok(Cursor { epoch: i64::from(epoch), revision })
}

/// Parses an event of a log: `42`, or `1:42` with its epoch. Epoch 0 stands for any epoch.
pub fn revision(text: &str) -> Result<Cursor, String> {
    if text.contains(':') {
        parse_cursor(text)
    } else {
        parse_cursor(&format!("0:{text}")).map_err(|_| "must be a revision".to_owned())
    }
}

/// Parses a policy id.
pub fn policy_id(text: &str) -> Result<PolicyId, String> {
    PolicyId::parse("policy", text).map_err(|error| error.message)
}

fn version_ref(text: &str) -> Result<VersionRef, String> {
    VersionRef::parse("version", text).map_err(|error| error.message)
}

/// Parses the tag of a version: `pricing/v1.2.0`. A number or a pointer is no tag.
fn tag(policy: &str, version: &str) -> Result<(PolicyId, VersionRef), String> {
    match (policy_id(policy)?, version_ref(version)?) {
        (policy, version @ VersionRef::Label(_)) => Ok((policy, version)),
        (policy, version) => Err(format!("must be {policy}@{version}, or a tag such as {policy}/v1.2.0")),
    }
}

/// Returns the last part of a name, which is shown to people.
#[must_use]
pub fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// Returns the policy id in the name of a version or a policy.
#[must_use]
pub fn policy_of(name: &str) -> &str {
    name.split('/').nth(3).unwrap_or(name)
}

impl FromStr for PolicyOrVersionTarget {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((policy, version)) = text.split_once('@') {
            return Ok(Self { policy: policy_id(policy)?, version: Some(version_ref(version)?) });
        }
        match text.split_once('/') {
            Some((policy, version)) => {
                tag(policy, version).map(|(policy, version)| Self { policy, version: Some(version) })
            }
            None => Ok(Self { policy: policy_id(text)?, version: None }),
        }
    }
}

impl FromStr for NamedVersion {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((policy, version)) => {
                tag(policy, version).map(|(policy, version)| Self { policy: Some(policy), version })
            }
            None => Ok(Self { policy: None, version: version_ref(text)? }),
        }
    }
}

impl FromStr for VersionTarget {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let PolicyOrVersionTarget { policy, version } = text.parse()?;
        let version = version.ok_or_else(|| format!("say which version: {policy}@3, @v1.2.0, @active or @latest"))?;
        Ok(Self { policy, version })
    }
}

impl fmt::Display for PolicyOrVersionTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(f, "{}@{version}", self.policy),
            None => self.policy.fmt(f),
        }
    }
}

impl fmt::Display for VersionTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.policy, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_become_full_names() {
        let namespace = NamespaceId::parse("namespace", "team").expect("an id");
        for (text, name) in [
            ("pricing", "namespaces/team/policies/pricing"),
            ("pricing@3", "namespaces/team/policies/pricing/versions/3"),
            ("pricing@v1.2.0", "namespaces/team/policies/pricing/versions/v1.2.0"),
            ("pricing@active", "namespaces/team/policies/pricing/versions/active"),
            ("project_discovery@v1.2.0", "namespaces/team/policies/project_discovery/versions/v1.2.0"),
        ] {
            let target: PolicyOrVersionTarget = text.parse().expect(text);
            assert_eq!(target.name(&namespace), name);
            assert_eq!(target.to_string(), text);
        }
        let tag: PolicyOrVersionTarget = "pricing/v1.2.0".parse().expect("a tag");
        assert_eq!(tag.to_string(), "pricing@v1.2.0");
    }

    #[test]
    fn a_tag_beside_a_policy_is_one_of_it() {
        let policy = policy_id("pricing").expect("an id");
        for (text, version) in [("3", "3"), ("v1.2.0", "v1.2.0"), ("active", "active"), ("pricing/v1.2.0", "v1.2.0")] {
            let named: NamedVersion = text.parse().expect(text);
            assert_eq!(named.of(&policy).expect(text).to_string(), format!("pricing@{version}"));
        }
        let other: NamedVersion = "limits/v1.2.0".parse().expect("a tag");
        assert_eq!(other.of(&policy).expect_err("another").0, "limits/v1.2.0 is a version of limits, not of pricing");
    }

    #[test]
    fn names_that_can_not_be_are_refused() {
        for text in [
            "",
            "@3",
            "pricing@",
            "pricing@3@4",
            "Pricing",
            "pricing@1.2.0",
            "a/b",
            "a/3",
            "a/latest",
            "a/v1.0.0@3",
            "a/v1",
        ] {
            assert!(text.parse::<PolicyOrVersionTarget>().is_err(), "{text:?}");
        }
        assert!("pricing".parse::<VersionTarget>().is_err_and(|error| error.contains("pricing@3")));
    }

    #[test]
    fn cursors_are_written_with_both_numbers() {
        assert_eq!(parse_cursor("1:42"), Ok(Cursor { epoch: 1, revision: 42 }));
        for bad in ["42", ":42", "1:", "-1:3", "1:-3", "1:2:3", "1:99999999999999999999"] {
            assert!(parse_cursor(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_shown_short() {
        let name = "namespaces/team/policies/pricing/versions/3";
        assert_eq!((policy_of(name), short(name)), ("pricing", "3"));
    }
}
