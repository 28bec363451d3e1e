//! The archive of a namespace as bytes, from one snapshot of the database: what `policyhub export` writes from the answers of RPCs.
//!
//! Invariants: a part is read when it is requested, and nothing ahead of it; of the parts before, only the digests of contents and the
//! names of published versions are kept. An event that does not verify, or does not follow the one before it, is never served.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::export_rows::RowExport;
use super::import_source::trust_of;
use super::use_cases::Archive;
use crate::domain::command::PageRequest;
use crate::domain::event::{Event, Head};
use crate::domain::import::Import;
use crate::domain::listing::EventFilter;
use crate::domain::name::NamespaceId;
use crate::domain::row::{Row, RowWithContent};
use crate::domain::version::VersionState;
use crate::domain::{Error, Result};
use crate::service::log::LogReader;
use crate::signing::archive::{ArchiveWriter, LogRead};
use crate::signing::chain::verify_event;
use crate::watch::Verify as _;

/// Number of events of one part. More: a download holds more events with large payloads. Fewer: more statements.
const EVENTS_PER_PART: u32 = 64;

/// The archive of a namespace, part by part. It holds a snapshot, with its connection to the database, until its last part or until it
/// is dropped.
#[derive(Debug)]
pub struct ArchiveExport {
    log: Arc<LogReader>,
    rows: RowExport,
    writer: ArchiveWriter<Vec<u8>>,
    /// The published versions, whose reports an archive has.
    published: BTreeSet<String>,
    imports: VecDeque<Import>,
    /// The last event of the log that was read.
    reached: Head,
    step: ArchiveStep,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ArchiveStep {
    /// The events after a revision.
    Events(i64),
    Rows,
    /// The events of the first history of those that are left, after a revision.
    Imported(i64),
}

impl Archive {
    /// Opens a snapshot of a namespace, to export its archive.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `DATA_LOSS`, `DATABASE_UNAVAILABLE`.
    pub async fn export_archive(&self, namespace: &NamespaceId) -> Result<ArchiveExport> {
        let rows = self.export_rows(namespace).await?;
        let imports = rows.view.imports(namespace).await?.into();
        let writer = ArchiveWriter::new(Vec::new(), &self.log.signer.trust(), namespace).map_err(unwritten)?;
        let (log, published, step) = (Arc::clone(&self.log), BTreeSet::new(), ArchiveStep::Events(0));
        Ok(ArchiveExport { log, rows, writer, published, imports, reached: Head::EMPTY, step })
    }
}

/// What was read for a part.
enum ArchiveBatch {
    Events(Vec<Event>),
    Rows(Vec<RowWithContent>),
    Imported(i64, Vec<Event>),
}

impl ArchiveExport {
    /// Returns the next part; the last one says that it is.
    ///
    /// # Errors
    /// `DATA_LOSS` for what does not verify, `DATABASE_UNAVAILABLE`.
    pub async fn next_part(mut self) -> Result<(Bytes, Option<Self>)> {
        while let Some(batch) = self.read_batch().await? {
            self.write(&batch)?;
            let written = self.writer.take();
            if !written.is_empty() {
                return Ok((written.into(), Some(self)));
            }
        }
        Ok((self.writer.end().map_err(unwritten)?.into(), None))
    }

    /// Reads what comes next, and moves on. Returns none at the end.
    async fn read_batch(&mut self) -> Result<Option<ArchiveBatch>> {
        let namespace = &self.rows.namespace;
        match self.step {
            ArchiveStep::Events(after) => {
                let events = self.rows.view.events_after(namespace, after, EVENTS_PER_PART).await?;
                for event in &events {
                    self.log.signer.event(event)?;
                    if event.prev_hash != self.reached.hash {
                        return Err(self.gap());
                    }
                    self.reached = Head { cursor: event.cursor, hash: event.hash };
                }
                self.step = match next_after(&events) {
                    Some(after) => ArchiveStep::Events(after),
                    None if self.reached != self.rows.head() => return Err(self.gap()),
                    None => ArchiveStep::Rows,
                };
                Ok(Some(ArchiveBatch::Events(events)))
            }
            ArchiveStep::Rows => {
                let rows = self.rows.read_batch().await?;
                if rows.is_empty() {
                    self.step = ArchiveStep::Imported(0);
                }
                Ok(Some(ArchiveBatch::Rows(rows)))
            }
            ArchiveStep::Imported(after) => {
                let Some(import) = self.imports.front() else { return Ok(None) };
                let page = PageRequest { size: EVENTS_PER_PART, after: Some(after) };
                let events = self.rows.view.imported_events(namespace, import, &page, &EventFilter::default()).await?;
                let trust = trust_of(&import.source).map_err(|error| Error::data_loss(error.message))?;
                for event in &events {
                    verify_event(event, &trust).map_err(|problem| {
                        let revision = event.cursor.revision;
                        Error::data_loss(format!("{namespace} imported event {revision}: {problem}"))
                    })?;
                }
                let position = import.position;
                self.step = ArchiveStep::Imported(next_after(&events).unwrap_or_else(|| {
                    self.imports.pop_front();
                    0
                }));
                Ok(Some(ArchiveBatch::Imported(position, events)))
            }
        }
    }

    /// Returns the error of a log that does not lead on from what was read of it to its head.
    fn gap(&self) -> Error {
        let (namespace, revision) = (&self.rows.namespace, self.reached.cursor.revision);
        Error::data_loss(format!("{namespace}: what follows event {revision} was not written after it"))
    }

    fn write(&mut self, batch: &ArchiveBatch) -> Result<()> {
        match batch {
            ArchiveBatch::Events(events) => events.iter().try_for_each(|event| self.writer.add(&LogRead::Event(event))),
            ArchiveBatch::Imported(position, events) => {
                events.iter().try_for_each(|event| self.writer.add(&LogRead::Imported(*position, event)))
            }
            ArchiveBatch::Rows(rows) => {
                return rows.iter().try_for_each(|each| self.write_row(&each.bytes, &each.manifest, &each.content));
            }
        }
        .map_err(unwritten)
    }

    /// Writes a row as it is in an archive. The checks of what is not published run again where it goes, so their report is left out.
    fn write_row(&mut self, bytes: &[u8], manifest: &str, content: &[u8]) -> Result<()> {
        let row = Row::read(bytes).ok_or_else(|| Error::data_loss("a row that can't be read"))?;
        let key = row.key().unwrap_or_default();
        let read = match row.table.as_str() {
            "versions" => {
                if row.text("state") == Some(VersionState::Published.as_str()) {
                    self.published.insert(key);
                }
                LogRead::Version { row: bytes, manifest, content }
            }
            "reports" if !self.published.contains(&key) => return Ok(()),
            _ => LogRead::Row(bytes),
        };
        self.writer.add(&read).map_err(unwritten)
    }
}

/// Returns the revision of the last of some events; none after the last page of them.
fn next_after(events: &[Event]) -> Option<i64> {
    let is_full = events.len() == EVENTS_PER_PART as usize;
    events.last().filter(|_| is_full).map(|event| event.cursor.revision)
}

fn unwritten(error: std::io::Error) -> Error {
    Error::internal(format!("an archive was not written: {error}"))
}
