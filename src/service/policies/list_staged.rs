//! The staged versions of a namespace, for those who approve them.

use std::collections::{BTreeMap, BTreeSet};

use super::use_cases::Policies;
use crate::domain::Result;
use crate::domain::approval::Approval;
use crate::domain::lifecycle;
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::policy::Policy;
use crate::domain::version::Version;
use crate::service::context::Context;

/// Most versions of one answer.
const STAGED_MAX: u64 = 50;

/// A version that is staged, and how far its approvals are.
#[derive(Debug, Clone)]
pub struct StagedVersion {
    /// The version.
    pub version: Version,
    /// The version that is active; 0: none.
    pub active_version: i64,
    /// Approvals that Publish needs.
    pub required_approvals: u32,
    /// The approvals that count now.
    pub approvals: Vec<Approval>,
}

impl Policies {
    /// Returns the staged versions of a namespace, those that wait longest first, at most 50.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `DATA_LOSS`.
    pub async fn list_staged(&self, context: &Context, namespace: &NamespaceId) -> Result<Vec<StagedVersion>> {
        let tx = self.log.store.read().await?;
        tx.namespace(namespace).await?;
        let versions = tx.staged_versions(namespace, STAGED_MAX).await?;
        let ids: BTreeSet<&PolicyId> = versions.iter().map(|version| &version.policy.policy).collect();
        let policies = tx.policies_named(namespace, &Vec::from_iter(ids)).await?;
        let mut approvals = self.read_approvals_of(&tx, namespace, &versions).await?;
        let policies: BTreeMap<&PolicyId, &Policy> =
            policies.iter().map(|policy| (&policy.name.policy, policy)).collect();
        let staged = versions.into_iter().filter_map(|version| {
            let policy = policies.get(&version.policy.policy)?;
            let given = approvals.remove(&(version.policy.policy.clone(), version.number)).unwrap_or_default();
            Some(StagedVersion {
                active_version: policy.active_version,
                required_approvals: policy.settings.required_approvals,
                approvals: lifecycle::counting(policy, &version, &given, context.now),
                version,
            })
        });
        Ok(staged.collect())
    }
}
