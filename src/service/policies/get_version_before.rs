//! The version to which a rollback returns, for those who show it before it is done.

use super::use_cases::Policies;
use crate::domain::name::PolicyName;
use crate::domain::version::Version;
use crate::domain::{Reason, Result};

impl Policies {
    /// Returns the version to which a rollback returns when it names none; none when there is none.
    ///
    /// # Errors
    /// `POLICY_NOT_FOUND`, `DATA_LOSS`.
    pub async fn get_version_before(&self, name: &PolicyName) -> Result<Option<Version>> {
        let tx = self.log.store.read().await?;
        let policy = tx.policy(name).await?;
        match self.find_version_before(&tx, &policy).await {
            Ok(number) => tx.version(name, number).await.map(Some),
            Err(error) if error.reason == Reason::NoPreviousVersion => Ok(None),
            Err(error) => Err(error),
        }
    }
}
