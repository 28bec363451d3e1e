//! GetPolicy.

use super::use_cases::Policies;
use crate::domain::Result;
use crate::domain::name::PolicyName;
use crate::domain::pointed_policy::PointedPolicy;
use crate::domain::policy::Policy;
use crate::store::ReadTx;

impl Policies {
    /// Reads a policy, with the event that moved its pointer last.
    ///
    /// # Errors
    /// `POLICY_NOT_FOUND`, `NAMESPACE_NOT_FOUND`, `DATA_LOSS`.
    pub async fn get_policy(&self, name: &PolicyName) -> Result<PointedPolicy> {
        let tx = self.log.store.read().await?;
        let policy = tx.policy(name).await?;
        self.add_activation(&tx, policy).await
    }

    /// Adds the event that moved the pointer of a policy last.
    pub(super) async fn add_activation(&self, tx: &ReadTx, policy: Policy) -> Result<PointedPolicy> {
        let activation = match policy.active_revision {
            0 => None,
            revision => self.log.read_positions(tx, &policy.name.namespace, &[revision]).await?.remove(&revision),
        };
        Ok(PointedPolicy { policy, activation })
    }
}
