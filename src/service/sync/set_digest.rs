//! The digest of the active set at a cursor that a subscriber reports.

use super::use_cases::Sync;
use crate::domain::Result;
use crate::domain::digest::Digest;
use crate::domain::event::Cursor;
use crate::domain::name::NamespaceId;
use crate::service::log::invalid_position;
use crate::signing::active_set_digest;

impl Sync {
    /// Returns the digest of the active set at a cursor, as in its checkpoint.
    ///
    /// # Errors
    /// The same as `read_event_at`; a cursor without an epoch is refused.
    pub(super) async fn set_digest_at(&self, namespace: &NamespaceId, cursor: Cursor) -> Result<Digest> {
        let cell = self.set_digests.cell(namespace, cursor);
        let digest = cell.get_or_try_init(|| async {
            if let Some(feed) = self.log.hub.existing(namespace) {
                let (view, _) = feed.view();
                if view.head().cursor == cursor {
                    return Ok(self.log.hub.set_digest(&view));
                }
            }
            let (tx, found) = self.log.read_current(namespace).await?;
            if cursor.epoch == 0 {
                return Err(invalid_position("cursor", cursor, found.cursor, "has no epoch"));
            }
            self.log.read_event_at(&tx, &found, ("cursor", cursor.into())).await?;
            let entries = tx.active_entries(namespace, 0, cursor.revision).await?;
            let active = entries.iter().filter_map(|(policy, entry)| Some((policy, entry.as_ref()?)));
            Ok(active_set_digest(active.map(|(policy, entry)| (policy, entry.version, &entry.digest))))
        });
        digest.await.cloned()
    }
}
