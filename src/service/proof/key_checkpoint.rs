//! The key checkpoint: how far this replica verified the log of `system`. With it a start reads only what was added since.
//!
//! It names the events that say which keys, revocations and roles are in force. A start verifies these again. It is signed with the event
//! key: a list without a revocation would make a revoked key trusted.

use serde::{Deserialize, Serialize};

use super::key_view::KeyView;
use super::signer::Signer;
use crate::domain::digest::Digest;
use crate::domain::event::{Cursor, Head};
use crate::domain::name::NamespaceId;
use crate::domain::{Error, Reason, Result};
use crate::signing::jws;
use crate::store::ReadTx;

/// The `typ` of the token. It is not in `signing`, because the token never leaves the data directory.
const TYP_KEY_CHECKPOINT: &str = "policyhub-key-checkpoint+jws";

/// The payload of the token.
#[derive(Debug, Serialize, Deserialize)]
struct KeyCheckpoint {
    store: String,
    #[serde(flatten)]
    cursor: Cursor,
    /// Hash of the event there.
    hash: Digest,
    /// Revisions of the events that say what is in force, in order.
    events: Vec<i64>,
    /// Digest of the hashes of these events, in order: two copies of a store that went on by themselves may have signed two events of one
    /// revision.
    events_digest: Digest,
}

impl KeyCheckpoint {
    /// Takes the payload of a token that was made by a replica of this store.
    fn verify(token: &str, signer: &Signer) -> Option<Self> {
        let signed = jws::verify(token, TYP_KEY_CHECKPOINT, &signer.trust().seal_keys).ok()?;
        let kept: Self = serde_json::from_slice(&signed.payload).ok()?;
        (kept.store == signer.store()).then_some(kept)
    }
}

/// What a start knows by a checkpoint.
#[derive(Debug)]
pub enum FromCheckpoint {
    /// This was verified, and the log has it.
    View(Box<KeyView>),
    /// Nothing: the whole log has to be read.
    Nothing,
    /// The same, and the log lacks what a checkpoint of this epoch names of keys, revocations or roles.
    Lost {
        /// The epoch of the log then.
        epoch: i64,
    },
}

/// Returns the last event that a checkpoint says was verified; none when it was not made by a replica of this store.
pub fn verified_head(token: &str, signer: &Signer) -> Option<Head> {
    let kept = KeyCheckpoint::verify(token, signer)?;
    Some(Head { cursor: kept.cursor, hash: kept.hash.to_sha256().ok()? })
}

impl KeyView {
    /// Returns the checkpoint of what is known, a compact JWS.
    ///
    /// # Errors
    /// `INTERNAL` when it is too long, or signing fails.
    pub fn to_checkpoint(&self, signer: &Signer) -> Result<String> {
        let Head { cursor, hash } = self.head();
        let events = self.source_events();
        let kept = KeyCheckpoint {
            store: signer.store().to_owned(),
            cursor,
            hash: Digest::from_sha256(&hash),
            events: events.iter().map(|event| event.cursor.revision).collect(),
            events_digest: digest_of_events(&events),
        };
        let payload = serde_json::to_vec(&kept).map_err(|error| Error::internal(error.to_string()))?;
        signer.sign_with_event_key(TYP_KEY_CHECKPOINT, &payload)
    }

    /// Returns what was known at a checkpoint, if the log still has what it names.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn at_checkpoint(tx: &ReadTx, token: &str, signer: &Signer) -> Result<FromCheckpoint> {
        let Some(kept) = KeyCheckpoint::verify(token, signer) else {
            tracing::warn!("the key checkpoint is not of this store, or was edited; reading the whole log of system");
            return Ok(FromCheckpoint::Nothing);
        };
        let revisions: Vec<i64> = kept.events.iter().copied().chain([kept.cursor.revision]).collect();
        let events = match tx.events_at(&NamespaceId::system(), &revisions).await {
            Err(error) if error.reason == Reason::DataLoss => Default::default(),
            events => events?,
        };
        // An event that is gone or edited is found by the reading of the whole log, which says what is wrong.
        let has_named = |view: &Self| digest_of_events(&view.source_events()) == kept.events_digest;
        let view = Self::from_events(events.values(), signer).ok().filter(|view| {
            view.head().cursor == kept.cursor && Digest::from_sha256(&view.head().hash) == kept.hash && has_named(view)
        });
        if let Some(view) = view {
            return Ok(FromCheckpoint::View(Box::new(view)));
        }
        tracing::info!("the log of system does not have what the key checkpoint names; reading the whole log");
        let named = events.values().filter(|event| kept.events.contains(&event.cursor.revision));
        let has_all_named = Self::from_events(named, signer).is_ok_and(|view| has_named(&view));
        if has_all_named { Ok(FromCheckpoint::Nothing) } else { Ok(FromCheckpoint::Lost { epoch: kept.cursor.epoch }) }
    }
}

fn digest_of_events(events: &[Head]) -> Digest {
    let hashes: Vec<u8> = events.iter().flat_map(|event| event.hash).collect();
    Digest::of_bytes(&hashes)
}
