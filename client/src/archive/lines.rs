//! The lines of an archive, one JSON object each, and the reader that takes no other and none without bounds.

use std::io::{self, BufRead, Read as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

use policyhub_core::domain::digest::{Digest, hex, unhex};
use policyhub_core::domain::event::{Cursor, Event};
use policyhub_core::domain::limits::ARCHIVE_LINE_MAX_BYTES;
use policyhub_core::domain::name::NamespaceId;
use policyhub_core::signing::Running;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum ArchiveLine {
    Archive(ArchiveHeader),
    Event(EventLine),
    Row(RowLine),
    Content(ContentLine),
    Version(VersionLine),
    Imported(ImportedLine),
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

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventLine {
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
pub(super) struct RowLine {
    pub(super) row: Base64,
}

/// A content, right before the first version that has it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ContentLine {
    pub(super) digest: Digest,
    pub(super) bytes: Base64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VersionLine {
    pub(super) row: Base64,
    pub(super) manifest: String,
}

/// An event of a history that the namespace had imported itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ImportedLine {
    pub(super) position: i64,
    pub(super) event: EventLine,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ArchiveEnd {
    pub(super) events: u64,
    pub(super) rows: u64,
    pub(super) contents: u64,
    pub(super) versions: u64,
    pub(super) imported: u64,
    pub(super) digest: String,
}

/// Bytes in a line.
#[derive(Debug)]
pub(super) struct Base64(pub(super) Vec<u8>);

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
    pub(super) fn of(event: &Event) -> Self {
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
    pub(super) fn read(self, namespace: &NamespaceId) -> Option<Event> {
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
pub(super) struct ArchiveLines<R> {
    input: R,
    pub(super) running: Running,
    pub(super) number: u64,
}

impl<R: BufRead> ArchiveLines<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, running: Running::default(), number: 0 }
    }

    pub(super) fn next(&mut self) -> io::Result<Option<Result<ArchiveLine, &'static str>>> {
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
