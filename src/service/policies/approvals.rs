//! The approvals of a version, proven by the log.

use std::collections::BTreeMap;

use super::use_cases::Policies;
use crate::domain::Result;
use crate::domain::approval::Approval;
use crate::domain::lifecycle;
use crate::domain::lifecycle::Review;
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::policy::Policy;
use crate::domain::time::Micros;
use crate::domain::version::{Version, VersionState};
use crate::store::ReadTx;

impl Policies {
    /// Reads every approval of a version, whether it still counts or not.
    ///
    /// # Errors
    /// `DATA_LOSS` when a row does not match its event.
    pub(super) async fn read_approvals(&self, tx: &ReadTx, version: &Version) -> Result<Vec<Approval>> {
        let found = self.read_approvals_of(tx, &version.policy.namespace, std::slice::from_ref(version)).await?;
        Ok(found.into_values().next().unwrap_or_default())
    }

    /// Returns the proven approvals that allow activating a version: needed for the first activation of a version that another store
    /// published.
    ///
    /// # Errors
    /// `APPROVALS_MISSING`, `DATA_LOSS`.
    pub(super) async fn approvals_for_activation(
        &self,
        tx: &ReadTx,
        policy: &Policy,
        version: &Version,
        now: Micros,
    ) -> Result<Vec<Approval>> {
        if !version.is_imported() || policy.settings.required_approvals == 0 {
            return Ok(Vec::new());
        }
        let approvals = self.read_approvals(tx, version).await?;
        let was_active = self.log.was_active(tx, &version.policy, version.number).await?;
        let counted = lifecycle::reviewed(policy, version, Review { approvals: &approvals, was_active, now })?;
        Ok(counted.iter().map(Approval::for_log).collect())
    }

    /// Reads the approvals of several versions of a namespace, by policy and number. Only versions that are staged, or that were imported as
    /// published, have any.
    pub(super) async fn read_approvals_of(
        &self,
        tx: &ReadTx,
        namespace: &NamespaceId,
        versions: &[Version],
    ) -> Result<BTreeMap<(PolicyId, i64), Vec<Approval>>> {
        let is_reviewed = |version: &&Version| version.state == VersionState::Staged || version.is_imported();
        let reviewed = versions.iter().filter(is_reviewed).map(|version| (&version.policy.policy, version.number));
        let (reviewed, mut approvals) = (Vec::from_iter(reviewed), BTreeMap::<_, Vec<Approval>>::new());
        if reviewed.is_empty() {
            return Ok(approvals);
        }
        for row in tx.approvals(namespace, &reviewed).await? {
            let key = (row.policy.policy.clone(), row.version);
            approvals.entry(key).or_default().push(self.log.signer.approval(row)?);
        }
        Ok(approvals)
    }
}
