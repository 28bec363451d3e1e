//! Why a message of a watch was refused.
//!
//! A refused message changes nothing: the set that was held stays in force. Texts are lower-case fragments.

use policyhub_core::domain::event::Cursor;
use policyhub_core::domain::name::PolicyId;
use policyhub_core::signing::{SetProofError, VerifyError};

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A signature, or what it covers, does not hold.
    #[error("{what} does not verify: {error}")]
    Signature {
        /// Holds what was signed: `manifest of pricing`, `statement`, `checkpoint`.
        what: String,
        /// Holds what is wrong with it.
        error: VerifyError,
    },
    /// A part of the message is absent or can't be read.
    #[error("message is malformed: {0}")]
    Malformed(&'static str),
    /// Signed for another namespace.
    #[error("{what} is signed for namespace {found}")]
    OtherNamespace {
        /// Holds what was signed.
        what: String,
        /// Says whose it is.
        found: String,
    },
    /// Signed by another store.
    #[error("{what} is signed for store {found}, not {held}")]
    OtherStore {
        /// Holds what was signed.
        what: String,
        /// The store it names.
        found: String,
        /// The store this set belongs to.
        held: String,
    },
    /// Goes back behind what is held, or repeats it: a replay.
    #[error("cursor {}:{} is not after {}:{}", found.epoch, found.revision, held.epoch, held.revision)]
    NotNewer {
        /// The cursor it names.
        found: Cursor,
        /// The cursor that is held.
        held: Cursor,
    },
    /// The cursor beside a statement or a checkpoint is not the one that is signed.
    #[error("it is signed for {}:{}, not {}:{}", signed.epoch, signed.revision, found.epoch, found.revision)]
    OtherCursor {
        /// The cursor beside it.
        found: Cursor,
        /// The cursor in it.
        signed: Cursor,
    },
    /// The statement does not put this bundle in force.
    #[error("statement does not put this version of {0} in force")]
    NotStated(PolicyId),
    /// The fields beside the manifest are not those that are signed.
    #[error("{field} of {policy} is not the signed one")]
    OtherBundle {
        /// Names the policy of the bundle.
        policy: PolicyId,
        /// Says which field.
        field: &'static str,
    },
    /// The statement changes a policy, and the message says nothing of it.
    #[error("change of {0} is missing")]
    ChangeMissing(PolicyId),
    /// A policy is there twice, or was not asked for.
    #[error("{0} is there twice, or was not asked for")]
    Unexpected(PolicyId),
    /// The change does not follow what is held: an activation was left out.
    #[error("change of {policy} follows version {stated}, but version {held} is held")]
    NotFollowing {
        /// Names the policy of the pointer.
        policy: PolicyId,
        /// The version before, as signed.
        stated: i64,
        /// The version held; 0: none.
        held: i64,
    },
    /// The set is not the one that is signed: something was left out, put in, or is not what is in force there.
    #[error("active set is not the one of the {0}")]
    OtherSet(&'static str),
    /// The proof of the part that was asked for does not verify.
    #[error("proof of the active set: {0}")]
    SetProof(SetProofError),
    /// A draft, served by fallback: never in force here.
    #[error("{0} is a preview, not in force")]
    Preview(String),
    /// Nothing to build on: no whole snapshot came, and no resume point was given.
    #[error("{0} came before a whole snapshot")]
    NoSnapshot(&'static str),
    /// More policies than a namespace can have.
    #[error("snapshot has more policies than a namespace can have")]
    TooManyPolicies,
}

impl Refusal {
    /// Returns whether the server shows another history than the one held, rather than something that proves nothing.
    #[must_use]
    pub fn is_divergence(&self) -> bool {
        matches!(self, Self::OtherStore { .. } | Self::NotNewer { .. } | Self::NotFollowing { .. } | Self::OtherSet(_))
    }
}
