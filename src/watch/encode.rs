//! The interface for encoding messages; the module that knows the wire format implements it.
//!
//! Boundary: `watch` decides the content of a message and who shares it; it never sees the wire's types.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::domain::bundle::{Activation, ActiveBundle, Bundle, Staleness};
use crate::domain::command::StartWatch;
use crate::domain::event::{Cursor, Head, Position};
use crate::domain::name::{NamespaceId, PolicyId};

/// The policies that a subscriber asked for. Subscribers with equal filters share frames.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WatchFilter {
    /// The policies; empty means all.
    policies: BTreeSet<PolicyId>,
    /// Whether content is left out.
    pub(super) metadata_only: bool,
}

/// The end of a snapshot.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotEnd<'a> {
    /// The head of the log.
    pub head: Head,
    /// The checkpoint that signs the head and the root of the active set.
    pub checkpoint: &'a str,
    /// Proves under that root the active versions of the policies that were asked for; empty when all were.
    pub set_proof: &'a Bytes,
}

/// The proof that a heartbeat carries for a stream's cursor.
#[derive(Debug, Clone, Copy)]
pub struct HeartbeatProof<'a> {
    /// The position up to which everything was sent.
    pub at: Position,
    /// The checkpoint of exactly this cursor.
    pub checkpoint: &'a str,
    /// The same as in a snapshot.
    pub set_proof: &'a Bytes,
}

/// The changes in a part of an activation.
#[derive(Debug, Clone, Copy, Default)]
pub struct ActivationChanges<'a> {
    /// The cursor of the activation.
    pub at: Cursor,
    /// The versions to which pointers moved.
    pub bundles: &'a [Arc<Bundle>],
    /// The policies whose pointers point to nothing now.
    pub tombstones: &'a [PolicyId],
}

/// The end of an activation.
#[derive(Debug, Clone, Copy)]
pub struct ActivationEnd<'a> {
    /// The activation.
    pub activation: &'a Activation,
    /// Proves under the root of its statement the active versions of the policies that were asked for; empty when all were.
    pub set_proof: &'a Bytes,
}

/// Encodes messages. Each method returns one whole message as it is written to the stream, including its framing.
pub trait Encode: Send + Sync + std::fmt::Debug {
    /// Encodes a part of an activation; the last one has an end.
    fn activation_part(
        &self,
        namespace: &NamespaceId,
        changes: ActivationChanges<'_>,
        metadata_only: bool,
        end: Option<ActivationEnd<'_>>,
    ) -> Bytes;

    /// Encodes a part of a snapshot; the last one has an end.
    fn snapshot_part(
        &self,
        namespace: &NamespaceId,
        bundles: &[ActiveBundle],
        metadata_only: bool,
        end: Option<SnapshotEnd<'_>>,
    ) -> Bytes;

    /// Encodes a key statement.
    fn key_statement(&self, statement: String) -> Bytes;

    /// Encodes a heartbeat: with the proof that its cursor is the newest, or without one for a stream ahead of this replica.
    fn heartbeat(&self, namespace: &NamespaceId, proven: Option<HeartbeatProof<'_>>, staleness: Staleness) -> Bytes;
}

impl WatchFilter {
    pub(super) fn of(watch: &StartWatch) -> Self {
        Self { policies: watch.policies.clone(), metadata_only: watch.metadata_only }
    }

    /// Returns a filter with contents.
    pub(super) fn of_policies(policies: BTreeSet<PolicyId>) -> Self {
        Self { policies, metadata_only: false }
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
