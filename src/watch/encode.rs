//! How what is told is written: given by the room that knows the wire.
//!
//! Boundary: `watch` decides what a message says and who shares it; it never sees the wire's types.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::domain::bundle::{Activation, ActiveBundle, Staleness};
use crate::domain::command::Watch;
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
    /// The checkpoint that signs it, and the root of the active set.
    pub checkpoint: &'a str,
    /// Proves under that root what is in force of the policies that were asked for; empty when all were.
    pub set_proof: &'a Bytes,
}

/// What a sign of life says of a stream's cursor.
#[derive(Debug, Clone, Copy)]
pub struct Proven<'a> {
    /// Everything up to here was sent.
    pub at: Position,
    /// The checkpoint of exactly this cursor.
    pub checkpoint: &'a str,
    /// As in a snapshot.
    pub set_proof: &'a Bytes,
}

/// Writes messages. Each answer is one whole message as it goes onto the stream, framing included.
pub trait Encode: Send + Sync + std::fmt::Debug {
    /// An activation.
    fn activation(&self, namespace: &NamespaceId, activation: &Activation, metadata_only: bool) -> Bytes;

    /// A part of a snapshot; the last one has an end.
    fn snapshot_part(&self, bundles: &[ActiveBundle], metadata_only: bool, end: Option<SnapshotEnd<'_>>) -> Bytes;

    /// A key statement.
    fn key_statement(&self, statement: String) -> Bytes;

    /// A sign of life: of a cursor that is proven to be the newest, or of a stream that is ahead of this replica.
    fn heartbeat(&self, proven: Option<Proven<'_>>, staleness: Staleness) -> Bytes;
}

impl Filter {
    pub(super) fn of(watch: &Watch) -> Self {
        Self { policies: watch.policies.clone(), metadata_only: watch.metadata_only }
    }

    pub(super) fn wants(&self, policy: &PolicyId) -> bool {
        self.policies.is_empty() || self.policies.contains(policy)
    }

    pub(super) fn policies(&self) -> &BTreeSet<PolicyId> {
        &self.policies
    }

    pub(super) fn wants_all(&self) -> bool {
        self.policies.is_empty()
    }
}
