//! ListSubscribers.

use super::use_cases::Sync;
use crate::domain::Result;
use crate::domain::command::{ListPage, PageRequest};
use crate::domain::filter::Filter;
use crate::domain::limits::{ID_MAX_CHARS, ITEMS_SCANNED_MAX};
use crate::domain::listing::SeenSubscriber;
use crate::domain::name::NamespaceId;
use crate::domain::subscriber::{SubscriberId, SubscriberName};
use crate::service::page_reader::PageReader;

impl Sync {
    /// Returns a page of the subscribers, in order of ids.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`.
    pub async fn list_subscribers(
        &self,
        namespace: &NamespaceId,
        page: &PageRequest<SubscriberId>,
        wanted: &Filter<SeenSubscriber>,
    ) -> Result<ListPage<SubscriberId, SeenSubscriber>> {
        self.leases.settle().await;
        let now = self.leases.now().await?;
        let (tx, _) = self.log.read_current(namespace).await?;
        let mut reader = PageReader::searching(page, !wanted.is_empty(), ITEMS_SCANNED_MAX);
        while let Some(asked) = reader.next() {
            let mut found = tx.subscribers(namespace, &asked).await?;
            self.leases.mark_live_here(namespace, &mut found, now);
            let seen = found.into_iter().map(|subscriber| SeenSubscriber {
                name: SubscriberName { namespace: namespace.clone(), id: subscriber.id.clone() },
                is_online: subscriber.is_online(now),
                subscriber,
            });
            let measure =
                |seen: &SeenSubscriber| (seen.name.id.clone(), seen.subscriber.profile.policies.len() * ID_MAX_CHARS);
            reader.add(&asked, seen.collect(), measure, |seen| wanted.keeps(seen));
        }
        Ok(reader.done())
    }

    /// Deletes subscribers that have been offline for long.
    ///
    /// # Errors
    /// Errors of the database.
    pub async fn forget_subscribers(&self) -> Result<u64> {
        self.log.store.forget_subscribers(self.leases.now().await?).await
    }
}
