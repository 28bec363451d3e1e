//! The interface for encoding messages; the module that knows the wire format implements it.
//!
//! Boundary: `watch` decides the content of a message and who shares it; it never sees the wire's types.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::domain::bundle::{ActiveBundle, Staleness};
use crate::domain::command::StartWatch;
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::watch_message::{ActivationChanges, ActivationEnd, HeartbeatProof, SnapshotEnd};

/// The policies that a subscriber asked for. Subscribers with equal filters share frames.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WatchFilter {
    /// The policies; empty means all.
    policies: BTreeSet<PolicyId>,
    /// Whether content is left out.
    pub(super) metadata_only: bool,
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
