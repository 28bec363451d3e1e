//! Frozen namespaces in the watch plane: open streams continue with what was verified, and no new stream begins until a later event of the
//! log, by any replica, thaws the namespace.

use super::hub::Hub;
use crate::domain::digest::ActiveSetRoot;
use crate::domain::event::{Cursor, EventKind, Head};
use crate::domain::name::NamespaceId;
use crate::domain::{Error, Reason, Result};
use crate::store::{Frozen, ReadTx};

/// Number of events read at once in the search for the one that thaws.
const PAGE_EVENTS: u32 = 64;

impl Hub {
    /// Refuses an operation on a frozen namespace, unless an event has thawed it since.
    ///
    /// # Errors
    /// `DATA_LOSS`, `DATABASE_UNAVAILABLE`.
    pub async fn check_thawed(&self, namespace: &NamespaceId) -> Result<()> {
        let store = &self.source().store;
        let Some(frozen) = store.frozen(namespace) else { return Ok(()) };
        // Boxed: otherwise the future of every call would have its size, and hardly any call runs it.
        if let Some(by) = Box::pin(self.thawing_event(namespace, &frozen)).await? {
            store.thaw(namespace, by);
        }
        store.check_thawed(namespace)
    }

    /// Freezes a namespace when its pointers do not make the root of the event at its head. It does nothing while data loss is suspected,
    /// which stops the namespace anyway.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn freeze_if_moved(&self, tx: &ReadTx, namespace: &NamespaceId, head: Head) -> Result<()> {
        let store = &self.source().store;
        if store.suspected_loss().is_none() && !self.do_pointers_hold(tx, namespace, head).await? {
            store.freeze(namespace, head.cursor, &moved(head));
        }
        Ok(())
    }

    /// Refuses a namespace whose pointers do not make the root of the event at its head.
    ///
    /// # Errors
    /// `DATA_LOSS`, `DATABASE_UNAVAILABLE`.
    pub async fn check_pointers(&self, tx: &ReadTx, namespace: &NamespaceId, head: Head) -> Result<()> {
        if self.do_pointers_hold(tx, namespace, head).await? {
            return Ok(());
        }
        Err(Error::data_loss(format!("{namespace}: {}", moved(head))))
    }

    /// Whether the pointers, in the rows of the policies and in their history, make the root that the event at the head names. An event
    /// that can't be verified counts as a match; without a root, only rows and history are compared.
    async fn do_pointers_hold(&self, tx: &ReadTx, namespace: &NamespaceId, head: Head) -> Result<bool> {
        let revision = head.cursor.revision;
        let sealed = match revision {
            0 => Some(ActiveSetRoot::default()),
            _ => match tx.event(namespace, revision).await.and_then(|event| self.source().proof.head(&event, head)) {
                Err(error) if error.reason == Reason::DataLoss => return Ok(true),
                payload => payload?.active_set_root,
            },
        };
        let entries = match tx.active_entries(namespace, 0, revision).await {
            Err(error) if error.reason == Reason::DataLoss => return Ok(false),
            entries => entries?,
        };
        let root = self.source().proof.tree(&entries).root();
        let mut pointed = tx.pointers(namespace).await?;
        let are_there = entries.iter().all(|(policy, entry)| {
            let at = pointed.remove(policy.as_str());
            match entry {
                Some(entry) => at == Some((entry.version, entry.activation.revision)),
                None => at.is_none_or(|(version, _)| version == 0),
            }
        });
        Ok(are_there && pointed.is_empty() && sealed.is_none_or(|sealed| sealed == root))
    }

    /// Returns the newest verified event that thaws a namespace, after the finding for which it was frozen.
    async fn thawing_event(&self, namespace: &NamespaceId, frozen: &Frozen) -> Result<Option<Cursor>> {
        let store = &self.source().store;
        let tx = store.read().await?;
        let from = store.searched(namespace).unwrap_or(frozen.at);
        // A log that lost its tail continues at lower revisions, in another epoch.
        let is_same_epoch = tx.log_head(namespace).await?.cursor.epoch == from.epoch;
        let (mut after, mut found) = (if is_same_epoch { from.revision } else { 0 }, None);
        loop {
            let page = tx.events_after(namespace, after, PAGE_EVENTS).await?;
            let Some(last) = page.last() else { return Ok(found) };
            after = last.cursor.revision;
            for event in page.iter().filter(|event| event.cursor > frozen.at) {
                if self.source().proof.event(event)?.kind == EventKind::ThawNamespace {
                    found = Some(event.cursor);
                }
            }
            store.note_searched(namespace, last.cursor);
        }
    }
}

/// Returns the error text for pointers that do not match.
fn moved(head: Head) -> String {
    format!("its pointers do not make the root of event {}", head.cursor.revision)
}
