//! Why a set proof was refused.
//!
//! Ids in it are the caller's own, from the filter or the claim: no byte of an unverified proof reaches a log through it.

use crate::domain::name::PolicyId;

/// A refusal. The names of the variants and their texts are stable: `tests/vectors/` refers to them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetProofError {
    /// The proof is over `limits::SET_PROOF_MAX_BYTES`.
    #[error("proof is too large")]
    TooLarge,
    /// The proof has more than `limits::SET_PROOF_PARTS_MAX` parts.
    #[error("proof has too many parts")]
    TooManyParts,
    /// The proof ends before its tree does.
    #[error("proof is truncated")]
    Truncated,
    /// Bytes follow the tree.
    #[error("proof has bytes after its end")]
    TrailingBytes,
    /// A part begins with a byte that is no tag.
    #[error("proof has a part of an unknown kind")]
    TagUnknown,
    /// A node stands below the last bit of a key.
    #[error("proof is deeper than a key")]
    TooDeep,
    /// A leaf stands where its key does not lead.
    #[error("proof has a leaf where its key does not lead")]
    LeafMisplaced,
    /// An empty subtree is written as a hash.
    #[error("proof has an empty subtree written as a hash")]
    EmptyAsHash,
    /// A node has fewer than two leaves below it: no tree has such a node.
    #[error("proof has a node with fewer than two leaves")]
    NodeNotCanonical,
    /// A node or leaf is open that no policy of the filter leads to.
    #[error("proof opens what nobody asked for")]
    OpenedUnasked,
    /// The way to a policy of the filter ends in a hash, which may hide it.
    #[error("proof hides policy {0}")]
    Hidden(PolicyId),
    /// The proof is sound and of another root.
    #[error("proof is of another root")]
    RootMismatch,
    /// The claim names a policy that is not in the filter.
    #[error("policy {0} is claimed and not in the filter")]
    NotInFilter(PolicyId),
    /// The claim has a policy in force that is not.
    #[error("policy {0} is claimed and not active")]
    NotActive(PolicyId),
    /// The claim has another version, digest or activation of a policy than the one in force.
    #[error("policy {0} is active otherwise than claimed")]
    Differs(PolicyId),
    /// A policy of the filter is in force and not in the claim.
    #[error("policy {0} is active and not claimed")]
    NotClaimed(PolicyId),
}

impl SetProofError {
    /// Returns whether the proof holds under the root and contradicts the claim: then what is claimed is wrong, and asking another
    /// server for another proof does not help. In every other case the proof is bad and says nothing about the claim.
    #[must_use]
    pub fn contradicts_claim(&self) -> bool {
        match self {
            Self::NotInFilter(_) | Self::NotActive(_) | Self::Differs(_) | Self::NotClaimed(_) => true,
            Self::TooLarge
            | Self::TooManyParts
            | Self::Truncated
            | Self::TrailingBytes
            | Self::TagUnknown
            | Self::TooDeep
            | Self::LeafMisplaced
            | Self::EmptyAsHash
            | Self::NodeNotCanonical
            | Self::OpenedUnasked
            | Self::Hidden(_)
            | Self::RootMismatch => false,
        }
    }
}
