//! How many runtimes are live, and how far the last move of each pointer has come.

use std::collections::BTreeMap;

use super::use_cases::Sync;
use crate::domain::Result;
use crate::domain::event::Cursor;
use crate::domain::fleet::FleetCounts;
use crate::domain::name::{NamespaceId, PolicyId};

impl Sync {
    /// Counts the subscribers of a namespace. `pointers` has the event that moved each pointer last. All of them are counted by one read.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`.
    pub async fn count_fleet(
        &self,
        namespace: &NamespaceId,
        pointers: &BTreeMap<PolicyId, Cursor>,
    ) -> Result<FleetCounts> {
        let snapshot = self.read_snapshot(namespace).await?;
        let recent = self.with_unwritten_reports(namespace, snapshot.recent.clone());
        Ok(FleetCounts::count(&recent, pointers, snapshot.offline, snapshot.now))
    }
}
