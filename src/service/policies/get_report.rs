//! GetValidationReport: what the last checks of a version found.

use super::use_cases::Policies;
use crate::domain::Result;
use crate::domain::name::VersionName;
use crate::domain::report::Report;
use crate::domain::version::Version;

impl Policies {
    /// Returns the report of the last checks of a version.
    ///
    /// # Errors
    /// `REPORT_NOT_FOUND`, `VERSION_NOT_FOUND`.
    pub async fn get_report(&self, name: &VersionName) -> Result<(Version, Report)> {
        let tx = self.log.store.read().await?;
        let (_, version) = self.log.resolve_version(&tx, name).await?;
        let report = tx.report(&version.policy, version.number).await?;
        Ok((version, report))
    }
}
