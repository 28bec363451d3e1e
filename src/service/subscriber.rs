//! Subscribers: the lease of a watch, what a runtime reports, and the list of all.

use super::Service;
use super::page_reader::{Listed, PageReader};
use crate::domain::command::Page;
use crate::domain::event::Position;
use crate::domain::lifecycle::check_note;
use crate::domain::limits::ID_MAX_CHARS;
use crate::domain::name::NamespaceId;
use crate::domain::subscriber::{Profile, Report, Subscriber, SubscriberId, SubscriberName, Verdict};
use crate::domain::time::Micros;
use crate::domain::{Error, Result};
use crate::watch::Lease;

impl Service {
    /// The lease of a stream, for as long as it is held.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED`.
    pub fn lease(&self, name: SubscriberName, profile: Profile) -> Result<Lease> {
        self.leases.open(name, profile)
    }

    /// Takes note of what a runtime did. True: it is in the database. False: it is here, and will be.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a cursor that is no place of the log, `RESUME_POINT_GONE` when another event stands there by now,
    /// `NAMESPACE_NOT_FOUND`, `LIMIT_EXCEEDED`.
    pub async fn report_status(&self, report: Report) -> Result<bool> {
        if let Verdict::Rejected { reason } = &report.verdict {
            if reason.trim().is_empty() {
                return Err(Error::invalid("reason", "must say why it was rejected"));
            }
            check_note("reason", reason)?;
        }
        let namespace = &report.subscriber.namespace;
        let digest = self.set_digest_at(namespace, report.cursor).await?;
        let position = Position { cursor: report.cursor, event: report.event };
        self.hub.feed(namespace).await?.check(position).await?;
        let matches = digest == report.digest;
        self.leases.report(report, matches).await
    }

    /// A page of the subscribers, in order of their ids, and the time by which their leases count.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`.
    pub async fn list_subscribers(
        &self,
        namespace: &NamespaceId,
        page: &Page<SubscriberId>,
    ) -> Result<(Listed<Subscriber>, Micros)> {
        self.leases.settle().await;
        let now = self.leases.now().await?;
        let (tx, _) = self.look(namespace).await?;
        let mut reader = PageReader::new(page);
        while let Some(asked) = reader.next() {
            let found = tx.subscribers(namespace, &asked).await?;
            reader.add(&asked, found, |each| (each.id.clone(), each.profile.policies.len() * ID_MAX_CHARS));
        }
        Ok((reader.done(), now))
    }

    /// Forgets subscribers that are offline for long.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_subscribers(&self) -> Result<u64> {
        self.store.forget_subscribers(self.leases.now().await?).await
    }
}
