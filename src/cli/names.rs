//! How versions are written on the command line: `POLICY@3`, `POLICY@v1.2.0`, `POLICY@active`, `POLICY@latest`.
//!
//! Parsed before anything is sent: a name that can't be one is a usage error.

use std::fmt;
use std::str::FromStr;

use anyhow::Context as _;

use crate::client::name::{NamespaceId, PolicyId, PolicyName, VersionName, VersionRef};
use crate::client::{Client, Cursor, pb};

/// A policy, perhaps with one of its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The policy.
    pub policy: PolicyId,
    /// The version, when one is named.
    pub version: Option<VersionRef>,
}

/// A policy with one of its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionTarget {
    /// The policy.
    pub policy: PolicyId,
    /// The version.
    pub version: VersionRef,
}

impl Target {
    /// The full name: of the version when one is named, else of the policy.
    #[must_use]
    pub fn name(&self, namespace: &NamespaceId) -> String {
        match &self.version {
            Some(version) => version_name(namespace, &self.policy, version),
            None => policy_name(namespace, &self.policy),
        }
    }
}

impl VersionTarget {
    /// The full name.
    #[must_use]
    pub fn name(&self, namespace: &NamespaceId) -> String {
        version_name(namespace, &self.policy, &self.version)
    }

    /// The number: as written, or asked of the server when it is a label or a pointer.
    pub async fn number(&self, client: &Client, namespace: &NamespaceId) -> anyhow::Result<i64> {
        if let VersionRef::Number(number) = self.version {
            return Ok(number);
        }
        let request = pb::GetVersionRequest { name: self.name(namespace), view: pb::VersionView::Basic.into() };
        let response = client.get_version(request).await.with_context(|| format!("failed to find {self}"))?;
        Ok(response.version.unwrap_or_default().version)
    }
}

/// The full name of a policy.
#[must_use]
pub fn policy_name(namespace: &NamespaceId, policy: &PolicyId) -> String {
    PolicyName { namespace: namespace.clone(), policy: policy.clone() }.to_string()
}

/// The full name of a version.
#[must_use]
pub fn version_name(namespace: &NamespaceId, policy: &PolicyId, version: &VersionRef) -> String {
    let policy = PolicyName { namespace: namespace.clone(), policy: policy.clone() };
    VersionName { policy, version: version.clone() }.to_string()
}

/// Takes a place of a log: `1:42`.
pub fn place(text: &str) -> Result<Cursor, String> {
    let parsed = text
        .split_once(':')
        .and_then(|(epoch, revision)| Some((epoch.parse::<u32>().ok()?, revision.parse::<u64>().ok()?)));
    let (epoch, revision) = parsed.ok_or("must be EPOCH:REVISION, such as 1:42")?;
    let revision = i64::try_from(revision).map_err(|_| "revision is too large")?;
    Ok(Cursor { epoch: i64::from(epoch), revision })
}

/// Takes a policy id.
pub fn policy_id(text: &str) -> Result<PolicyId, String> {
    PolicyId::parse("policy", text).map_err(|error| error.message)
}

/// Takes a version: `3`, `v1.2.0`, `active`, `latest`.
pub fn version_ref(text: &str) -> Result<VersionRef, String> {
    VersionRef::parse("version", text).map_err(|error| error.message)
}

/// The last part of a name, which is what people call it.
#[must_use]
pub fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// The policy of a version's name, or of a policy's.
#[must_use]
pub fn policy_of(name: &str) -> &str {
    name.split('/').nth(3).unwrap_or(name)
}

impl FromStr for Target {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('@') {
            Some((policy, version)) => Ok(Self { policy: policy_id(policy)?, version: Some(version_ref(version)?) }),
            None => Ok(Self { policy: policy_id(text)?, version: None }),
        }
    }
}

impl FromStr for VersionTarget {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let Target { policy, version } = text.parse()?;
        let version = version.ok_or_else(|| format!("say which version: {policy}@3, @v1.2.0, @active or @latest"))?;
        Ok(Self { policy, version })
    }
}

impl fmt::Display for Target {
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
        ] {
            let target: Target = text.parse().expect(text);
            assert_eq!(target.name(&namespace), name);
            assert_eq!(target.to_string(), text);
        }
    }

    #[test]
    fn names_that_can_not_be_are_refused() {
        for text in ["", "@3", "pricing@", "pricing@3@4", "Pricing", "pricing@1.2.0", "a/b"] {
            assert!(text.parse::<Target>().is_err(), "{text:?}");
        }
        assert!("pricing".parse::<VersionTarget>().is_err_and(|error| error.contains("pricing@3")));
    }

    #[test]
    fn places_are_written_with_both_numbers() {
        assert_eq!(place("1:42"), Ok(Cursor { epoch: 1, revision: 42 }));
        for bad in ["42", ":42", "1:", "-1:3", "1:-3", "1:2:3", "1:99999999999999999999"] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_shown_short() {
        let name = "namespaces/team/policies/pricing/versions/3";
        assert_eq!((policy_of(name), short(name)), ("pricing", "3"));
    }
}
