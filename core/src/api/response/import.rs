//! Imported history, and how far an import is.

use super::cursor;
use crate::api::pb;
use crate::api::time::timestamp;
use crate::domain::import::{Import, Imported};

/// Returns a history of another store.
pub(super) fn namespace_import(from: Import) -> pb::NamespaceImport {
    let source = from.source;
    let source = pb::ImportSource {
        store: source.store,
        namespace: source.namespace.name(),
        head: Some(cursor(source.head.cursor)),
        head_hash: source.head.hash.to_vec().into(),
        jwks: source.jwks,
        seal_jwks: source.seal_jwks,
    };
    pb::NamespaceImport {
        position: from.position,
        source: Some(source),
        finished: from.is_finished,
        items: from.items,
        importer: from.importer,
        create_time: Some(timestamp(from.create_time)),
    }
}

/// Returns how far an import is.
#[must_use]
pub fn imported(from: Imported) -> pb::ImportNamespaceResponse {
    pb::ImportNamespaceResponse { items: from.items, finished: from.is_finished, cursor: from.cursor.map(Into::into) }
}
