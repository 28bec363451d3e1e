//! Reads the active versions of other policies that a version names, and tells whether they are still active.

use std::collections::{BTreeMap, BTreeSet};

use super::check_input::{CheckInput, CheckKind};
use crate::checks::{OtherPolicies, OtherPolicy, ParsedInput};
use crate::domain::event::PointerChange;
use crate::domain::limits::{REFERENCED_CONTENT_MAX_BYTES, REFERENCED_POLICIES_MAX};
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::policy::{Policy, PolicyKind, is_of_several_files};
use crate::domain::report::LookedUp;
use crate::domain::version::Version;
use crate::domain::{Error, Result};
use crate::service::log::LogReader;
use crate::store::ReadTx;

/// Reads the active versions of the policies that a version refers to or requires. The pointers that its own call moves count as moved.
///
/// # Errors
/// `DATA_LOSS` when a content does not match its version.
pub async fn read_other_policies(
    log: &LogReader,
    input: &CheckInput,
    kind: CheckKind,
    parsed: &ParsedInput,
) -> Result<OtherPolicies> {
    let version = &input.bundle.version;
    let own = &version.policy.policy;
    let mut others = OtherPolicies {
        own: Some(own.clone()),
        requires: version.requires.clone(),
        is_to_be_active: kind != CheckKind::BeforePublish,
        ..OtherPolicies::default()
    };
    let mut referenced = parsed.referenced_policies();
    if referenced.len() > REFERENCED_POLICIES_MAX {
        // The check says so, and resolves nothing.
        referenced.clear();
    }
    referenced.remove(own);
    let required = version.requires.iter().map(|requirement| &requirement.policy).filter(|policy| *policy != own);
    let named: BTreeSet<&PolicyId> = referenced.iter().copied().chain(required).collect();
    if named.is_empty() {
        return Ok(others);
    }
    let tx = log.store.read().await?;
    let namespace = &version.policy.namespace;
    let named: Vec<&PolicyId> = named.into_iter().collect();
    let versions = read_active(&tx, namespace, &named, &input.moved).await?;
    let is_referenced = |version: &Version| referenced.contains(&version.policy.policy);
    let sizes = versions.iter().filter(|(_, version)| is_referenced(version)).map(|(_, version)| version.size_bytes);
    others.referenced_bytes = sizes.sum();
    others.active = named.into_iter().map(|policy| (policy.clone(), None)).collect();
    for (kind, version) in versions {
        let is_read = is_referenced(&version) && others.referenced_bytes <= REFERENCED_CONTENT_MAX_BYTES;
        let content = if is_read { Some(log.read_content(&tx, &version).await?) } else { None };
        let has_several_files = is_of_several_files(&version.content_type);
        let Version { policy, number: version, label, digest, .. } = version;
        let other = OtherPolicy { kind, has_several_files, version, label, digest, content };
        others.active.insert(policy.policy, Some(other));
    }
    Ok(others)
}

/// Reads the active versions of some policies, with the kinds of these. Policies without one are left out.
async fn read_active(
    tx: &ReadTx,
    namespace: &NamespaceId,
    named: &[&PolicyId],
    moved: &[PointerChange],
) -> Result<Vec<(PolicyKind, Version)>> {
    let policies = tx.policies_named(namespace, named).await?;
    let number = |policy: &Policy| {
        let moved = moved.iter().find(|moved| moved.policy == policy.name.policy);
        moved.map_or(policy.active_version, |moved| moved.version)
    };
    let pointed = policies.iter().map(|policy| (&policy.name.policy, number(policy)));
    let pointed: Vec<(&PolicyId, i64)> = pointed.filter(|(_, number)| *number > 0).collect();
    if pointed.is_empty() {
        return Ok(Vec::new());
    }
    let with_kind = |version: Version| {
        let policy = policies.iter().find(|policy| policy.name == version.policy);
        policy.map(|policy| (policy.kind, version)).ok_or_else(|| Error::internal("a version without its policy"))
    };
    tx.versions_named(namespace, &pointed).await?.into_iter().map(with_kind).collect()
}

/// Returns whether what a report looked up is active. The pointers that the call moves count as moved.
pub async fn is_still_active(
    tx: &ReadTx,
    namespace: &NamespaceId,
    looked_up: &[LookedUp],
    moved: &[PointerChange],
) -> Result<bool> {
    let target = |found: &LookedUp| moved.iter().find(|moved| moved.policy == found.policy);
    let is_target = |found: &&LookedUp| {
        target(found)
            .is_none_or(|moved| (moved.version, moved.digest.as_ref()) == (found.version, found.digest.as_ref()))
    };
    if !looked_up.iter().all(|found| is_target(&found)) {
        return Ok(false);
    }
    let others: Vec<&LookedUp> = looked_up.iter().filter(|found| target(found).is_none()).collect();
    if others.is_empty() {
        return Ok(true);
    }
    let policies: Vec<&PolicyId> = others.iter().map(|found| &found.policy).collect();
    let pointed: BTreeMap<PolicyId, _> = tx.pointed(namespace, &policies).await?.into_iter().collect();
    let is_same = |found: &&LookedUp| {
        let active = pointed.get(&found.policy).and_then(Option::as_ref);
        active.map(|entry| (entry.version, &entry.digest))
            == found.digest.as_ref().map(|digest| (found.version, digest))
    };
    Ok(others.iter().all(is_same))
}
