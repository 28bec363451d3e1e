//! How many runtimes are live, and how far the last move of each pointer has come.

use std::collections::BTreeSet;

use super::use_cases::Sync;
use crate::domain::Result;
use crate::domain::fleet::FleetCounts;
use crate::domain::name::{NamespaceId, PolicyId};
use crate::watch::ActiveView;

impl Sync {
    /// Counts the subscribers of a namespace, all of them by one read. The counts of pointers are those of `shown`, and of those that
    /// somebody rejects.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`.
    pub async fn count_fleet(
        &self,
        namespace: &NamespaceId,
        active: &ActiveView,
        shown: &BTreeSet<PolicyId>,
    ) -> Result<FleetCounts> {
        let snapshot = self.read_snapshot(namespace).await?;
        let recent = self.with_unwritten_reports(namespace, snapshot.recent.clone());
        let pointers = active.bundles().map(|each| (&each.bundle.version.policy.policy, each.activation));
        Ok(FleetCounts::count(&recent, pointers, shown, snapshot.offline, snapshot.now))
    }
}
