//! Compares the database with what was seen of it, to find out whether the store lost its newest changes.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait as _, Statement};

use crate::domain::event::{Cursor, Head};
use crate::domain::name::NamespaceId;
use crate::domain::{Error, Reason, Result};
use crate::store::connection::system_identity::{ACTUAL, INCARNATION, difference};
use crate::store::error::failed;
use crate::store::handle::Store;
use crate::store::loss::high_water_marks::{Heads, Seen, ends_before, gone, is_another};
use crate::store::transaction::views::WriteTx;

impl Store {
    /// What put the store in doubt, if it is.
    #[must_use]
    pub fn doubt(&self) -> Option<String> {
        self.inner.doubt.seen()
    }

    /// Refuses what must not be done in doubt.
    ///
    /// # Errors
    /// `STORE_IN_DOUBT`.
    pub fn check_beyond_doubt(&self) -> Result<()> {
        self.inner.doubt.check()
    }

    /// Returns whether the store is in doubt. When nothing speaks for it yet, it looks first; a look that fails finds nothing.
    pub async fn is_found_in_doubt(&self) -> bool {
        if self.doubt().is_none()
            && let Err(error) = self.examine().await
        {
            tracing::debug!(%error, detail = error.internal, "failed to look whether the store is in doubt");
        }
        self.doubt().is_some()
    }

    /// Returns what a caller hears of a failure: a log that ends before what was read of it is a doubt, and is said to be one.
    pub async fn or_doubt(&self, error: Error) -> Error {
        if error.reason != Reason::DataLoss || !self.is_found_in_doubt().await {
            return error;
        }
        self.check_beyond_doubt().err().unwrap_or(error)
    }

    /// Looks again: the incarnation against the recorded one, every head against what was seen of it. Answers the doubt.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn examine(&self) -> Result<Option<String>> {
        let led_elsewhere = self.inner.doubt.led_elsewhere();
        let other_incarnation = match self.incarnation().await? {
            Some(actual) => self.meta(INCARNATION).await?.and_then(|recorded| difference(&recorded, &actual)),
            None => None,
        };
        // Before the heads are read: what was seen by then must be in them.
        let seen = self.inner.memory.heads();
        let heads = self.all_heads().await?;
        let lost_tail = match gone(&seen, &heads) {
            None => self.contradiction(&seen, &heads).await?,
            gone => gone,
        };
        if other_incarnation.is_none() && lost_tail.is_none() {
            if self.doubt().is_some() {
                // Connections that were made in doubt may lead elsewhere than the one that was asked now: each new one is
                // compared again.
                self.replace_pools().await;
                self.inner.doubt.clear(led_elsewhere);
            }
            self.note(heads);
        }
        if let Some(seen) = other_incarnation {
            self.inner.doubt.other_incarnation(seen);
        }
        if let Some(seen) = lost_tail {
            self.lost_tail(seen);
        }
        Ok(self.doubt())
    }

    /// Compares heads with what was `seen` of their logs before they were read. Those that lead on from it are seen from now on; one
    /// that does not puts the store in doubt, and what was seen of its log stands until an operator raises the epoch: however far
    /// another replica writes on.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`: nothing is taken for seen.
    pub(in crate::store) async fn see(&self, seen: &Heads, found: BTreeMap<NamespaceId, Head>) -> Result<()> {
        if let Some(lost_tail) = self.contradiction(seen, &found).await? {
            self.lost_tail(lost_tail);
        }
        self.note(found);
        Ok(())
    }

    /// The same of the log that is about to be written to, under its lock: another replica may have written since the last look.
    pub(in crate::store) async fn check_leads_on(&self, write: &WriteTx, seen: &Seen) -> Result<()> {
        let (namespace, head) = (write.namespace(), write.head());
        let mut told = seen.contradicts(namespace, head);
        if seen.is_to_be_asked_for(head) {
            let found = write.read().events_after(namespace, seen.cursor.revision - 1, 1).await?;
            let is_it = found.first().is_some_and(|event| event.cursor == seen.cursor && !seen.differs(&event.hash));
            told = (!is_it).then(|| is_another(namespace, seen.cursor));
        }
        if let Some(told) = told {
            self.lost_tail(told);
        }
        Ok(())
    }

    /// Notes heads that lead on from what was seen. Nothing that is found in doubt is: it may lead on from the wrong place.
    fn note(&self, heads: BTreeMap<NamespaceId, Head>) {
        if self.doubt().is_some() {
            return;
        }
        for (namespace, head) in heads {
            self.inner.memory.note(&namespace, head);
        }
    }

    /// Notes how far a log was read, from an event that was seen, each event hashed onto the one before: what was told to
    /// subscribers is remembered.
    pub fn note_read(&self, namespace: &NamespaceId, head: Head) {
        self.note([(namespace.clone(), head)].into());
    }

    /// Notes that a log ends before what was read of it: a restored backup, or a hand in the database.
    pub fn ends_before(&self, namespace: &NamespaceId, found: Cursor, seen: Cursor) {
        self.lost_tail(ends_before(namespace, found, seen));
    }

    /// Puts the store in doubt.
    pub(in crate::store) fn lost_tail(&self, seen: String) {
        self.inner.doubt.lost_tail(seen);
    }

    /// What tells that one of these heads does not lead on from what was seen of its log. One query for all logs that went on.
    async fn contradiction(&self, seen: &Heads, found: &BTreeMap<NamespaceId, Head>) -> Result<Option<String>> {
        let both = || found.iter().filter_map(|(namespace, head)| Some((namespace, seen.get(namespace)?, *head)));
        if let Some(told) = both().find_map(|(namespace, seen, head)| seen.contradicts(namespace, head)) {
            return Ok(Some(told));
        }
        let asked: Vec<_> = both().filter(|(_, seen, head)| seen.is_to_be_asked_for(*head)).collect();
        let cursors: Vec<_> = asked.iter().map(|(namespace, seen, _)| (*namespace, seen.cursor)).collect();
        let hashes = self.event_hashes(&cursors).await?;
        let other =
            asked.iter().find(|(namespace, seen, _)| hashes.get(*namespace).is_none_or(|hash| seen.differs(hash)));
        Ok(other.map(|(namespace, seen, _)| is_another(namespace, seen.cursor)))
    }

    /// Which PostgreSQL it is; nothing on SQLite, whose file has no name of its own.
    pub(in crate::store) async fn incarnation(&self) -> Result<Option<String>> {
        if !self.is_postgres() {
            return Ok(None);
        }
        let reader = self.reader_in_outage();
        let row = reader.query_one_raw(Statement::from_string(reader.get_database_backend(), ACTUAL)).await;
        let row = row.map_err(failed)?.ok_or_else(|| Error::internal("the database does not say which it is"))?;
        row.try_get_by_index(0).map(Some).map_err(failed)
    }
}
