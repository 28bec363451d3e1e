//! Positions of a log that callers name: checks that the log has them, and finds their events.

use std::collections::BTreeMap;

use super::reader::LogReader;
use crate::domain::command::AsOf;
use crate::domain::event::{Cursor, Event, Fingerprint, Head, Payload, Position};
use crate::domain::name::NamespaceId;
use crate::domain::outcome::Namespace;
use crate::domain::{Error, Reason, Result};
use crate::store::ReadTx;
use crate::watch::Verify as _;

pub fn invalid_position(field: &str, cursor: Cursor, head: Cursor, what: &str) -> Error {
    let message = format!("{}:{} {what}; the head is {}:{}", cursor.epoch, cursor.revision, head.epoch, head.revision);
    Error::invalid(field, message).with("head_epoch", head.epoch).with("head_revision", head.revision)
}

pub fn position_gone(cursor: Cursor, head: Cursor) -> Error {
    let Cursor { epoch, revision } = cursor;
    let message =
        format!("another event stands at {epoch}:{revision} than the one that the cursor names; read it again");
    Error::new(Reason::ResumePointGone, message)
        .with("resume_epoch", epoch)
        .with("resume_revision", revision)
        .with("current_epoch", head.epoch)
}

impl LogReader {
    /// Reads the event at a cursor, proven; none before the first. Epoch 0 means the epoch of that revision. `field` names the cursor in
    /// an error.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when it is no position of the log, `RESUME_POINT_GONE` when the event there is not the one that the position
    /// names, `DATA_LOSS`.
    pub async fn read_event_at(
        &self,
        tx: &ReadTx,
        found: &Namespace,
        (field, at): (&str, Position),
    ) -> Result<Option<(Event, Payload)>> {
        let (cursor, head) = (at.cursor, found.cursor);
        if cursor.epoch > head.epoch || cursor.revision > head.revision {
            return Err(invalid_position(field, cursor, head, "is ahead of the log"));
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
            return Err(invalid_position(
                field,
                cursor,
                head,
                &format!("is no position of the log: that revision has epoch {}", event.cursor.epoch),
            ));
        }
        if !at.may_be(Fingerprint::of(&event.hash)) {
            return Err(position_gone(cursor, head));
        }
        Ok(Some((event, payload)))
    }

    /// Returns the positions of the events at these revisions, each proven by its signature.
    ///
    /// # Errors
    /// `DATA_LOSS`, also for a missing event.
    pub async fn read_positions(
        &self,
        tx: &ReadTx,
        namespace: &NamespaceId,
        revisions: &[i64],
    ) -> Result<BTreeMap<i64, Position>> {
        let events = tx.events_at(namespace, revisions).await?;
        if let Some(missing) = revisions.iter().find(|revision| !events.contains_key(revision)) {
            return Err(Error::data_loss(format!("{namespace} has no event {missing}")));
        }
        for event in events.values() {
            self.signer.event(event)?;
        }
        Ok(events.into_iter().map(|(revision, event)| (revision, event.head().into())).collect())
    }

    /// Returns the position of the log that a caller asks for, and the namespace.
    pub async fn find_position(
        &self,
        tx: &ReadTx,
        namespace: &NamespaceId,
        as_of: AsOf,
    ) -> Result<(Position, Namespace)> {
        let found = tx.namespace(namespace).await?;
        let head = found.cursor;
        let at = match as_of {
            AsOf::Now => head.into(),
            AsOf::Time(time) => {
                let newest = self.store.newest_time(tx, namespace, head.revision).await?;
                if time > newest {
                    return Err(Error::invalid("time", "is in the future: what will be in force then is not known"));
                }
                Cursor { epoch: 0, revision: tx.revision_at(namespace, time).await? }.into()
            }
            AsOf::Event(at) => at,
        };
        // Return the epoch of the event itself: with an epoch that was raised later, clients would drop what they hold.
        let at = match self.read_event_at(tx, &found, ("cursor", at)).await? {
            Some((event, _)) => event.head().into(),
            None => Cursor { revision: 0, ..head }.into(),
        };
        Ok((at, found))
    }
}
