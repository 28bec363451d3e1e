//! What the messages of a watch carry: the parts of snapshots and activations, their ends, and the proofs of heartbeats.

use std::sync::Arc;

use bytes::Bytes;

use super::bundle::{Activation, Bundle};
use super::event::{Cursor, Head, Position};
use super::name::PolicyId;

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
