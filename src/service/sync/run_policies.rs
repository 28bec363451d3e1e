//! The versions under which a run ran, proven by the log.

use std::collections::BTreeSet;

use super::use_cases::Sync;
use crate::domain::bundle::ActiveEntry;
use crate::domain::event::Cursor;
use crate::domain::lifecycle;
use crate::domain::name::{PolicyId, PolicyName};
use crate::domain::outcome::Namespace;
use crate::domain::run::RunPolicy;
use crate::domain::{Error, Reason, Result};
use crate::store::ReadTx;
use crate::watch::Verify as _;

/// Number of policies that are looked up one by one. More: each takes some queries. Fewer: the whole active set is read for a few of them.
const POLICIES_ONE_BY_ONE_MAX: usize = 8;

impl Sync {
    /// Returns the versions of a run at a cursor of the log, proven, in byte order of the policies; the whole active set when no policies
    /// are named.
    ///
    /// # Errors
    /// `NO_ACTIVE_VERSION`, `POLICY_NOT_FOUND`, `DATA_LOSS`.
    pub(super) async fn run_policies_at(
        &self,
        tx: &ReadTx,
        found: &Namespace,
        policies: &BTreeSet<PolicyId>,
        cursor: Cursor,
    ) -> Result<Vec<RunPolicy>> {
        if (1..=POLICIES_ONE_BY_ONE_MAX).contains(&policies.len()) {
            return self.run_policies_one_by_one(tx, found, policies, cursor).await;
        }
        let mut active = self.log.read_set_in_force(tx, found, cursor).await?;
        if !policies.is_empty() {
            active.retain(|(policy, _)| policies.contains(policy));
            let there: BTreeSet<PolicyId> = active.iter().map(|(policy, _)| policy.clone()).collect();
            if let Some(missing) = policies.difference(&there).next() {
                return Err(not_active(tx, found, missing).await);
            }
        } else if active.is_empty() {
            let name = found.id.name();
            return Err(
                Error::new(Reason::NoActiveVersion, format!("nothing was active in {name} at that cursor")).about(name)
            );
        }
        let policy = |(policy, entry): (PolicyId, ActiveEntry)| RunPolicy {
            policy,
            version: entry.version,
            digest: entry.digest,
            activation_revision: entry.activation.revision,
        };
        Ok(active.into_iter().map(policy).collect())
    }

    async fn run_policies_one_by_one(
        &self,
        tx: &ReadTx,
        found: &Namespace,
        policies: &BTreeSet<PolicyId>,
        cursor: Cursor,
    ) -> Result<Vec<RunPolicy>> {
        let mut active = Vec::with_capacity(policies.len());
        for policy in policies {
            let name = PolicyName { namespace: found.id.clone(), policy: policy.clone() };
            let Some(row) = self.log.read_in_force(tx, found, &name, cursor).await? else {
                return Err(not_active(tx, found, policy).await);
            };
            let bundle = self.log.signer.active_bundle(row)?;
            let version = &bundle.bundle.version;
            active.push(RunPolicy {
                policy: policy.clone(),
                version: version.number,
                digest: version.digest.clone(),
                activation_revision: bundle.activation.revision,
            });
        }
        Ok(active)
    }
}

/// Returns why a run can't name a policy: it does not exist, or is not active.
async fn not_active(tx: &ReadTx, found: &Namespace, policy: &PolicyId) -> Error {
    let name = PolicyName { namespace: found.id.clone(), policy: policy.clone() };
    tx.policy(&name).await.err().unwrap_or_else(|| lifecycle::no_active(&name))
}
