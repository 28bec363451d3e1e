//! The check of an archive: every line is proven by the log in it, and stands where its writer puts it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead};

use serde_json::Value;

use super::ARCHIVE_FORMAT;
use policyhub_core::domain::digest::Digest;
use policyhub_core::domain::event::{Cursor, Head};
use policyhub_core::domain::limits::{CONTENT_MAX_BYTES, IMPORT_POSITIONS_MAX};
use policyhub_core::domain::name::NamespaceId;
use policyhub_core::domain::row::Row;
use policyhub_core::signing::archive::{ArchiveEnd, ArchiveHeader, ArchiveLine, ArchiveLines, ContentLine};
use policyhub_core::signing::chain::{LogCheck, LogTrust};
use policyhub_core::signing::{KeySet, digest_of};

/// Holds what an archive said of itself, and what its check found.
#[derive(Debug)]
pub struct ArchiveCheck {
    /// Its first line.
    pub header: ArchiveHeader,
    /// Names the store and the keys that the archive was verified with.
    pub trust: LogTrust,
    /// Its log, rows and versions, checked. What does not hold in histories it had imported is in its findings too.
    pub check: LogCheck,
    /// Lines between the first and the last.
    pub lines: u64,
    /// Counts the contents among them: each travels with its first version.
    pub contents: u64,
    /// Histories that it had imported.
    pub imported: usize,
}

/// An archive that can't be checked at all.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The disk.
    #[error("failed to read")]
    Io(#[from] io::Error),
    /// The first line is not that of an archive.
    #[error("it is not an archive of a namespace")]
    NotAnArchive,
    /// It has another format version.
    #[error("it has format {0}, and this version reads {ARCHIVE_FORMAT}")]
    Format(u32),
    /// Its keys are none.
    #[error("its keys can't be read: {0}")]
    Keys(policyhub_core::signing::VerifyError),
    /// The file changed while it was read.
    #[error("line {0} is not what it was when it was checked")]
    Changed(u64),
}

/// Says where a line stands: what kind it is, then its key. Lines only ever go up.
type LineKey = (u8, String, i64);

struct ArchiveReading {
    check: LogCheck,
    imported: BTreeMap<i64, (LogCheck, Head)>,
    found: ArchiveEnd,
    contents: BTreeSet<Digest>,
    /// A content whose version comes next.
    pending: Option<Digest>,
    row_key: LineKey,
}

/// Proves an archive. `pinned` are keys known from elsewhere, of bundles and of seals; without them its own are taken, and
/// who can write the archive can make such. `remembered` is an event that it must have.
///
/// # Errors
/// Fails when the archive can't be checked at all. What does not hold is in the check.
pub fn verify_archive(
    input: impl BufRead,
    pinned: (Option<KeySet>, Option<KeySet>),
    remembered: Option<Head>,
) -> Result<ArchiveCheck, ArchiveError> {
    let mut lines = ArchiveLines::new(input);
    let header = header(&mut lines)?;
    let own = |jwks: &Value| KeySet::parse_jwks(jwks.to_string().as_bytes()).map_err(ArchiveError::Keys);
    let (keys, seal_keys) = (own(&header.jwks)?, own(&header.seal_jwks)?);
    let same_keys = keys.to_jwks() == header.jwks && seal_keys.to_jwks() == header.seal_jwks;
    let trust = LogTrust {
        store: header.store.clone(),
        keys: pinned.0.unwrap_or(keys),
        seal_keys: pinned.1.unwrap_or(seal_keys),
    };
    let mut check = LogCheck::new(trust.clone(), header.namespace.clone());
    check.expect(remembered);
    if !same_keys {
        check.findings.add(0, "", "its keys are not written as they are");
    }
    let mut reading = ArchiveReading {
        check,
        imported: BTreeMap::new(),
        found: ArchiveEnd::default(),
        contents: BTreeSet::new(),
        pending: None,
        row_key: (0, String::new(), 0),
    };
    if !reading.read(&mut lines, &header.namespace)? {
        reading.check.findings.add(0, "", "the archive has no end");
    }
    let (number, imported, contents) = (lines.number, reading.imported.len(), reading.found.contents);
    let lines = number.saturating_sub(2);
    Ok(ArchiveCheck { header, trust, check: reading.end(), lines, contents, imported })
}

/// Returns the first line.
pub(super) fn header<R: BufRead>(lines: &mut ArchiveLines<R>) -> Result<ArchiveHeader, ArchiveError> {
    let Some(Ok(ArchiveLine::Archive(header))) = lines.next()? else { return Err(ArchiveError::NotAnArchive) };
    if header.format == ARCHIVE_FORMAT { Ok(header) } else { Err(ArchiveError::Format(header.format)) }
}

impl ArchiveReading {
    /// Reads all lines after the first. Answers whether the last one is one.
    fn read<R: BufRead>(&mut self, lines: &mut ArchiveLines<R>, namespace: &NamespaceId) -> Result<bool, ArchiveError> {
        loop {
            self.found.digest = lines.running.clone().digest().into();
            let Some(line) = lines.next()? else { return Ok(false) };
            let taken = match line {
                Err(problem) => Err(problem),
                Ok(ArchiveLine::End(end)) => {
                    if end != self.found {
                        self.check.findings.add(0, "", "its end counts something else, or is of other bytes");
                    }
                    if lines.next()?.is_some() {
                        self.check.findings.add(0, "", "it goes on after its end");
                    }
                    return Ok(true);
                }
                Ok(line) => self.line(line, namespace),
            };
            if let Err(problem) = taken {
                self.check.findings.add(0, "", format!("line {}: {problem}", lines.number));
            }
        }
    }

    fn line(&mut self, line: ArchiveLine, namespace: &NamespaceId) -> Result<(), &'static str> {
        let pending = self.pending.take();
        if pending.is_some() && !matches!(line, ArchiveLine::Version(_)) {
            return Err("a content whose version does not follow is before it");
        }
        match line {
            ArchiveLine::Archive(_) | ArchiveLine::End(_) => Err("a second archive begins"),
            ArchiveLine::Event(line) => {
                self.found.events += 1;
                self.check.event(&line.read(namespace).ok_or("it is no event")?);
                self.stands(0, String::new(), 0)
            }
            ArchiveLine::Row(line) => {
                self.found.rows += 1;
                let Some(row) = self.check.row(&line.row.0) else { return Ok(()) };
                self.row(&row)
            }
            ArchiveLine::Content(line) => self.content(line),
            ArchiveLine::Version(line) => {
                self.found.versions += 1;
                let Some(row) = self.check.version(&line.row.0, &line.manifest) else { return Ok(()) };
                if pending.is_some_and(|digest| row.text("digest") != Some(digest.as_str())) {
                    return Err("the content before it is of another version");
                }
                self.stands(2, row.text("policy").unwrap_or_default().to_owned(), row.int("number").unwrap_or_default())
            }
            ArchiveLine::Imported(line) => {
                self.found.imported += 1;
                let (check, head) = self.imported.get_mut(&line.position).ok_or("no such history was imported")?;
                let namespace = check.namespace().clone();
                let event = line.event.read(&namespace).ok_or("it is no event")?;
                if event.cursor.revision > head.cursor.revision {
                    return Err("it is after the head of its history");
                }
                check.event(&event);
                self.stands(5, String::new(), line.position)
            }
        }
    }

    /// Lines stand in order, and a row is there once.
    fn stands(&mut self, kind: u8, name: String, number: i64) -> Result<(), &'static str> {
        let row_key = (kind, name, number);
        let repeats = matches!(kind, 0 | 5) && row_key == self.row_key;
        let follows = repeats || row_key > self.row_key || (row_key.0, self.row_key.0) == (0, 0);
        self.row_key = row_key;
        if follows { Ok(()) } else { Err("it does not stand where it belongs") }
    }

    fn row(&mut self, row: &Row) -> Result<(), &'static str> {
        match row.table.as_str() {
            "policies" => self.stands(1, row.text("id").unwrap_or_default().to_owned(), 0),
            "reports" => {
                if !row.key().is_some_and(|key| self.check.carries_report(&key)) {
                    return Err("it is a report of a version that is not published");
                }
                self.stands(3, row.text("policy").unwrap_or_default().to_owned(), row.int("number").unwrap_or_default())
            }
            "imports" => {
                let position = row.int("position").unwrap_or_default();
                let (check, head) = imported(row).ok_or("it is no import")?;
                if !(1..=IMPORT_POSITIONS_MAX).contains(&position) {
                    return Err("it came through more stores than one history can");
                }
                self.imported.insert(position, (check, head));
                self.stands(4, String::new(), position)
            }
            _ => Err("a version without its manifest"),
        }
    }

    fn content(&mut self, line: ContentLine) -> Result<(), &'static str> {
        let bytes = line.bytes.0;
        if bytes.len() > CONTENT_MAX_BYTES || digest_of(&bytes) != line.digest {
            return Err("its bytes are not those of its digest");
        }
        self.found.contents += 1;
        self.pending = Some(line.digest.clone());
        self.check.content(&bytes);
        if self.contents.insert(line.digest) { Ok(()) } else { Err("its content was there before") }
    }

    /// Ends the check: nothing more comes.
    fn end(mut self) -> LogCheck {
        if self.pending.is_some() {
            self.check.findings.add(0, "", "no version follows its last content");
        }
        self.check.end();
        self.check.end_rows();
        for (position, (mut imported, head)) in self.imported {
            imported.settle();
            let row = format!("imports {position}");
            for finding in &imported.findings.kept {
                let (message, stored) = (format!("{} {}", finding.row, finding.message), finding.digest.clone());
                self.check.findings.add_found(finding.revision, &row, message, stored);
            }
            if imported.head() != head {
                self.check.findings.add(0, &row, "its events do not end at its head");
            }
        }
        self.check.settle();
        self.check
    }
}

/// Returns the check of a history that was imported, and its head, as the row of the import says.
fn imported(row: &Row) -> Option<(LogCheck, Head)> {
    let keys = |column: &str| KeySet::parse_jwks(row.text(column)?.as_bytes()).ok();
    let trust = LogTrust { store: row.text("store")?.to_owned(), keys: keys("jwks")?, seal_keys: keys("seal_jwks")? };
    let namespace = NamespaceId::parse("source", row.text("source")?).ok()?;
    // An import that is not finished ends at its last event.
    let cursor = Cursor { epoch: row.int("reached_epoch")?, revision: row.int("reached_revision")? };
    let head = Head { cursor, hash: row.bytes("reached_hash")?.try_into().ok()? };
    Some((LogCheck::new(trust, namespace), head))
}
