//! Quotas of stored data, checked under the lock of a namespace before a policy or a version is added.

use super::meters::QuotaMeters;
use crate::domain::limits::POLICIES_PER_NAMESPACE_MAX;
use crate::domain::policy::Policy;
use crate::domain::version::Version;
use crate::domain::{Error, Reason, Result};
use crate::store::WriteTx;

impl QuotaMeters {
    /// Inserts a policy, within the limit and the quota of its namespace.
    pub async fn insert_policy(&self, tx: &mut WriteTx, policy: &Policy) -> Result<()> {
        let namespace = &policy.name.namespace;
        if namespace.is_system() {
            return Err(Error::invalid("parent", "namespaces/system holds no policies"));
        }
        if u64::try_from(tx.usage().policies).is_ok_and(|used| used >= POLICIES_PER_NAMESPACE_MAX) {
            let message = format!("{} has {POLICIES_PER_NAMESPACE_MAX} policies, the most it can", namespace.name());
            return Err(Error::new(Reason::LimitExceeded, message).with("limit", POLICIES_PER_NAMESPACE_MAX));
        }
        self.admit_policy(namespace, tx.quotas()?, tx.usage())?;
        tx.insert_policy(policy).await
    }

    /// Checks that a new version fits into the quotas of its namespace.
    ///
    /// # Errors
    /// `QUOTA_EXCEEDED`.
    pub fn admit_new_version(&self, tx: &WriteTx, version: &Version) -> Result<()> {
        self.admit_version(&version.policy.namespace, tx.quotas()?, tx.usage(), version.size_bytes)
    }
}
