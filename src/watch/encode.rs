//! Encodes messages; the module that knows the wire format implements it.
//!
//! Boundary: `watch` decides what a message says and who shares it; it never sees the wire's types.

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

/// The proof that a heartbeat carries for a stream's cursor.
#[derive(Debug, Clone, Copy)]
pub struct HeartbeatProof<'a> {
    /// Everything up to here was sent.
    pub at: Position,
    /// The checkpoint of exactly this cursor.
    pub checkpoint: &'a str,
    /// As in a snapshot.
    pub set_proof: &'a Bytes,
}

/// What a part of an activation brings.
#[derive(Debug, Clone, Copy, Default)]
pub struct ActivationChanges<'a> {
    /// The cursor of the activation.
    pub at: Cursor,
    /// What points somewhere new.
    pub bundles: &'a [Arc<Bundle>],
    /// What points nowhere any more.
    pub tombstones: &'a [PolicyId],
}

/// How an activation ends.
#[derive(Debug, Clone, Copy)]
pub struct ActivationEnd<'a> {
    /// The activation.
    pub activation: &'a Activation,
    /// Proves under the root of its statement what is in force of the policies that were asked for; empty when all were.
    pub set_proof: &'a Bytes,
}

/// Writes messages. Each answer is one whole message as it goes onto the stream, framing included.
pub trait Encode: Send + Sync + std::fmt::Debug {
    /// A part of an activation; the last one has an end.
    fn activation_part(
        &self,
        namespace: &NamespaceId,
        changes: ActivationChanges<'_>,
        metadata_only: bool,
        end: Option<ActivationEnd<'_>>,
    ) -> Bytes;

    /// A part of a snapshot; the last one has an end.
    fn snapshot_part(
        &self,
        namespace: &NamespaceId,
        bundles: &[ActiveBundle],
        metadata_only: bool,
        end: Option<SnapshotEnd<'_>>,
    ) -> Bytes;

    /// A key statement.
    fn key_statement(&self, statement: String) -> Bytes;

    /// Encodes a heartbeat: with the proof that its cursor is the newest, or without one for a stream ahead of this replica.
    fn heartbeat(&self, namespace: &NamespaceId, proven: Option<HeartbeatProof<'_>>, staleness: Staleness) -> Bytes;
}

impl WatchFilter {
    pub(super) fn of(watch: &StartWatch) -> Self {
        Self { policies: watch.policies.clone(), metadata_only: watch.metadata_only }
    }

    /// A filter with contents.
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
