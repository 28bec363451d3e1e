//! The archive of a namespace: its log, its published versions and their contents, one JSON object per line.
//!
//! The first line says the format, the store, the namespace and the public keys; the last one counts and has the SHA-256 of
//! all bytes before it. Read back it is proven like a log from a server. Invariant: memory is bounded, whatever is read.

use std::collections::BTreeSet;
use std::io::{self, BufRead, Read as _, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::log::Read;
use crate::domain::digest::{Digest, hex};
use crate::domain::event::{Cursor, Event, Head};
use crate::domain::limits::{ARCHIVE_LINE_MAX_BYTES, CONTENT_MAX_BYTES};
use crate::domain::name::{NamespaceId, PolicyId};
use crate::signing::chain::{LogCheck, Trust};
use crate::signing::{KeySet, Running, digest_of};

/// The format of this version. A reader takes no other.
pub const ARCHIVE_FORMAT: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    Archive(Header),
    Event(EventLine),
    Content(ContentLine),
    Version(VersionLine),
    End(End),
}

/// What an archive is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`ARCHIVE_FORMAT`].
    pub format: u32,
    /// Id of the store.
    pub store: String,
    /// The namespace.
    pub namespace: NamespaceId,
    /// Keys of bundles and statements, a JWK Set.
    pub jwks: Value,
    /// Keys of seals, a JWK Set.
    pub seal_jwks: Value,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventLine {
    epoch: i64,
    revision: i64,
    prev_hash: String,
    hash: String,
    seal: String,
    seal_key_id: String,
    statement: String,
    payload: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ContentLine {
    digest: Digest,
    bytes: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct VersionLine {
    policy: PolicyId,
    version: i64,
    digest: Digest,
    manifest: String,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    events: u64,
    versions: u64,
    contents: u64,
    digest: String,
}

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
    pub fn new(out: W, trust: &Trust, namespace: &NamespaceId) -> io::Result<Self> {
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
            Read::Progress(_) => Ok(()),
            Read::Event(event) => {
                self.end.events += 1;
                self.line(&Line::Event(EventLine {
                    epoch: event.cursor.epoch,
                    revision: event.cursor.revision,
                    prev_hash: hex(&event.prev_hash),
                    hash: hex(&event.hash),
                    seal: STANDARD.encode(&event.seal),
                    seal_key_id: event.seal_key_id.clone(),
                    statement: event.statement.clone(),
                    payload: STANDARD.encode(&event.payload),
                }))
            }
            Read::Version(policy, version, manifest, content) => {
                let digest = digest_of(content);
                if self.contents.insert(digest.clone()) {
                    self.end.contents += 1;
                    let bytes = STANDARD.encode(content);
                    self.line(&Line::Content(ContentLine { digest: digest.clone(), bytes }))?;
                }
                self.end.versions += 1;
                let (policy, manifest) = (policy.clone(), manifest.to_owned());
                self.line(&Line::Version(VersionLine { policy, version, digest, manifest }))
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

/// What an archive said of itself, and what its check found.
#[derive(Debug)]
pub struct ArchiveCheck {
    /// Its first line.
    pub header: Header,
    /// Its log and versions, checked.
    pub check: LogCheck,
}

/// An archive that can't be checked at all.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The disk.
    #[error("failed to read: {0}")]
    Io(#[from] io::Error),
    /// The first line is not that of an archive.
    #[error("it is not an archive of a namespace")]
    NotAnArchive,
    /// Of a later version.
    #[error("it has format {0}, and this version reads {ARCHIVE_FORMAT}")]
    Format(u32),
    /// Its keys are none.
    #[error("its keys can't be read: {0}")]
    Keys(crate::signing::VerifyError),
}

/// Proves an archive. `pinned` are keys known from elsewhere, of bundles and of seals; without them its own are taken, and
/// who can write the archive can make such. `remembered` is an event that it must have.
///
/// # Errors
/// When it can't be checked at all. What does not hold is in the check.
pub fn verify_archive(
    input: impl BufRead,
    pinned: (Option<KeySet>, Option<KeySet>),
    remembered: Option<Head>,
) -> Result<ArchiveCheck, ArchiveError> {
    let mut lines = Lines { input, running: Running::default(), number: 0 };
    let Some(Ok(Line::Archive(header))) = lines.next()? else { return Err(ArchiveError::NotAnArchive) };
    if header.format != ARCHIVE_FORMAT {
        return Err(ArchiveError::Format(header.format));
    }
    let own = |jwks: &Value| KeySet::parse_jwks(jwks.to_string().as_bytes()).map_err(ArchiveError::Keys);
    let (keys, seal_keys) = (own(&header.jwks)?, own(&header.seal_jwks)?);
    let same_keys = keys.to_jwks() == header.jwks && seal_keys.to_jwks() == header.seal_jwks;
    let trust =
        Trust { store: header.store.clone(), keys: pinned.0.unwrap_or(keys), seal_keys: pinned.1.unwrap_or(seal_keys) };
    let mut check = LogCheck::new(trust, header.namespace.clone());
    check.expect(remembered);
    if !same_keys {
        check.findings.add(0, "", "its keys are not written as they are");
    }
    let end = read_lines(&mut lines, &mut check, &header.namespace)?;
    if end.is_none() {
        check.findings.add(0, "", "the archive has no end");
    }
    check.end();
    Ok(ArchiveCheck { header, check })
}

/// Reads all lines after the first; the last one, if it is one.
fn read_lines<R: BufRead>(
    lines: &mut Lines<R>,
    check: &mut LogCheck,
    namespace: &NamespaceId,
) -> Result<Option<End>, ArchiveError> {
    let mut found = End::default();
    let (mut unnamed, mut contents) = (BTreeSet::new(), BTreeSet::new());
    loop {
        found.digest = lines.running.clone().digest().into();
        let Some(line) = lines.next()? else { return Ok(None) };
        let number = lines.number;
        let mut wrong = |problem: &str| check.findings.add(0, "", format!("line {number}: {problem}"));
        match line {
            Err(problem) => wrong(problem),
            Ok(Line::Archive(_)) => wrong("a second archive begins"),
            Ok(Line::Event(line)) => match event(namespace, line) {
                Some(event) => {
                    if found.contents + found.versions > 0 {
                        wrong("an event after the versions");
                    }
                    found.events += 1;
                    check.event(&event);
                }
                None => wrong("it is no event"),
            },
            Ok(Line::Content(line)) => match STANDARD.decode(&line.bytes) {
                Ok(bytes) if bytes.len() <= CONTENT_MAX_BYTES && digest_of(&bytes) == line.digest => {
                    found.contents += 1;
                    if !contents.insert(line.digest.clone()) {
                        wrong("its content was there before");
                    }
                    unnamed.insert(check.content(&bytes));
                }
                _ => wrong("its bytes are not those of its digest"),
            },
            Ok(Line::Version(line)) => {
                found.versions += 1;
                unnamed.remove(&line.digest);
                check.manifest(&line.policy, line.version, &line.manifest);
            }
            Ok(Line::End(end)) => {
                if end != found {
                    check.findings.add(0, "", "its end counts something else, or is of other bytes");
                }
                for digest in unnamed {
                    check.findings.add(0, &format!("contents {digest}"), "no version names it");
                }
                if lines.next()?.is_some() {
                    check.findings.add(0, "", "it goes on after its end");
                }
                return Ok(Some(end));
            }
        }
    }
}

fn event(namespace: &NamespaceId, line: EventLine) -> Option<Event> {
    let hash = |text: &str| crate::domain::digest::unhex(text)?.try_into().ok();
    Some(Event {
        namespace: namespace.clone(),
        cursor: Cursor { epoch: line.epoch, revision: line.revision },
        payload: STANDARD.decode(&line.payload).ok()?,
        prev_hash: hash(&line.prev_hash)?,
        hash: hash(&line.hash)?,
        seal: STANDARD.decode(&line.seal).ok()?,
        seal_key_id: line.seal_key_id,
        statement: line.statement,
    })
}

/// The lines of an archive, each in bounds and written as it would be written again.
struct Lines<R> {
    input: R,
    running: Running,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> io::Result<Option<Result<Line, &'static str>>> {
        let mut text = Vec::new();
        let limit = ARCHIVE_LINE_MAX_BYTES as u64 + 1;
        self.input.by_ref().take(limit).read_until(b'\n', &mut text)?;
        if text.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        self.running.update(&text);
        let Some(line) = text.strip_suffix(b"\n") else { return Ok(Some(Err("it is cut off, or too long"))) };
        let Ok(read) = serde_json::from_slice::<Line>(line) else { return Ok(Some(Err("it can't be read"))) };
        let same = serde_json::to_vec(&read).is_ok_and(|again| again == line);
        Ok(Some(if same { Ok(read) } else { Err("it is written in another way") }))
    }
}

#[cfg(test)]
#[cfg(feature = "server")]
mod tests;
