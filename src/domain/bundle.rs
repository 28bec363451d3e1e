//! Bundles as they travel to subscribers: a published version, its bytes, and the proof that it is in force.

use std::sync::Arc;

use bytes::Bytes;

use super::digest::{Digest, Hash};
use super::event::Cursor;
use super::name::{NamespaceId, PolicyId};
use super::version::Version;

/// A version with its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The version, with its manifest.
    pub version: Version,
    /// Its exact bytes.
    pub content: Bytes,
}

/// A bundle that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveBundle {
    /// The bundle.
    pub bundle: Arc<Bundle>,
    /// Revision of the activation that put it in force; 0 for a preview.
    pub revision: i64,
    /// Statement of that activation; empty for a preview.
    pub statement: Arc<str>,
    /// Whether it is a draft, served by fallback.
    pub preview: bool,
}

/// One activation, as it is told.
#[derive(Debug, Clone)]
pub struct Activation {
    /// Its place in the log.
    pub cursor: Cursor,
    /// Its statement.
    pub statement: Arc<str>,
    /// What points somewhere new.
    pub bundles: Vec<Arc<Bundle>>,
    /// What points nowhere any more.
    pub tombstones: Vec<PolicyId>,
}

/// The active set of a namespace at one place of its log.
#[derive(Debug, Clone)]
pub struct ActiveSet {
    /// Whose.
    pub namespace: NamespaceId,
    /// Where the log stood.
    pub cursor: Cursor,
    /// Hash of the event there.
    pub head_hash: Hash,
    /// In byte order of their policies.
    pub bundles: Vec<ActiveBundle>,
}

impl ActiveSet {
    /// What the digest of an active set is made of, in its order.
    pub fn entries(&self) -> impl Iterator<Item = (&PolicyId, i64, &Digest)> {
        self.bundles.iter().map(|active| {
            let version = &active.bundle.version;
            (&version.policy.policy, version.number, &version.digest)
        })
    }
}
