//! The lines of an archive, one JSON object each, and the reader that takes no other and none without bounds.

use std::io::{self, BufRead, Read as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

use super::super::hash::Running;
use crate::domain::digest::{Digest, hex, unhex};
use crate::domain::event::{Cursor, Event};
use crate::domain::limits::ARCHIVE_LINE_MAX_BYTES;
use crate::domain::name::NamespaceId;

/// A line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ArchiveLine {
    /// The first line.
    Archive(ArchiveHeader),
    /// An event of the log.
    Event(EventLine),
    /// A row.
    Row(RowLine),
    /// A content.
    Content(ContentLine),
    /// A version.
    Version(VersionLine),
    /// An event of an imported history.
    Imported(ImportedLine),
    /// The last line.
    End(ArchiveEnd),
}

/// Holds what an archive is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveHeader {
    /// [`super::ARCHIVE_FORMAT`].
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

/// An event, as it is stored.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventLine {
    epoch: i64,
    revision: i64,
    prev_hash: String,
    hash: String,
    seal: Base64,
    seal_key_id: String,
    statement: String,
    payload: Base64,
}

/// A row of policies, reports or imports, by its bytes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowLine {
    /// Its bytes.
    pub row: Base64,
}

/// A content, right before the first version that has it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContentLine {
    /// Its digest.
    pub digest: Digest,
    /// The content.
    pub bytes: Base64,
}

/// A version, after its content.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionLine {
    /// The bytes of its row.
    pub row: Base64,
    /// Its manifest; empty when it is not published.
    pub manifest: String,
}

/// An event of a history that the namespace had imported itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportedLine {
    /// The position of the history.
    pub position: i64,
    /// The event.
    pub event: EventLine,
}

/// Counts the lines of each kind.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveEnd {
    /// Events of the log.
    pub events: u64,
    /// Rows that are no versions.
    pub rows: u64,
    /// Contents.
    pub contents: u64,
    /// Versions.
    pub versions: u64,
    /// Events of imported histories.
    pub imported: u64,
    /// The SHA-256 of all bytes before this line.
    pub digest: String,
}

/// Bytes in a line.
#[derive(Debug)]
pub struct Base64(
    /// The bytes.
    pub Vec<u8>,
);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        output.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        STANDARD.decode(String::deserialize(input)?).map(Self).map_err(de::Error::custom)
    }
}

impl EventLine {
    /// Returns the line of an event.
    #[must_use]
    pub fn of(event: &Event) -> Self {
        Self {
            epoch: event.cursor.epoch,
            revision: event.cursor.revision,
            prev_hash: hex(&event.prev_hash),
            hash: hex(&event.hash),
            seal: Base64(event.seal.clone()),
            seal_key_id: event.seal_key_id.clone(),
            statement: event.statement.clone(),
            payload: Base64(event.payload.clone()),
        }
    }

    /// Returns the event of a namespace; none when its hashes are none.
    #[must_use]
    pub fn read(self, namespace: &NamespaceId) -> Option<Event> {
        let hash = |text: &str| unhex(text)?.try_into().ok();
        Some(Event {
            namespace: namespace.clone(),
            cursor: Cursor { epoch: self.epoch, revision: self.revision },
            payload: self.payload.0,
            prev_hash: hash(&self.prev_hash)?,
            hash: hash(&self.hash)?,
            seal: self.seal.0,
            seal_key_id: self.seal_key_id,
            statement: self.statement,
        })
    }
}

/// The lines of an archive, each in bounds and written as it would be written again.
#[derive(Debug)]
pub struct ArchiveLines<R> {
    input: R,
    /// The digest of all bytes that were read.
    pub running: Running,
    /// How many lines were read.
    pub number: u64,
}

impl<R: BufRead> ArchiveLines<R> {
    /// Begins to read.
    pub fn new(input: R) -> Self {
        Self { input, running: Running::default(), number: 0 }
    }

    /// Returns the next line, or what is wrong with it; none at the end.
    ///
    /// # Errors
    /// Fails when the disk does.
    #[expect(clippy::should_implement_trait, reason = "its lines are results of results")]
    pub fn next(&mut self) -> io::Result<Option<Result<ArchiveLine, &'static str>>> {
        let mut text = Vec::new();
        let limit = ARCHIVE_LINE_MAX_BYTES as u64 + 1;
        self.input.by_ref().take(limit).read_until(b'\n', &mut text)?;
        if text.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        self.running.update(&text);
        let Some(line) = text.strip_suffix(b"\n") else { return Ok(Some(Err("it is cut off, or too long"))) };
        let Ok(read) = serde_json::from_slice::<ArchiveLine>(line) else { return Ok(Some(Err("it can't be read"))) };
        let same = serde_json::to_vec(&read).is_ok_and(|again| again == line);
        Ok(Some(if same { Ok(read) } else { Err("it is written in another way") }))
    }
}
