//! The active set as it is in memory, for those who look at all of it.

use super::use_cases::Sync;
use crate::domain::Result;
use crate::domain::name::NamespaceId;
use crate::watch::InForce;

impl Sync {
    /// Returns the active set, which was verified when it was read. It is shared, not copied.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `KEY_STATE_WRONG` for a version signed by a revoked key, `DATA_LOSS`.
    pub async fn in_force(&self, namespace: &NamespaceId) -> Result<InForce> {
        let in_force = self.log.hub.in_force(namespace).await?;
        self.log.hub.check_trusted(&in_force.view)?;
        Ok(in_force)
    }
}
