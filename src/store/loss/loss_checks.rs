//! Compares the database with the high-water marks, to find out whether the store lost its newest changes.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait as _, Statement};

use crate::domain::event::{Cursor, Head};
use crate::domain::name::NamespaceId;
use crate::domain::{Error, Reason, Result};
use crate::store::connection::system_identity::{READ_SYSTEM_IDENTITY, SYSTEM_IDENTITY, identity_mismatch};
use crate::store::error::failed;
use crate::store::handle::Store;
use crate::store::loss::seen_heads::{
    SeenHead, SeenHeads, describe_other_event, describe_truncated_log, find_lost_log,
};
use crate::store::transaction::views::WriteTx;

impl Store {
    /// Returns why data loss is suspected; none when it is not.
    #[must_use]
    pub fn suspected_loss(&self) -> Option<String> {
        self.inner.suspected_loss.seen()
    }

    /// Refuses an operation that must not be done while data loss is suspected.
    ///
    /// # Errors
    /// `STORE_IN_DOUBT`.
    pub fn check_no_suspected_loss(&self) -> Result<()> {
        self.inner.suspected_loss.check()
    }

    /// Returns the generation whose keys and revocations must be read again, since they were read while data loss was suspected; none when
    /// no reread is pending.
    #[must_use]
    pub fn pending_reread(&self) -> Option<u64> {
        self.inner.suspected_loss.pending_reread()
    }

    /// Waits until a reread is pending.
    pub async fn reread_due(&self) {
        self.inner.suspected_loss.reread_due().await;
    }

    /// Ends a suspicion: keys and revocations were read again since [`Self::pending_reread`] returned this.
    pub fn finish_reread(&self, generation: u64) {
        self.inner.suspected_loss.finish_reread(generation);
    }

    /// Returns the number of changes between trust in the logs and doubt so far: what was authorized in another generation may rest on a log
    /// that is not that of this store.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.inner.suspected_loss.generation()
    }

    /// Refuses what was authorized in another generation.
    ///
    /// # Errors
    /// `STORE_IN_DOUBT`.
    pub fn check_generation(&self, generation: u64) -> Result<()> {
        self.inner.suspected_loss.check_generation(generation)
    }

    /// Returns whether there are signs of a data loss. When there were none before, it checks again. A check that fails finds nothing.
    pub async fn detects_loss(&self) -> bool {
        // Boxed: otherwise the future of every call would have its size, and hardly any call runs it.
        if !self.inner.suspected_loss.has_signs()
            && let Err(error) = Box::pin(self.check_for_loss()).await
        {
            tracing::debug!(%error, detail = error.internal, "failed to check whether the store is in doubt");
        }
        self.inner.suspected_loss.has_signs()
    }

    /// Returns the error for a caller: `STORE_IN_DOUBT` in place of `DATA_LOSS` when the log ends before the part that was already read.
    pub async fn or_suspected_loss(&self, error: Error) -> Error {
        if error.reason != Reason::DataLoss || !self.detects_loss().await {
            return error;
        }
        self.check_no_suspected_loss().err().unwrap_or(error)
    }

    /// Compares the system identity with the recorded one and every head with its high-water mark. Returns the signs of a data loss; the suspicion lasts
    /// longer, until [`Self::finish_reread`].
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn check_for_loss(&self) -> Result<Option<String>> {
        let sign_count = self.inner.suspected_loss.sign_count();
        let other_system = match self.system_identity().await? {
            Some(actual) => {
                self.meta(SYSTEM_IDENTITY).await?.and_then(|recorded| identity_mismatch(&recorded, &actual))
            }
            None => None,
        };
        // Take the marks before the heads are read: a head read later must include them.
        let seen = self.inner.high_water.heads();
        let heads = self.all_heads().await?;
        let lost_tail = match find_lost_log(&seen, &heads) {
            None => self.contradiction(&seen, &heads).await?,
            gone => gone,
        };
        if other_system.is_none() && lost_tail.is_none() {
            if self.inner.suspected_loss.has_signs() {
                // Older connections may lead to another database than the one that answered now: each new one is compared again.
                // Boxed: otherwise the future of every call would have its size, and hardly any call runs it.
                Box::pin(self.replace_pools()).await;
                self.inner.suspected_loss.clear(sign_count);
            }
            self.note(heads);
        }
        if let Some(seen) = other_system {
            self.inner.suspected_loss.other_system(seen);
        }
        if let Some(seen) = lost_tail {
            self.lost_tail(seen);
        }
        Ok(self.inner.suspected_loss.signs_text())
    }

    /// Compares heads with the high-water marks `seen` before the heads were read. Heads that follow become the new marks. One that does
    /// not makes data loss suspected, and its mark stays until an operator raises the epoch, however far another replica continues the
    /// log.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`: then no mark is changed.
    pub(in crate::store) async fn see(&self, seen: &SeenHeads, found: BTreeMap<NamespaceId, Head>) -> Result<()> {
        if let Some(lost_tail) = self.contradiction(seen, &found).await? {
            self.lost_tail(lost_tail);
        }
        self.note(found);
        Ok(())
    }

    /// Compares the log that is about to be written to with its mark, under its lock: another replica may have written since.
    pub(in crate::store) async fn check_leads_on(&self, write: &WriteTx, seen: &SeenHead) -> Result<()> {
        let (namespace, head) = (write.namespace(), write.head());
        let mut contradiction = seen.contradicts(namespace, head);
        if seen.needs_event_check(head) {
            let found = write.read().events_after(namespace, seen.cursor.revision - 1, 1).await?;
            let is_expected =
                found.first().is_some_and(|event| event.cursor == seen.cursor && !seen.differs(&event.hash));
            contradiction = (!is_expected).then(|| describe_other_event(namespace, seen.cursor));
        }
        if let Some(contradiction) = contradiction {
            self.lost_tail(contradiction);
        }
        Ok(())
    }

    /// Records heads that follow the marks. While there are signs of a loss none is recorded: it may follow the wrong event.
    fn note(&self, heads: BTreeMap<NamespaceId, Head>) {
        if self.inner.suspected_loss.has_signs() {
            return;
        }
        for (namespace, head) in heads {
            self.inner.high_water.note(&namespace, head);
        }
    }

    /// Records how far a log was read, from an event that was seen, each event hashed onto the one before. So what was sent to subscribers
    /// is covered by the marks.
    pub fn note_read(&self, namespace: &NamespaceId, head: Head) {
        self.note([(namespace.clone(), head)].into());
    }

    /// Records the head of a signed checkpoint. Where the log agrees with its mark, which is not signed, and contradicts the checkpoint, the
    /// checkpoint replaces the mark: otherwise the marks of another copy would hide the loss.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn note_signed(&self, namespace: &NamespaceId, head: Head) -> Result<()> {
        let found = self.heads(std::slice::from_ref(namespace)).await?.into_iter().collect();
        let has_signs = self.inner.suspected_loss.has_signs();
        let seen = [(namespace.clone(), head.into())].into();
        if !has_signs && (find_lost_log(&seen, &found).is_some() || self.contradiction(&seen, &found).await?.is_some())
        {
            self.inner.high_water.replace(namespace, head);
        } else {
            self.inner.high_water.note(namespace, head);
        }
        Ok(())
    }

    /// Records that a log ends before the part that was already read: a restored backup, or a manual change of the database.
    pub fn note_truncated_log(&self, namespace: &NamespaceId, found: Cursor, seen: Cursor) {
        self.lost_tail(describe_truncated_log(namespace, found, seen));
    }

    /// Records that a log lost its tail, which makes data loss suspected.
    pub(in crate::store) fn lost_tail(&self, seen: String) {
        self.inner.suspected_loss.lost_tail(seen);
    }

    /// Describes the first of these heads that does not follow its mark; none when all do. Takes one query for all logs that have grown.
    async fn contradiction(&self, seen: &SeenHeads, found: &BTreeMap<NamespaceId, Head>) -> Result<Option<String>> {
        let pairs = || found.iter().filter_map(|(namespace, head)| Some((namespace, seen.get(namespace)?, *head)));
        if let Some(contradiction) = pairs().find_map(|(namespace, seen, head)| seen.contradicts(namespace, head)) {
            return Ok(Some(contradiction));
        }
        let asked: Vec<_> = pairs().filter(|(_, seen, head)| seen.needs_event_check(*head)).collect();
        let cursors: Vec<_> = asked.iter().map(|(namespace, seen, _)| (*namespace, seen.cursor)).collect();
        let hashes = self.event_hashes(&cursors).await?;
        let other =
            asked.iter().find(|(namespace, seen, _)| hashes.get(*namespace).is_none_or(|hash| seen.differs(hash)));
        Ok(other.map(|(namespace, seen, _)| describe_other_event(namespace, seen.cursor)))
    }

    /// Returns the system identity of PostgreSQL; none on SQLite, whose file has no identity of its own.
    pub(in crate::store) async fn system_identity(&self) -> Result<Option<String>> {
        if !self.is_postgres() {
            return Ok(None);
        }
        let reader = self.reader_in_outage();
        let row =
            reader.query_one_raw(Statement::from_string(reader.get_database_backend(), READ_SYSTEM_IDENTITY)).await;
        let row =
            row.map_err(failed)?.ok_or_else(|| Error::internal("the database did not return its system identity"))?;
        row.try_get_by_index(0).map(Some).map_err(failed)
    }
}
