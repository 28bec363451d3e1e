//! The archive of a namespace: its log, its rows, its versions with their contents, and what it imported itself; one JSON
//! object per line.
//!
//! The first line says the format, the store, the namespace and the public keys; the last one counts and has the SHA-256 of
//! all bytes before it. Read back it is proven like a log from a server. Invariant: memory is bounded, whatever is read.
//! The lines and their writer are in `policyhub_core::signing::archive`, because servers write archives too.

mod check;
mod parts;

pub use check::{ArchiveCheck, ArchiveError, verify_archive};
pub use parts::{ArchivePart, ImportParts, label_of_item};
pub use policyhub_core::signing::archive::{ARCHIVE_FORMAT, ArchiveWriter};

#[cfg(test)]
mod tests;
