//! GetVersion: every version that was accepted stays readable.

use super::use_cases::Policies;
use crate::domain::Result;
use crate::domain::lifecycle;
use crate::domain::name::VersionName;
use crate::domain::version::VersionWithContent;
use crate::service::context::Context;

impl Policies {
    /// Returns a version.
    ///
    /// # Errors
    /// `VERSION_NOT_FOUND`, `POLICY_NOT_FOUND`, `NO_ACTIVE_VERSION`, `DATA_LOSS`.
    pub async fn get_version(&self, context: &Context, name: &VersionName, full: bool) -> Result<VersionWithContent> {
        let tx = self.log.store.read().await?;
        let (policy, version) = self.log.resolve_version(&tx, name).await?;
        let active = policy.active_version == version.number;
        let content = if full { Some(self.log.read_content(&tx, &version).await?) } else { None };
        let approvals = self.read_approvals(&tx, &version).await?;
        let approvals = lifecycle::counting(&policy, &version, &approvals, context.now);
        Ok(VersionWithContent { version, content, active, approvals })
    }
}
