//! Authentication: from a credential to a principal.
//!
//! A [`Verifier`] holds the trusted keys and CAs and returns a [`crate::domain::principal::Caller`] or a refusal. It uses no tonic,
//! database, network or clock: keys, header, certificate and time are arguments. A token never chooses its own key, algorithm or
//! issuer; messages are fixed texts that can't contain a token.

pub mod certificate;
mod claims;
mod console_session;
mod id_token;
pub mod issuer;
pub mod jwks;
mod pending_sign_in;
pub mod provider;
mod random_text;
pub mod rules;
mod thumbprint;
mod token;
pub mod verified;
mod verifier;

#[cfg(test)]
mod tests;

pub use certificate::{Authorities, PeerCertificate};
pub use claims::{CLOCK_LEEWAY, ClockLeeway};
pub use console_session::{ConsoleSession, ConsoleSessionKeys};
pub use issuer::LocalIssuer;
pub use jwks::IssuerKeys;
pub use pending_sign_in::{PENDING_SIGN_IN_SECONDS, PendingSignIn};
pub use random_text::random_code;
pub use rules::{IssuerRules, TokenAlgorithm};
pub use verifier::Verifier;
