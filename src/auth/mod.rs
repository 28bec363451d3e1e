//! Who asks: from a credential to a principal.
//!
//! A [`Verifier`] holds the keys it trusts and answers with a [`crate::domain::principal::Principal`] or a refusal.
//! Never sees tonic, a database, the network or a clock: the header and the time are parameters.
//! Nothing in a token chooses its own key, algorithm or issuer; messages are fixed texts that can't hold a token.

pub mod issuer;
pub mod provider;
pub mod verified;
mod verifier;

#[cfg(test)]
mod bad_tokens;

pub use issuer::LocalIssuer;
pub use verifier::{TrustedKey, Verifier};
