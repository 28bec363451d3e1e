//! The archive of a namespace: its log, its rows, its versions with their contents, and what it imported itself; one JSON
//! object per line.
//!
//! The first line says the format, the store, the namespace and the public keys; the last one counts and has the SHA-256 of
//! all bytes before it. Read back it is proven like a log from a server. Invariant: memory is bounded, whatever is read.

use std::collections::BTreeSet;
use std::io::{self, Write};

use super::log::Read;
use lines::{Base64, ContentLine, End, EventLine, ImportedLine, Line, RowLine, VersionLine};
use policyhub_core::domain::digest::Digest;
use policyhub_core::domain::name::NamespaceId;
use policyhub_core::signing::chain::LogTrust;
use policyhub_core::signing::{Running, digest_of};

mod check;
mod lines;
mod parts;

pub use check::{ArchiveCheck, ArchiveError, verify_archive};
pub use lines::Header;
pub use parts::{ImportParts, Part, label_of_item};

/// The format of this version. A reader takes no other.
pub const ARCHIVE_FORMAT: u32 = 2;

/// Writes an archive.
#[derive(Debug)]
pub struct ArchiveWriter<W> {
    out: W,
    running: Running,
    contents: BTreeSet<Digest>,
    end: End,
}

impl<W: Write> ArchiveWriter<W> {
    /// Begins one.
    ///
    /// # Errors
    /// When the disk does.
    pub fn new(out: W, trust: &LogTrust, namespace: &NamespaceId) -> io::Result<Self> {
        let header = Header {
            format: ARCHIVE_FORMAT,
            store: trust.store.clone(),
            namespace: namespace.clone(),
            jwks: trust.keys.to_jwks(),
            seal_jwks: trust.seal_keys.to_jwks(),
        };
        let (running, contents, end) = Default::default();
        let mut writer = Self { out, running, contents, end };
        writer.line(&Line::Archive(header))?;
        Ok(writer)
    }

    /// Adds what was read.
    ///
    /// # Errors
    /// When the disk does.
    pub fn add(&mut self, read: &Read<'_>) -> io::Result<()> {
        match *read {
            Read::Progress(_) | Read::Rows(..) => Ok(()),
            Read::Event(event) => {
                self.end.events += 1;
                self.line(&Line::Event(EventLine::of(event)))
            }
            Read::Row(row) => {
                self.end.rows += 1;
                self.line(&Line::Row(RowLine { row: Base64(row.to_vec()) }))
            }
            Read::Version { row, manifest, content } => {
                let digest = digest_of(content);
                if self.contents.insert(digest.clone()) {
                    self.end.contents += 1;
                    self.line(&Line::Content(ContentLine { digest, bytes: Base64(content.to_vec()) }))?;
                }
                self.end.versions += 1;
                let manifest = manifest.to_owned();
                self.line(&Line::Version(VersionLine { row: Base64(row.to_vec()), manifest }))
            }
            Read::Imported(position, event) => {
                self.end.imported += 1;
                self.line(&Line::Imported(ImportedLine { position, event: EventLine::of(event) }))
            }
        }
    }

    /// Ends it; gives back what it was written to.
    ///
    /// # Errors
    /// When the disk does.
    pub fn end(mut self) -> io::Result<W> {
        let end = End { digest: self.running.digest().into(), ..self.end.clone() };
        self.line(&Line::End(end))?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn line(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.running.update(&text);
        self.out.write_all(&text)
    }
}

#[cfg(test)]
mod tests;
