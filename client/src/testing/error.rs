//! Why the testing hub could not do what a test asked of it.

use std::io;

use policyhub_core::domain::name::PolicyId;
use policyhub_core::domain::{Error, Reason};

/// An error of a [`TestHub`](super::TestHub).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestHubError {
    /// An argument can't be taken, such as an id that is not one. The text names the argument and the rule.
    #[error("{0}")]
    InvalidArgument(String),
    /// The policy has no version of this number, or there is no such policy.
    #[error("policy {policy} has no version {version}")]
    UnknownVersion {
        /// The policy that was named.
        policy: PolicyId,
        /// The number that was named.
        version: i64,
    },
    /// The policy has no version in force that could be taken out of it.
    #[error("policy {0} is not active")]
    NotActive(PolicyId),
    /// No port of the loopback address could be opened.
    #[error("failed to listen on the loopback address: {0}")]
    Listen(#[from] io::Error),
    /// A key could not be made, or a document could not be signed.
    #[error("failed to sign: {0}")]
    Sign(String),
}

impl From<Error> for TestHubError {
    fn from(error: Error) -> Self {
        match error.reason {
            Reason::Internal => Self::Sign(error.internal.unwrap_or(error.message)),
            _ => Self::InvalidArgument(error.message),
        }
    }
}
