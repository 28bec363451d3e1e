//! Sets for tests. Their proofs are plain text, since only the watcher verifies proofs.

use std::path::Path;
use std::sync::Arc;

use crate::cli::agent::folder::Folder;
use crate::cli::agent::set::Candidate;
use crate::client::name::{NamespaceId, PolicyId};
use crate::client::{ActivePolicy, Cursor, unverified_policy};

/// Returns the namespace of all sets.
pub fn namespace() -> NamespaceId {
    NamespaceId::parse("namespace", "default").expect("an id")
}

/// Returns a policy whose content names its version.
pub fn policy(id: &str, version: i64, content_type: &str) -> Arc<ActivePolicy> {
    let content = format!("{id} {version}\n").into_bytes();
    let mut policy = unverified_policy(PolicyId::parse("policy", id).expect("an id"), version, &content);
    policy.label = format!("{version}.0.0");
    policy.content_type = content_type.to_owned();
    policy.content = Some(content.into());
    policy.manifest = format!("manifest of {id} {version}");
    policy.activated = Cursor { epoch: 1, revision: version };
    Arc::new(policy)
}

/// Returns a set at a revision, from policies and their versions.
pub fn set(revision: i64, policies: &[(&str, i64)]) -> Candidate {
    let policies = policies.iter().map(|(id, version)| policy(id, *version, "application/yaml")).collect();
    Candidate::new(namespace(), Cursor { epoch: 1, revision }, policies).expect("a set")
}

/// Returns a folder that keeps three sets.
pub fn folder(directory: &Path) -> Folder {
    Folder::open(directory, 3).expect("a folder")
}
