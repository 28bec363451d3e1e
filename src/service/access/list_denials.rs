//! ListDenials, and the writes of recorded denials.

use super::use_cases::Access;
use crate::domain::Result;
use crate::domain::command::{ListPage, PageRequest};
use crate::domain::denial::{Denial, DenialKey};
use crate::domain::limits::ITEMS_SCANNED_MAX;
use crate::domain::listing::DenialFilter;
use crate::domain::name::NamespaceId;
use crate::service::page_reader::PageReader;

/// The size of a row in an answer besides its texts, in bytes.
const ROW_BYTES: usize = 64;

impl Access {
    /// Returns how many denials were dropped, because memory for them was full, since the last call.
    #[must_use]
    pub fn left_out_denials(&self) -> u64 {
        std::mem::take(&mut self.denials.pending().lock().left_out)
    }

    /// Writes one batch of the recorded denials.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`. What was not written is written later.
    pub async fn write_denials(&self) -> Result<()> {
        let batch = self.denials.pending().take();
        if !batch.is_empty()
            && let Err(error) = self.log.store.add_denials(&batch).await
        {
            let mut pending = self.denials.pending().lock();
            for Denial { key, count } in batch {
                pending.add(key, count);
            }
            return Err(error);
        }
        Ok(())
    }

    /// Returns a page of the denials of a namespace, in order of ids, including those that this replica has recorded and not yet written.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`.
    pub async fn list_denials(
        &self,
        namespace: &NamespaceId,
        page: &PageRequest<String>,
        filter: &DenialFilter,
    ) -> Result<ListPage<String, Denial>> {
        if let Err(error) = self.write_denials().await {
            tracing::debug!(%error, "failed to write what was denied before it is listed");
        }
        let tx = self.log.store.read().await?;
        tx.namespace(namespace).await?;
        let mut reader = PageReader::searching(page, filter.is_search, ITEMS_SCANNED_MAX);
        while let Some(asked) = reader.next() {
            let found = tx.denials(namespace, &asked, filter).await?;
            let bytes = |key: &DenialKey| {
                key.principal.len() + key.method.len() + key.reason.len() + key.permission.len() + ROW_BYTES
            };
            let is_wanted = |denial: &Denial| filter.wanted.keeps(denial);
            reader.add(&asked, found, |denial| (denial.key.id(), bytes(&denial.key)), is_wanted);
        }
        Ok(reader.done())
    }
}
