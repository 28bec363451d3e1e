//! ListEvents of an imported history.

use super::import_source::trust_of;
use super::list_events::measure;
use super::use_cases::Archive;
use crate::domain::command::{ListPage, PageRequest};
use crate::domain::event::{Event, Payload};
use crate::domain::limits::EVENTS_SCANNED_MAX;
use crate::domain::listing::EventFilter;
use crate::domain::name::NamespaceId;
use crate::domain::{Error, Result};
use crate::service::page_reader::PageReader;
use crate::signing::chain::verify_event;

impl Archive {
    /// Returns a page of an imported history, each event with its payload.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `INVALID_ARGUMENT` when there is none at this position, `DATA_LOSS`.
    pub async fn list_imported_events(
        &self,
        namespace: &NamespaceId,
        position: i64,
        page: &PageRequest<i64>,
        filter: &EventFilter,
    ) -> Result<ListPage<i64, (Event, Payload)>> {
        let tx = self.log.store.read().await?;
        tx.namespace(namespace).await?;
        let imports = tx.imports(namespace).await?;
        let import = imports.into_iter().find(|import| import.position == position);
        let import = import.ok_or_else(|| {
            Error::invalid("import_position", format!("{} imported no history {position}", namespace.name()))
        })?;
        let trust = trust_of(&import.source).map_err(|error| Error::data_loss(error.message))?;
        let prove = |event: Event| match verify_event(&event, &trust) {
            Ok(payload) => Ok((event, payload)),
            Err(problem) => {
                Err(Error::data_loss(format!("{namespace} imported event {}: {problem}", event.cursor.revision)))
            }
        };
        // The only index of an imported history is its order.
        let mut reader = PageReader::searching(page, !filter.wanted.is_empty(), EVENTS_SCANNED_MAX);
        while let Some(asked) = reader.next() {
            let found = tx.imported_events(namespace, &import, &asked, filter).await?.into_iter();
            let is_wanted = |(_, payload): &(Event, Payload)| filter.wanted.keeps(payload);
            reader.add(&asked, found.map(prove).collect::<Result<_>>()?, measure, is_wanted);
        }
        Ok(reader.done())
    }
}
