//! How far this replica verified the log of `system`, kept over a restart: so a start costs what the log has gained, not its length.
//!
//! It names the events that changed keys, which are verified again, and is signed by the key of event signatures: a list that left one
//! out would make a revoked key trusted.

use serde::{Deserialize, Serialize};

use super::key_view::KeyView;
use super::signer::Signer;
use crate::domain::digest::Digest;
use crate::domain::event::{Cursor, Head};
use crate::domain::name::NamespaceId;
use crate::domain::{Error, Reason, Result};
use crate::signing::jws;
use crate::store::ReadTx;

/// It never leaves the data directory.
const TYP_KEY_CHECKPOINT: &str = "policyhub-key-checkpoint+jws";

/// What is kept.
#[derive(Debug, Serialize, Deserialize)]
struct KeyCheckpoint {
    store: String,
    #[serde(flatten)]
    cursor: Cursor,
    /// Hash of the event there.
    hash: Digest,
    /// Revisions of the events that changed keys, in order.
    key_events: Vec<i64>,
}

impl Signer {
    /// Returns the checkpoint of the keys as they are known now, a compact JWS.
    ///
    /// # Errors
    /// `INTERNAL` when signing fails.
    pub fn key_checkpoint(&self) -> Result<String> {
        let view = self.view();
        let Head { cursor, hash } = view.head();
        let hash = Digest::from_sha256(&hash);
        let kept =
            KeyCheckpoint { store: self.store().to_owned(), cursor, hash, key_events: view.key_events().to_vec() };
        let payload = serde_json::to_vec(&kept).map_err(|error| Error::internal(error.to_string()))?;
        self.sign_as_sealer(TYP_KEY_CHECKPOINT, &payload)
    }

    /// Returns the keys up to a checkpoint; none when it is not of this log any more, or was not made here: then the whole log tells.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn keys_at_checkpoint(&self, tx: &ReadTx, token: &str) -> Result<Option<KeyView>> {
        let Ok(signed) = jws::verify(token, TYP_KEY_CHECKPOINT, &self.trust().seal_keys) else { return Ok(None) };
        let Ok(kept) = serde_json::from_slice::<KeyCheckpoint>(&signed.payload) else { return Ok(None) };
        if kept.store != self.store() {
            return Ok(None);
        }
        let revisions: Vec<i64> = kept.key_events.iter().copied().chain([kept.cursor.revision]).collect();
        let events = match tx.events_at(&NamespaceId::system(), &revisions).await {
            Err(error) if error.reason == Reason::DataLoss => return Ok(None),
            events => events?,
        };
        let is_head = |head: Head| head.cursor == kept.cursor && Digest::from_sha256(&head.hash) == kept.hash;
        let view = KeyView::from_events(events.values(), self);
        // An event that is gone or edited is found by the reading of the whole log, which says what is wrong.
        Ok(view.ok().filter(|view| view.key_events() == kept.key_events && is_head(view.head())))
    }
}
