//! The complete log of a source, which proves each of its rows; kept in memory while its rows are imported.
//!
//! Invariant: it is built from stored events alone, each proven again; one that does not end at the head that the import names is refused.

use std::sync::Arc;

use super::import_source::{refused, trust_of};
use super::use_cases::Archive;
use crate::domain::command::PageRequest;
use crate::domain::import::{Import, ImportSource};
use crate::domain::listing::EventFilter;
use crate::domain::name::NamespaceId;
use crate::domain::{Error, Reason, Result};
use crate::signing::chain::LogCheck;
use crate::store::ReadTx;

/// Number of events read at once.
const PAGE_EVENTS: u32 = 64;

impl Archive {
    /// Returns the complete log of a source; none before all its events are stored.
    pub(super) async fn read_source_log(
        &self,
        namespace: &NamespaceId,
        source: &ImportSource,
    ) -> Result<Option<Arc<LogCheck>>> {
        let slot = self.source_logs.slot.acquire().await;
        let _slot = slot.map_err(|error| Error::internal(error.to_string()))?;
        if let Some(log) = self.source_logs.find(namespace, source) {
            return Ok(Some(log));
        }
        let tx = self.log.store.read().await?;
        let imports = tx.imports(namespace).await?;
        let whole = imports.first().filter(|import| import.source == *source && import.reached == source.head);
        let Some(import) = whole else { return Ok(None) };
        let check = read_imported_log(&tx, namespace, import).await?;
        if check.findings.count > 0 || check.head() != source.head {
            let first = check.findings.kept.first().map_or("it ends elsewhere", |finding| &finding.message);
            return Err(refused(format!("the log of the source does not hold: {first}")));
        }
        let log = Arc::new(check);
        self.source_logs.keep(namespace, source, &log);
        Ok(Some(log))
    }
}

/// Reads an imported history from one end to the other.
pub(super) async fn read_imported_log(tx: &ReadTx, namespace: &NamespaceId, import: &Import) -> Result<LogCheck> {
    let trust = trust_of(&import.source).map_err(|error| Error::new(Reason::DataLoss, error.message))?;
    let mut check = LogCheck::new(trust, import.source.namespace.clone());
    let mut after = None;
    loop {
        let page = PageRequest { size: PAGE_EVENTS, after };
        let events = tx.imported_events(namespace, import, &page, &EventFilter::default()).await?;
        let Some(last) = events.last() else {
            check.settle();
            return Ok(check);
        };
        after = Some(last.cursor.revision);
        for event in &events {
            check.event(event);
        }
    }
}
