//! Subscribers: the lease of a watch, what a runtime reports, and the list of all.

use super::Service;
use super::page_reader::PageReader;
use crate::domain::command::{ListPage, PageRequest};
use crate::domain::event::Position;
use crate::domain::filter::Filter;
use crate::domain::lifecycle::check_note;
use crate::domain::limits::{ID_MAX_CHARS, ITEMS_SCANNED_MAX};
use crate::domain::listing::SeenSubscriber;
use crate::domain::name::NamespaceId;
use crate::domain::principal::Principal;
use crate::domain::quota::Quota;
use crate::domain::subscriber::{Profile, ReportVerdict, StatusReport, SubscriberClaim, SubscriberId, SubscriberName};
use crate::domain::{Error, Reason, Result};
use crate::watch::Lease;

impl Service {
    /// The lease of a stream of a principal, for as long as it is held.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED`, `QUOTA_EXCEEDED`, `SUBSCRIBER_ID_TAKEN`. The latter comes from the lease when nobody knows yet.
    pub fn lease(&self, principal: &Principal, name: SubscriberName, profile: Profile) -> Result<Lease> {
        let lease = self.leases.open(SubscriberClaim { name, owner: principal.actor() }, profile);
        lease.inspect_err(|error| self.count_subscriber(error))
    }

    /// Counts a subscriber for which there was no room.
    fn count_subscriber(&self, refused: &Error) {
        if refused.reason == Reason::QuotaExceeded {
            self.meters.count_refusal(Quota::MaxSubscribers);
        }
    }

    /// Takes note of what a principal says that its runtime did. True: it is in the database. False: it is here, and will be.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a cursor that is no place of the log, `RESUME_POINT_GONE` when another event stands there by now,
    /// `NAMESPACE_NOT_FOUND`, `LIMIT_EXCEEDED`, `QUOTA_EXCEEDED`, `SUBSCRIBER_ID_TAKEN`.
    pub async fn report_status(&self, principal: &Principal, report: StatusReport) -> Result<bool> {
        if let ReportVerdict::Rejected { reason } = &report.verdict {
            if reason.trim().is_empty() {
                return Err(Error::invalid("reason", "is required: why it was rejected"));
            }
            check_note("reason", reason)?;
        }
        let namespace = &report.subscriber.namespace;
        let digest = self.set_digest_at(namespace, report.cursor).await?;
        let position = Position { cursor: report.cursor, event: report.event };
        self.hub.feed(namespace).await?.check(position).await?;
        let matches = digest == report.digest;
        let taken = self.leases.report(report, principal.actor(), matches).await;
        taken.inspect_err(|error| self.count_subscriber(error))
    }

    /// A page of the subscribers, in order of their ids.
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
        let (tx, _) = self.look(namespace).await?;
        let mut reader = PageReader::searching(page, !wanted.is_empty(), ITEMS_SCANNED_MAX);
        while let Some(asked) = reader.next() {
            let found = tx.subscribers(namespace, &asked).await?.into_iter();
            let seen = found.map(|subscriber| SeenSubscriber {
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

    /// Forgets subscribers that are offline for long.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_subscribers(&self) -> Result<u64> {
        self.store.forget_subscribers(self.leases.now().await?).await
    }
}
