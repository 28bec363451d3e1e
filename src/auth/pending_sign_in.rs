//! A sign-in at an identity provider that has begun: what the browser brings back must match it (RFC 6749 §10.12, RFC 7636).
//!
//! Invariant: it is kept in a sealed cookie of the browser that began it, and nowhere on the server, so that every replica can end it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::random_text::random_code;
use crate::domain::Result;

/// The time in which somebody signs in at the provider.
pub const PENDING_SIGN_IN_SECONDS: i64 = 10 * 60;

/// A sign-in that has begun.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingSignIn {
    /// The name of the issuer that was asked.
    pub issuer_name: String,
    /// Binds the answer to this browser.
    pub state: String,
    /// Binds the ID token to this sign-in.
    pub nonce: String,
    /// Proves that who exchanges the code is who began (PKCE).
    pub code_verifier: String,
    /// The path to go to then.
    pub next: String,
    /// The time at which it ends, in seconds since the Unix epoch.
    pub ends_at_seconds: i64,
}

impl std::fmt::Debug for PendingSignIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingSignIn").field("issuer_name", &self.issuer_name).finish_non_exhaustive()
    }
}

impl PendingSignIn {
    /// Begins a sign-in at an issuer.
    ///
    /// # Errors
    /// `INTERNAL` when the system has no randomness.
    pub fn begin(issuer_name: &str, next: &str, now_seconds: i64) -> Result<Self> {
        Ok(Self {
            issuer_name: issuer_name.to_owned(),
            state: random_code()?,
            nonce: random_code()?,
            code_verifier: random_code()?,
            next: next.to_owned(),
            ends_at_seconds: now_seconds.saturating_add(PENDING_SIGN_IN_SECONDS),
        })
    }

    /// Returns the code challenge of PKCE, by the method S256 (RFC 7636 §4.2).
    #[must_use]
    pub fn code_challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(ring::digest::digest(&ring::digest::SHA256, self.code_verifier.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_that_of_the_rfc() {
        let mut pending = PendingSignIn::begin("corp", "/", 7).expect("begun");
        assert_eq!(pending.code_verifier.len(), 43, "RFC 7636 §4.1: 43 characters at least");
        assert_ne!(pending.state, pending.nonce);
        pending.code_verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned();
        assert_eq!(pending.code_challenge(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        assert!(!format!("{pending:?}").contains(&pending.code_verifier));
    }
}
