//! The events at some revisions, for those who show who moved what.

use std::collections::BTreeMap;

use super::use_cases::Archive;
use crate::domain::Result;
use crate::domain::event::Payload;
use crate::domain::name::NamespaceId;
use crate::watch::Verify as _;

/// Most revisions of one read; further ones are left out.
const REVISIONS_MAX: usize = 1_000;

impl Archive {
    /// Returns the proven events at some revisions, by revision. Revisions without an event are left out.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `DATA_LOSS`.
    pub async fn list_events_at(
        &self,
        namespace: &NamespaceId,
        revisions: impl IntoIterator<Item = i64>,
    ) -> Result<BTreeMap<i64, Payload>> {
        let mut wanted: Vec<i64> = revisions.into_iter().filter(|revision| *revision > 0).collect();
        wanted.sort_unstable();
        wanted.dedup();
        wanted.truncate(REVISIONS_MAX);
        let tx = self.log.store.read().await?;
        tx.namespace(namespace).await?;
        let events = tx.events_at(namespace, &wanted).await?.into_iter();
        events.map(|(revision, event)| Ok((revision, self.log.signer.event(&event)?))).collect()
    }
}
