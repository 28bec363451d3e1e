//! ListEvents: the log of a namespace. An event that does not verify is never served.

use super::use_cases::Archive;
use crate::domain::Result;
use crate::domain::command::{ListPage, PageRequest};
use crate::domain::event::{Event, Payload};
use crate::domain::limits::EVENTS_SCANNED_MAX;
use crate::domain::listing::EventFilter;
use crate::domain::name::{NamespaceId, PolicyName};
use crate::service::page_reader::PageReader;
use crate::watch::Verify as _;

impl Archive {
    /// Returns a page of the log, each event with its payload.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `POLICY_NOT_FOUND`, `DATA_LOSS`; `INVALID_ARGUMENT` and `RESUME_POINT_GONE` for a wrong start position.
    pub async fn list_events(
        &self,
        namespace: &NamespaceId,
        page: &PageRequest<i64>,
        filter: &EventFilter,
    ) -> Result<ListPage<i64, (Event, Payload)>> {
        let tx = self.log.store.read().await?;
        let found = tx.namespace(namespace).await?;
        if let Some(policy) = &filter.policy {
            tx.policy(&PolicyName { namespace: namespace.clone(), policy: policy.clone() }).await?;
        }
        if let Some(after) = filter.after {
            self.log.read_event_at(&tx, &found, ("after", after)).await?;
        }
        let mut reader = PageReader::searching(page, filter.is_search, EVENTS_SCANNED_MAX);
        while let Some(asked) = reader.next() {
            let found = tx.events(namespace, &asked, filter).await?.into_iter();
            let proven = found.map(|event| self.log.signer.event(&event).map(|payload| (event, payload)));
            let is_wanted = |(_, payload): &(Event, Payload)| filter.wanted.keeps(payload);
            reader.add(&asked, proven.collect::<Result<_>>()?, measure, is_wanted);
        }
        Ok(reader.done())
    }
}

/// Returns the revision of an event and its approximate size in an answer: the payload, and the fields beside it that repeat it.
pub(super) fn measure((event, _): &(Event, Payload)) -> (i64, usize) {
    (event.cursor.revision, event.payload.len() + event.statement.len())
}
