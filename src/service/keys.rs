//! The public keys, as subscribers and verifiers ask for them.

use super::Service;
use crate::signing::PublicKey;

/// What a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyPurpose {
    /// Bundles, statements, checkpoints, previews.
    Bundle,
    /// Seals of events.
    Seal,
}

/// A public key.
#[derive(Debug, Clone)]
pub struct KeyInfo {
    /// The key.
    pub key: PublicKey,
    /// What it signs.
    pub purpose: KeyPurpose,
    /// Whether it signs now; else it only verifies.
    pub active: bool,
}

impl Service {
    /// Every public key, those that sign first.
    #[must_use]
    pub fn keys(&self) -> Vec<KeyInfo> {
        let active = self.signer.active().key_id();
        let mut keys: Vec<KeyInfo> = self
            .signer
            .keys()
            .keys()
            .map(|key| KeyInfo { key: key.clone(), purpose: KeyPurpose::Bundle, active: key.key_id() == active })
            .collect();
        keys.push(KeyInfo { key: self.signer.sealing().clone(), purpose: KeyPurpose::Seal, active: true });
        keys.sort_by_key(|info| !info.active);
        keys
    }

    /// The keys that bundles are verified with, as JWKS (RFC 7517 §5).
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        self.signer.keys().to_jwks()
    }
}
