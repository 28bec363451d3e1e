//! How what is told is written: given by the room that knows the wire.
//!
//! Boundary: `watch` decides what a message says and who shares it; it never sees the wire's types.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::domain::bundle::{Activation, ActiveBundle, Staleness};
use crate::domain::command::Watch;
use crate::domain::digest::Digest;
use crate::domain::event::{Head, Position};
use crate::domain::name::{NamespaceId, PolicyId};

/// What a subscriber asked to hear of. Subscribers with equal filters share frames.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Filter {
    /// Empty: all.
    policies: BTreeSet<PolicyId>,
    /// Whether content is left out.
    pub(super) metadata_only: bool,
}

/// How a snapshot ends.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotEnd<'a> {
    /// Where the log stood.
    pub head: Head,
    /// Digest of the whole active set there.
    pub set_digest: &'a Digest,
    /// The checkpoint that signs both.
    pub checkpoint: &'a str,
}

/// Writes messages. Each answer is one whole message as it goes onto the stream, framing included.
pub trait Encode: Send + Sync + std::fmt::Debug {
    /// An activation.
    fn activation(&self, namespace: &NamespaceId, activation: &Activation, metadata_only: bool) -> Bytes;

    /// A part of a snapshot; the last one has an end.
    fn snapshot_part(&self, bundles: &[ActiveBundle], metadata_only: bool, end: Option<SnapshotEnd<'_>>) -> Bytes;

    /// A sign of life: of a cursor with its checkpoint, or of a stream that is ahead of this replica.
    fn heartbeat(&self, at: Option<(Position, &str)>, staleness: Staleness) -> Bytes;
}

impl Filter {
    pub(super) fn of(watch: &Watch) -> Self {
        Self { policies: watch.policies.clone(), metadata_only: watch.metadata_only }
    }

    pub(super) fn wants(&self, policy: &PolicyId) -> bool {
        self.policies.is_empty() || self.policies.contains(policy)
    }

    pub(super) fn wants_all(&self) -> bool {
        self.policies.is_empty()
    }
}
