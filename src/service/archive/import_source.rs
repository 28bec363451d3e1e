//! The source of an import: whether it can be verified, and with which keys.

use super::use_cases::Archive;
use crate::domain::import::ImportSource;
use crate::domain::{Error, Reason, Result};
use crate::signing::KeySet;
use crate::signing::chain::LogTrust;

/// Returns the refusal of an item that the log of the source does not prove.
pub(super) fn refused(message: impl Into<String>) -> Error {
    Error::new(Reason::ImportRefused, message)
}

/// Returns the keys that verify the events of a source.
pub(super) fn trust_of(source: &ImportSource) -> Result<LogTrust> {
    if !source.has_store_id() {
        return Err(refused("source.store is no id of a store"));
    }
    let read = |what: &str, jwks: &str| {
        KeySet::parse_jwks(jwks.as_bytes()).map_err(|error| refused(format!("{what} can't be read: {error}")))
    };
    Ok(LogTrust {
        store: source.store.clone(),
        keys: read("source.jwks", &source.jwks)?,
        seal_keys: read("source.seal_jwks", &source.seal_jwks)?,
    })
}

impl Archive {
    /// Checks that a source is readable. One that names this store must name only its keys: the id of a store is public, and imported
    /// versions are signed with it.
    ///
    /// # Errors
    /// `IMPORT_REFUSED`.
    pub(super) fn check_source(&self, source: &ImportSource) -> Result<()> {
        let (claimed, own) = (trust_of(source)?, self.log.signer.trust());
        if claimed.store != own.store {
            return Ok(());
        }
        for (claimed, own) in [(&claimed.keys, &own.keys), (&claimed.seal_keys, &own.seal_keys)] {
            if let Some(other) = claimed.keys().find(|key| own.get(key.key_id()) != Some(*key)) {
                let key_id = other.key_id();
                return Err(refused(format!("the source names this store, which has no key {key_id}")));
            }
        }
        Ok(())
    }
}
