//! GetVersion: every version that was accepted stays readable.

use bytes::Bytes;

use super::use_cases::Policies;
use crate::domain::Result;
use crate::domain::approval::Approval;
use crate::domain::lifecycle;
use crate::domain::name::VersionName;
use crate::domain::version::Version;
use crate::service::context::Context;

/// A version, with its content if requested.
#[derive(Debug, Clone)]
pub struct VersionWithContent {
    /// The version.
    pub version: Version,
    /// The content.
    pub content: Option<Bytes>,
    /// Whether the policy points to it.
    pub active: bool,
    /// The approvals that count now.
    pub approvals: Vec<Approval>,
}

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
