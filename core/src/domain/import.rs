//! Imported history: where it came from, how far it is here, and the pieces it travels in.
//!
//! It is another store's word. Invariant: it stands beside the log of this store, never in it, and says where it is from.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::digest::hex;
use super::error::{Error, Reason};
use super::event::{Event, Head, Position};
use super::name::NamespaceId;
use super::time::Micros;

/// Length of a store's id at most, in characters.
const STORE_ID_MAX_CHARS: usize = 64;

/// The history that was imported. Higher positions are what that store had imported itself, the nearest first.
pub const FIRST_POSITION: i64 = 1;

/// Says whose history it is, where it ends, and the keys it was proven with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportSource {
    /// Id of the store.
    pub store: String,
    /// Holds what the namespace was called there.
    pub namespace: NamespaceId,
    /// Its last event.
    pub head: Head,
    /// Keys of bundles and statements, a JWK Set.
    pub jwks: String,
    /// Keys of seals, a JWK Set.
    pub seal_jwks: String,
}

/// A history that is here, or on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Its place, from [`FIRST_POSITION`].
    pub position: i64,
    /// Says where it is from.
    pub source: ImportSource,
    /// Its last event that is here.
    pub reached: Head,
    /// Items of the archive that were taken in; counted at the first position alone.
    pub items: i64,
    /// Says whether all of it is here.
    pub is_finished: bool,
    /// Says who imported it.
    pub importer: String,
    /// Says when it began.
    pub create_time: Micros,
    /// Says when it went on last.
    pub update_time: Micros,
}

/// Holds one piece of an archive.
#[derive(Debug, Clone)]
pub enum ArchiveItem {
    /// An event of the history at a position.
    Event(i64, Event),
    /// A row by its bytes.
    Row(Bytes),
    /// A version: the bytes of its row, its manifest if it was published, its content unless that came before.
    Version {
        /// The bytes of its row.
        row: Bytes,
        /// Compact JWS of its bundle; empty before publishing.
        manifest: String,
        /// Its content; none when another version had the same.
        content: Option<Bytes>,
    },
}

/// ImportNamespace.
#[derive(Debug, Clone)]
pub struct ImportNamespace {
    /// Says where it goes.
    pub namespace: NamespaceId,
    /// Says where it is from.
    pub source: ImportSource,
    /// Items that came before.
    pub offset: i64,
    /// The next ones, in the order of the archive.
    pub items: Vec<ArchiveItem>,
    /// Says whether these are the last.
    pub is_last: bool,
}

/// Says how far an import is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// Items taken in so far.
    pub items: i64,
    /// Says whether it is finished.
    pub is_finished: bool,
    /// The event of this store that says so; 0: nothing was written.
    pub cursor: Option<Position>,
}

/// Returns the refusal of what must wait until an import into a namespace is finished.
#[must_use]
pub fn unfinished(namespace: &NamespaceId) -> Error {
    let name = namespace.name();
    let message = format!("an import into {name} is not finished; finish it first");
    Error::new(Reason::ImportUnfinished, message).about(name)
}

impl ImportSource {
    /// Returns whether the id is one that a store can have: it becomes part of what this store signs.
    #[must_use]
    pub fn has_store_id(&self) -> bool {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        (1..=STORE_ID_MAX_CHARS).contains(&self.store.len()) && self.store.bytes().all(is_part)
    }

    /// Returns the last event as people compare it: epoch, revision and hash.
    #[must_use]
    pub fn head_text(&self) -> String {
        let Head { cursor, hash } = &self.head;
        format!("{}:{}:{}", cursor.epoch, cursor.revision, hex(hash))
    }
}
