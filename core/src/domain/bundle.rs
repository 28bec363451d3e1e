//! Bundles as they travel to subscribers: a published version, its bytes, and the proof that it is in force.

use std::sync::Arc;

use bytes::Bytes;

use super::digest::{ActiveSetRoot, Digest, Hash};
use super::event::{Cursor, Head, PointerChange};
use super::name::PolicyId;
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
    /// The activation that put it in force; nowhere for a preview.
    pub activation: Cursor,
    /// Statement of that activation; empty for a preview.
    pub statement: Arc<str>,
    /// Whether it is a draft, served by fallback.
    pub preview: bool,
}

impl ActiveBundle {
    /// Returns every token in it that is signed by a signing key.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        [&*self.bundle.version.manifest, &*self.statement].into_iter()
    }

    /// Returns what it is in the digest of an active set.
    #[must_use]
    pub fn set_entry(&self) -> (&PolicyId, i64, &Digest) {
        let version = &self.bundle.version;
        (&version.policy.policy, version.number, &version.digest)
    }

    /// Returns what the root of an active set covers of it.
    #[must_use]
    pub fn entry(&self) -> ActiveEntry {
        let version = &self.bundle.version;
        ActiveEntry { version: version.number, digest: version.digest.clone(), activation: self.activation }
    }
}

/// The active version of a policy, as the root of an active set covers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveEntry {
    /// Number of the version.
    pub version: i64,
    /// Digest of its content.
    pub digest: Digest,
    /// The activation that put it in force.
    pub activation: Cursor,
}

impl ActiveEntry {
    /// Returns what is in force of a policy after the event at `cursor` moved its pointer; none when it points nowhere.
    #[must_use]
    pub fn after(change: &PointerChange, cursor: Cursor) -> Option<Self> {
        let digest = change.digest.clone().filter(|_| change.version != 0)?;
        Some(Self { version: change.version, digest, activation: cursor })
    }
}

/// Why something newer than what a server says may exist.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Staleness {
    /// The database does not answer.
    pub degraded: bool,
    /// The store may have lost its newest changes, and its operator has not decided.
    pub in_doubt: bool,
}

/// Describes one activation, as watches send it.
#[derive(Debug, Clone)]
pub struct Activation {
    /// Its place in the log.
    pub cursor: Cursor,
    /// Hash of its event.
    pub event_hash: Hash,
    /// Its statement.
    pub statement: Arc<str>,
    /// Root of the active set after it; none in an event that was written before events carried one.
    pub root: Option<ActiveSetRoot>,
    /// The versions to which pointers moved.
    pub bundles: Vec<Arc<Bundle>>,
    /// The policies whose pointers point to nothing now.
    pub tombstones: Vec<PolicyId>,
}

impl Activation {
    /// Returns the event that the activation belongs to.
    #[must_use]
    pub fn head(&self) -> Head {
        Head { cursor: self.cursor, hash: self.event_hash }
    }
}
