//! Builds an event from its payload: chained to the head of its log, and signed.

use crate::domain::event::{Cursor, Event, Head, Payload};
use crate::domain::{Error, Result};
use crate::service::proof::Signer;
use crate::signing::event_hash;

/// Returns the event of a payload, chained to `head` and signed.
pub fn sign_event(signer: &Signer, head: Head, payload: &Payload, statement: String) -> Result<Event> {
    let bytes = serde_json::to_vec(payload).map_err(|error| Error::internal(error.to_string()))?;
    let hash = event_hash(&head.hash, &bytes);
    Ok(Event {
        namespace: payload.namespace.clone(),
        cursor: Cursor { epoch: payload.epoch, revision: payload.revision },
        payload: bytes,
        prev_hash: head.hash,
        hash,
        seal: signer.sign_event_hash(&hash)?,
        seal_key_id: signer.event_key().key_id().to_owned(),
        statement,
    })
}
