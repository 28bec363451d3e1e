//! The steps that every change of a signing key shares.

use super::use_cases::SigningKeys;
use crate::domain::event::Change;
use crate::domain::key::KeyChange;
use crate::domain::outcome::KeyChanged;
use crate::domain::{Error, Result};
use crate::service::log::{Write, warn_if_rows_differ};
use crate::service::proof::{KeyView, Signer};
use crate::signing::PublicKey;

/// Returns the entry for a new key in an event.
pub(super) fn new_key_change(key: &PublicKey) -> KeyChange {
    KeyChange {
        key_id: key.key_id().to_owned(),
        algorithm: Some(key.algorithm().as_str().to_owned()),
        jwk: Some(key.to_jwk().to_string()),
        statement: None,
    }
}

/// Records a change of a key, and writes the rows of every key that it changes.
pub(super) async fn record_key_change(
    write: &mut Write<'_>,
    signer: &Signer,
    view: &KeyView,
    change: &mut Change,
    key: KeyChange,
) -> Result<KeyChanged> {
    let (next, now) = (write.tx.head().next(), write.time());
    let revision = next.revision;
    let mut ring = view.ring().clone();
    ring.take(change.kind, &key, now, revision)?;
    let key = KeyChange { statement: signer.state_keys(view, &ring, next, now)?, ..key };
    change.settings = Some(serde_json::to_value(&key).map_err(|error| Error::internal(error.to_string()))?);
    for record in ring.records().filter(|record| record.revision == revision) {
        write.tx.put_signing_key(record).await?;
    }
    let key = ring.get(&key.key_id)?.clone();
    let recorded = write.record(change.clone()).await?;
    Ok(KeyChanged { key, cursor: recorded.cursor })
}

impl SigningKeys {
    /// Reads the keys as of the locked log of `system`.
    pub(super) async fn read_key_view(&self, write: &Write<'_>) -> Result<KeyView> {
        let view = self.log.signer.view().at_end(write.tx.read(), &*self.log.signer).await?;
        warn_if_rows_differ(write.tx.read(), &view).await;
        Ok(view)
    }
}
