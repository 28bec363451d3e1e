//! ImportNamespace.

use super::fields::namespace;
use crate::api::pb;
use crate::domain::digest::Hash;
use crate::domain::error::REQUIRED;
use crate::domain::event::{Cursor, Event, Head};
use crate::domain::import::{ArchiveItem, ImportNamespace, ImportSource};
use crate::domain::name::NamespaceId;
use crate::domain::{Error, Result};

/// Reads an ImportNamespace request.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn import_namespace(request: pb::ImportNamespaceRequest) -> Result<ImportNamespace> {
    let target = namespace("name", &request.name)?;
    let source = source(request.source.unwrap_or_default())?;
    if request.offset < 0 {
        return Err(Error::invalid("offset", "must not be negative"));
    }
    let items = request.items.into_iter().map(|each| item(&source.namespace, each)).collect::<Result<_>>()?;
    Ok(ImportNamespace { namespace: target, source, offset: request.offset, items, is_last: request.last })
}

fn source(from: pb::ImportSource) -> Result<ImportSource> {
    let head = from.head.filter(|head| head.revision > 0);
    let head = head.ok_or_else(|| Error::invalid("source.head", "is required"))?;
    if from.store.is_empty() || from.store.len() > STORE_ID_MAX_BYTES || from.store.contains('\0') {
        return Err(Error::invalid_text("source.store", &from.store, "is no id of a store"));
    }
    Ok(ImportSource {
        store: from.store,
        namespace: namespace("source.namespace", &from.namespace)?,
        head: Head { cursor: cursor(head), hash: hash("source.head_hash", &from.head_hash)? },
        jwks: text("source.jwks", from.jwks)?,
        seal_jwks: text("source.seal_jwks", from.seal_jwks)?,
    })
}

/// Longest id of a store. Ours are UUIDs.
const STORE_ID_MAX_BYTES: usize = 128;

/// Reads a text, and refuses one that PostgreSQL can't keep.
fn text(field: &str, from: String) -> Result<String> {
    if from.contains('\0') { Err(Error::invalid(field, "holds a NUL character")) } else { Ok(from) }
}

fn cursor(from: pb::Cursor) -> Cursor {
    Cursor { epoch: from.epoch, revision: from.revision }
}

fn hash(field: &str, bytes: &[u8]) -> Result<Hash> {
    let rule = if bytes.is_empty() { REQUIRED } else { "must be 32 bytes" };
    bytes.try_into().map_err(|_| Error::invalid(field, rule))
}

fn item(namespace: &NamespaceId, from: pb::ImportItem) -> Result<ArchiveItem> {
    use pb::import_item::Item as From;
    match from.item {
        Some(From::Event(from)) => event(namespace, from),
        Some(From::Row(bytes)) => Ok(ArchiveItem::Row(bytes)),
        Some(From::Version(from)) => {
            let manifest = text("items.version.manifest", from.manifest)?;
            let content = (!from.content.is_empty()).then_some(from.content);
            Ok(ArchiveItem::Version { row: from.row, manifest, content })
        }
        None => Err(Error::invalid("items", "one of them is nothing")),
    }
}

fn event(namespace: &NamespaceId, from: pb::ImportedEvent) -> Result<ArchiveItem> {
    let event = Event {
        // The name of a history that was imported before is in its import.
        namespace: namespace.clone(),
        cursor: cursor(from.cursor.unwrap_or_default()),
        payload: from.payload.into(),
        prev_hash: hash("items.event.prev_hash", &from.prev_hash)?,
        hash: hash("items.event.hash", &from.hash)?,
        seal: from.seal.into(),
        seal_key_id: text("items.event.seal_key_id", from.seal_key_id)?,
        statement: text("items.event.statement", from.statement)?,
    };
    Ok(ArchiveItem::Event(from.position, event))
}
