//! The archive of a namespace: its log, its rows, its versions with their contents, and what it imported itself; one JSON
//! object per line.
//!
//! The first line says the format, the store, the namespace and the public keys; the last one counts and has the SHA-256 of
//! all bytes before it. Read back it is proven like a log from a server.

mod lines;

use std::collections::BTreeSet;
use std::io::{self, Write};

pub use lines::{
    ArchiveEnd, ArchiveHeader, ArchiveLine, ArchiveLines, Base64, ContentLine, EventLine, ImportedLine, RowLine,
    VersionLine,
};

use super::chain::LogTrust;
use super::hash::{Running, digest_of};
use crate::domain::digest::Digest;
use crate::domain::event::Event;
use crate::domain::name::NamespaceId;

/// Says what was read, in order.
#[derive(Debug)]
pub enum LogRead<'a> {
    /// An event.
    Event(&'a Event),
    /// The bytes of a row of policies, reports or imports.
    Row(&'a [u8]),
    /// A version.
    Version {
        /// The bytes of its row.
        row: &'a [u8],
        /// Its manifest; empty when it is not published.
        manifest: &'a str,
        /// Its content.
        content: &'a [u8],
    },
    /// An event of the imported history at a position.
    Imported(i64, &'a Event),
    /// A page ended: how many events were read.
    Progress(i64),
    /// A batch of rows ended: how many of them came so far, and how many will in all.
    Rows(u64, u64),
}

/// The format of this version. A reader takes no other.
pub const ARCHIVE_FORMAT: u32 = 2;

/// Writes an archive.
#[derive(Debug)]
pub struct ArchiveWriter<W> {
    out: W,
    running: Running,
    contents: BTreeSet<Digest>,
    end: ArchiveEnd,
}

impl<W: Write> ArchiveWriter<W> {
    /// Begins one.
    ///
    /// # Errors
    /// Fails when the disk does.
    pub fn new(out: W, trust: &LogTrust, namespace: &NamespaceId) -> io::Result<Self> {
        let header = ArchiveHeader {
            format: ARCHIVE_FORMAT,
            store: trust.store.clone(),
            namespace: namespace.clone(),
            jwks: trust.keys.to_jwks(),
            seal_jwks: trust.seal_keys.to_jwks(),
        };
        let (running, contents, end) = Default::default();
        let mut writer = Self { out, running, contents, end };
        writer.line(&ArchiveLine::Archive(header))?;
        Ok(writer)
    }

    /// Adds what was read.
    ///
    /// # Errors
    /// Fails when the disk does.
    pub fn add(&mut self, read: &LogRead<'_>) -> io::Result<()> {
        match *read {
            LogRead::Progress(_) | LogRead::Rows(..) => Ok(()),
            LogRead::Event(event) => {
                self.end.events += 1;
                self.line(&ArchiveLine::Event(EventLine::of(event)))
            }
            LogRead::Row(row) => {
                self.end.rows += 1;
                self.line(&ArchiveLine::Row(RowLine { row: Base64(row.to_vec()) }))
            }
            LogRead::Version { row, manifest, content } => {
                let digest = digest_of(content);
                if self.contents.insert(digest.clone()) {
                    self.end.contents += 1;
                    self.line(&ArchiveLine::Content(ContentLine { digest, bytes: Base64(content.to_vec()) }))?;
                }
                self.end.versions += 1;
                let manifest = manifest.to_owned();
                self.line(&ArchiveLine::Version(VersionLine { row: Base64(row.to_vec()), manifest }))
            }
            LogRead::Imported(position, event) => {
                self.end.imported += 1;
                self.line(&ArchiveLine::Imported(ImportedLine { position, event: EventLine::of(event) }))
            }
        }
    }

    /// Ends it; gives back what it was written to.
    ///
    /// # Errors
    /// Fails when the disk does.
    pub fn end(mut self) -> io::Result<W> {
        let end = ArchiveEnd { digest: self.running.digest().into(), ..self.end.clone() };
        self.line(&ArchiveLine::End(end))?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn line(&mut self, line: &ArchiveLine) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.running.update(&text);
        self.out.write_all(&text)
    }
}

impl ArchiveWriter<Vec<u8>> {
    /// Returns the bytes that were written since the last time.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }
}
