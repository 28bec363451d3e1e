//! An archive cut into the parts that ImportNamespace takes, read line by line.
//!
//! Boundary: proves nothing. The archive was checked before, and the server checks it again.

use std::io::BufRead;

use super::check::{ArchiveError, header};
use policyhub_core::api::pb;
use policyhub_core::domain::event::Event;
use policyhub_core::domain::limits::{IMPORT_ITEMS_MAX, IMPORT_REQUEST_MAX_BYTES};
use policyhub_core::domain::name::{NamespaceId, PolicyId};
use policyhub_core::domain::row::Row;
use policyhub_core::signing::archive::{ArchiveLine, ArchiveLines};

/// Most bytes of a part of several items. One item alone may have as many as a request.
const PART_MAX_BYTES: usize = IMPORT_REQUEST_MAX_BYTES / 4;

/// Reads parts.
pub struct ImportParts<R> {
    lines: ArchiveLines<R>,
    namespace: NamespaceId,
    /// Items before the next one.
    offset: i64,
    /// An item that did not fit in the part before, and whether it is an event.
    held: Option<(pb::import_item::Item, bool)>,
    is_over: bool,
}

/// Holds one part.
#[derive(Debug, Clone, Default)]
pub struct ArchivePart {
    /// Items before these.
    pub offset: i64,
    /// The items.
    pub items: Vec<pb::ImportItem>,
    /// Says whether nothing comes after them.
    pub is_last: bool,
}

impl<R: BufRead> ImportParts<R> {
    /// Begins to read.
    ///
    /// # Errors
    /// Fails when the file is no archive.
    pub fn new(input: R) -> Result<Self, ArchiveError> {
        let mut lines = ArchiveLines::new(input);
        let namespace = header(&mut lines)?.namespace;
        Ok(Self { lines, namespace, offset: 0, held: None, is_over: false })
    }

    /// Returns the next part after `items` items; none when all were given. Events and rows are never in one part.
    ///
    /// # Errors
    /// Fails when the file is not what was checked.
    pub fn next(&mut self, items: i64) -> Result<Option<ArchivePart>, ArchiveError> {
        if self.is_over {
            return Ok(None);
        }
        let mut part = ArchivePart::default();
        let (mut bytes, mut events) = (0, None);
        loop {
            let next = match self.held.take() {
                Some(held) => Some(held),
                None => self.item()?,
            };
            let Some((item, is_event)) = next else {
                self.is_over = true;
                part.is_last = true;
                break;
            };
            if self.offset < items {
                self.offset += 1;
                continue;
            }
            bytes += size_of_item(&item);
            let is_full = part.items.len() == IMPORT_ITEMS_MAX || bytes > PART_MAX_BYTES && !part.items.is_empty();
            if is_full || events.is_some_and(|events| events != is_event) {
                self.held = Some((item, is_event));
                break;
            }
            if part.items.is_empty() {
                part.offset = self.offset;
            }
            events = Some(is_event);
            self.offset += 1;
            part.items.push(pb::ImportItem { item: Some(item) });
        }
        if part.items.is_empty() {
            part.offset = self.offset;
        }
        // The events that prove the rows must all be there before the last part.
        if part.is_last && events == Some(true) && !part.items.is_empty() {
            (part.is_last, self.is_over) = (false, false);
        }
        Ok(Some(part))
    }

    fn item(&mut self) -> Result<Option<(pb::import_item::Item, bool)>, ArchiveError> {
        use pb::import_item::Item;
        let mut content = Vec::new();
        loop {
            let Some(line) = self.lines.next()? else { return Ok(None) };
            let changed = ArchiveError::Changed(self.lines.number);
            return Ok(Some(match line {
                Ok(ArchiveLine::Event(line)) => (event(1, line.read(&self.namespace).ok_or(changed)?), true),
                Ok(ArchiveLine::Row(line)) => (Item::Row(line.row.0.into()), false),
                Ok(ArchiveLine::Content(line)) => {
                    content = line.bytes.0;
                    continue;
                }
                Ok(ArchiveLine::Version(line)) => {
                    let (row, content) = (line.row.0.into(), content.into());
                    (Item::Version(pb::ImportedVersion { row, manifest: line.manifest, content }), false)
                }
                Ok(ArchiveLine::Imported(line)) => {
                    let read = line.event.read(&self.namespace).ok_or(changed)?;
                    (event(line.position.saturating_add(1), read), true)
                }
                Ok(ArchiveLine::End(_)) => return Ok(None),
                Ok(ArchiveLine::Archive(_)) | Err(_) => return Err(changed),
            }));
        }
    }
}

/// Returns policy, number and label of an item, if it is a version with a label.
#[must_use]
pub fn label_of_item(item: &pb::ImportItem) -> Option<(PolicyId, i64, String)> {
    let Some(pb::import_item::Item::Version(version)) = &item.item else { return None };
    let row = Row::read(&version.row)?;
    let policy = PolicyId::parse("policy", row.text("policy")?).ok()?;
    Some((policy, row.int("number")?, row.text("label")?.to_owned()))
}

fn event(position: i64, from: Event) -> pb::import_item::Item {
    pb::import_item::Item::Event(pb::ImportedEvent {
        position,
        cursor: Some(pb::Cursor { epoch: from.cursor.epoch, revision: from.cursor.revision, ..Default::default() }),
        payload: from.payload.into(),
        prev_hash: from.prev_hash.to_vec().into(),
        hash: from.hash.to_vec().into(),
        seal: from.seal.into(),
        seal_key_id: from.seal_key_id,
        statement: from.statement,
    })
}

fn size_of_item(item: &pb::import_item::Item) -> usize {
    use pb::import_item::Item;
    match item {
        Item::Event(event) => event.payload.len() + event.statement.len(),
        Item::Row(row) => row.len(),
        Item::Version(version) => version.row.len() + version.manifest.len() + version.content.len(),
    }
}
