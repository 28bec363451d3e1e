//! What proves a set that is held: a signed document with its root, and for a part of the set the proof under that root.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A signed document that names the root of an active set, compact JWS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProofDocument {
    /// The statement of the activation that made the set.
    Statement(String),
    /// A checkpoint of the log where the set was in force.
    Checkpoint(String),
}

/// Proves a set: verified again whenever the set is read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Holds what was signed.
    pub document: ProofDocument,
    /// Proves under its root what is in force of the policies asked for; empty when all were.
    pub set_proof: Bytes,
}

impl Evidence {
    /// Copies the evidence, because a slice of a received message would keep all of that message in memory.
    #[must_use]
    pub fn new(document: ProofDocument, set_proof: &[u8]) -> Self {
        Self { document, set_proof: Bytes::copy_from_slice(set_proof) }
    }
}
