//! Places of a log that callers name: whether there is such a place, and the digest of the active set there.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::Service;
use crate::domain::digest::Digest;
use crate::domain::event::{Cursor, Event, Fingerprint, Head, Payload, Position};
use crate::domain::name::NamespaceId;
use crate::domain::outcome::Namespace;
use crate::domain::{Error, Reason, Result};
use crate::signing::active_set_digest;
use crate::store::ReadTx;
use crate::watch::Verify as _;

/// Digests kept, of the places asked for last: a whole fleet reports the same few.
const PLACES_KEPT_MAX: usize = 64;

/// Digests of active sets by their places. One is read once, however many ask for it at once.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<VecDeque<Place>>);

type Place = (NamespaceId, Cursor, Arc<OnceCell<Digest>>);

impl Places {
    fn cell(&self, namespace: &NamespaceId, cursor: Cursor) -> Arc<OnceCell<Digest>> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = places.iter().find(|(kept, place, _)| *place == cursor && kept == namespace);
        if let Some((_, _, cell)) = kept {
            return Arc::clone(cell);
        }
        if places.len() == PLACES_KEPT_MAX {
            places.pop_front();
        }
        let cell = Arc::default();
        places.push_back((namespace.clone(), cursor, Arc::clone(&cell)));
        cell
    }
}

fn no_place(field: &str, cursor: Cursor, head: Cursor, what: &str) -> Error {
    let message = format!("{}:{} {what}; the head is {}:{}", cursor.epoch, cursor.revision, head.epoch, head.revision);
    Error::invalid(field, message).with("head_epoch", head.epoch).with("head_revision", head.revision)
}

pub(super) fn other_event(cursor: Cursor, head: Cursor) -> Error {
    let Cursor { epoch, revision } = cursor;
    let message =
        format!("another event stands at {epoch}:{revision} than the one that the cursor names; read it again");
    Error::new(Reason::ResumePointGone, message)
        .with("resume_epoch", epoch)
        .with("resume_revision", revision)
        .with("current_epoch", head.epoch)
}

impl Service {
    /// A view of a namespace that is at least as new as what this replica has read of its log.
    pub(super) async fn look(&self, namespace: &NamespaceId) -> Result<(ReadTx, Namespace)> {
        let read = self.hub.read_up_to(namespace);
        let tx = self.store.read().await?;
        let found = tx.namespace(namespace).await?;
        read.check_reaches(namespace, found.cursor);
        Ok((tx, found))
    }

    /// Reads the event at a cursor, proven; none before the first. Epoch 0 stands for whichever the revision has. `field` names
    /// the cursor in an error.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when it is no place of the log, `RESUME_POINT_GONE` when another event stands there than the position
    /// names, `DATA_LOSS`.
    pub(super) async fn event_at(
        &self,
        tx: &ReadTx,
        found: &Namespace,
        (field, at): (&str, Position),
    ) -> Result<Option<(Event, Payload)>> {
        let (cursor, head) = (at.cursor, found.cursor);
        if cursor.epoch > head.epoch || cursor.revision > head.revision {
            return Err(no_place(field, cursor, head, "is ahead of the log"));
        }
        if cursor.revision == 0 {
            return Ok(None);
        }
        let event = tx.event(&found.id, cursor.revision).await?;
        let payload = self.signer.event(&event)?;
        if cursor.revision == head.revision {
            self.signer.head(&event, Head { cursor: head, hash: found.head_hash })?;
        }
        if cursor.epoch != 0 && cursor.epoch != event.cursor.epoch {
            return Err(no_place(
                field,
                cursor,
                head,
                &format!("is no place of the log: that revision has epoch {}", event.cursor.epoch),
            ));
        }
        if !at.may_be(Fingerprint::of(&event.hash)) {
            return Err(other_event(cursor, head));
        }
        Ok(Some((event, payload)))
    }

    /// Digest of the active set at a cursor, as a checkpoint there has it.
    ///
    /// # Errors
    /// As `event_at`; a cursor without an epoch is none.
    pub(super) async fn set_digest_at(&self, namespace: &NamespaceId, cursor: Cursor) -> Result<Digest> {
        let cell = self.places.cell(namespace, cursor);
        let digest = cell.get_or_try_init(|| async {
            if let Some(feed) = self.hub.existing(namespace) {
                let (view, _) = feed.view();
                if view.head().cursor == cursor {
                    return Ok(self.hub.set_digest(&view));
                }
            }
            let (tx, found) = self.look(namespace).await?;
            if cursor.epoch == 0 {
                return Err(no_place("cursor", cursor, found.cursor, "has no epoch"));
            }
            self.event_at(&tx, &found, ("cursor", cursor.into())).await?;
            let entries = tx.active_entries(namespace, 0, cursor.revision).await?;
            let active = entries.iter().filter_map(|(policy, entry)| Some((policy, entry.as_ref()?)));
            Ok(active_set_digest(active.map(|(policy, entry)| (policy, entry.version, &entry.digest))))
        });
        digest.await.cloned()
    }
}
