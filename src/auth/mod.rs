//! Authentication: from a credential to a principal.
//!
//! A [`Verifier`] holds the keys and authorities it trusts and answers with a [`crate::domain::principal::Caller`] or a
//! refusal. Never sees tonic, a database, the network or a clock: keys, header, certificate and time are given to it.
//! Nothing in a token chooses its own key, algorithm or issuer; messages are fixed texts that can't hold a token.

pub mod certificate;
mod claims;
pub mod issuer;
pub mod jwks;
pub mod provider;
mod revoked;
pub mod rules;
mod thumbprint;
mod token;
pub mod verified;
mod verifier;

#[cfg(test)]
mod tests;

pub use certificate::{Authorities, PeerCertificate};
pub use claims::{CLOCK_LEEWAY, ClockLeeway};
pub use issuer::LocalIssuer;
pub use jwks::KeySet;
pub use revoked::Revoked;
pub use rules::{IssuerRules, TokenAlgorithm};
pub use verifier::Verifier;
