//! ImportNamespace: another store's history comes in, part by part, each part one transaction and one event of this store.
//!
//! Nothing the caller says of it is believed: events are proven by the keys of the source, rows by its events, versions by its
//! manifests. Invariant: events of another store go to `imported_events`, and nothing that comes in is in force.

use super::import_items::{Taken, take};
use super::write::{Begun, Write};
use super::{Context, Service};
use crate::domain::event::{Change, EventKind, Head, Position};
use crate::domain::import::{ArchiveItem, FIRST_POSITION, Import, ImportNamespace, ImportSource, Imported};
use crate::domain::limits::IMPORT_ITEMS_MAX;
use crate::domain::name::NamespaceId;
use crate::domain::{Error, Reason, Result};
use crate::signing::chain::LogCheck;
use crate::signing::digest_of;
use crate::store::ImportedCounts;

/// The refusal of what is not what the source's log says.
pub(super) fn refused(message: impl Into<String>) -> Error {
    Error::new(Reason::ImportRefused, message)
}

/// What tells one part from another.
fn fingerprint(request: &ImportNamespace) -> impl serde::Serialize {
    let ImportSource { store, namespace, jwks, seal_jwks, .. } = &request.source;
    let mut bytes = Vec::new();
    for item in &request.items {
        let parts: [&[u8]; 3] = match item {
            ArchiveItem::Event(position, event) => {
                bytes.extend(position.to_be_bytes());
                [&event.hash, &event.seal, event.statement.as_bytes()]
            }
            ArchiveItem::Row(row) => [row, b"", b""],
            ArchiveItem::Version { row, manifest, content } => {
                [row, manifest.as_bytes(), content.as_ref().map_or(b"", |content| content)]
            }
        };
        for part in parts {
            bytes.extend(part.len().to_be_bytes());
            bytes.extend(part);
        }
    }
    let source = (store.clone(), namespace.clone(), jwks.clone(), seal_jwks.clone(), request.source.head_text());
    (request.namespace.clone(), source, request.offset, digest_of(&bytes), request.is_last)
}

impl Service {
    /// Takes the next part of a history in.
    ///
    /// # Errors
    /// `IMPORT_REFUSED`, `NAMESPACE_NOT_EMPTY`, `NAMESPACE_NOT_FOUND`, `QUOTA_EXCEEDED`, `INVALID_ARGUMENT`.
    pub async fn import_namespace(&self, context: &Context, request: ImportNamespace) -> Result<Imported> {
        if request.namespace.is_system() {
            return Err(Error::invalid("name", "namespaces/system holds no policies"));
        }
        if request.items.len() > IMPORT_ITEMS_MAX {
            return Err(Error::invalid("items", format!("are over {IMPORT_ITEMS_MAX}")));
        }
        self.check_source(&request.source)?;
        self.check_schemas(&request.namespace, &request.items).await?;
        let has_rows = request.items.iter().any(|item| !matches!(item, ArchiveItem::Event(..)));
        let log = match has_rows || request.is_last {
            true => self.source_log(&request.namespace, &request.source).await?,
            false => None,
        };
        let call = self.call(context, "ImportNamespace", &fingerprint(&request))?;
        let mut write = match call.begin(&request.namespace).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        let mut imports = write.tx.read().imports(&request.namespace).await?;
        write.check_importing(&imports)?;
        let begins = imports.is_empty();
        match imports.first() {
            None => imports.push(begin(context, &mut write, &request).await?),
            Some(import) if import.source != request.source => return Err(not_empty(&request.namespace)),
            Some(import) if import.is_finished || request.offset < import.items => return Ok(state(import, None)),
            // Its importer counts as the author of all that it brings.
            Some(import) if import.importer != context.actor() => return Err(others(import)),
            Some(import) if request.offset > import.items => {
                let message = format!("{} items are here, and these come after {}", import.items, request.offset);
                return Err(refused(message).with("items", import.items));
            }
            Some(import) if request.items.is_empty() && !request.is_last => return Ok(state(import, None)),
            Some(_) => {}
        }
        let mut change = Change::new(EventKind::ImportNamespace, None);
        let count = i64::try_from(request.items.len()).unwrap_or(i64::MAX);
        let taken = Taken { imports: &mut imports, log: log.as_deref(), change: &mut change };
        take(self, context, &mut write, request.items, taken).await?;
        if let Some(first) = imports.first_mut() {
            (first.items, first.update_time) = (first.items.saturating_add(count), write.time());
        }
        if request.is_last {
            let Some(log) = &log else { return Err(refused("the last part came before all events")) };
            finish(&mut write, &request.namespace, &mut imports, log).await?;
        } else if begins {
            write.tx.set_importing(true).await?;
        }
        for import in &imports {
            write.tx.put_import(import).await?;
        }
        let Some(first) = imports.first() else { return Err(Error::internal("an import that is not there")) };
        change.settings = Some(settings(first));
        let recorded = write.record(change).await?;
        let done = write.finish(state(first, recorded.cursor)).await?;
        if done.is_finished {
            self.sources.forget(&request.namespace);
        }
        Ok(done)
    }

    /// The histories a namespace imported.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`, `DATA_LOSS`.
    pub async fn imports(&self, namespace: &NamespaceId) -> Result<Vec<Import>> {
        self.store.read().await?.imports(namespace).await
    }
}

fn state(import: &Import, cursor: Option<Position>) -> Imported {
    Imported { items: import.items, is_finished: import.is_finished, cursor }
}

fn others(import: &Import) -> Error {
    let importer = &import.importer;
    refused(format!(
        "{importer} began this import and has to go on with it; import into another namespace to do it anew"
    ))
    .with("importer", importer)
}

fn not_empty(namespace: &NamespaceId) -> Error {
    let name = namespace.name();
    let message = format!("{name} holds policies or another import; import into a namespace without any");
    Error::new(Reason::NamespaceNotEmpty, message).about(name)
}

/// What an event of this store says of a history that comes in.
fn settings(import: &Import) -> serde_json::Value {
    let ImportSource { store, namespace, jwks, seal_jwks, .. } = &import.source;
    let reached = ImportSource { head: import.reached, ..import.source.clone() };
    serde_json::json!({
        "store": store,
        "namespace": namespace,
        "head": import.source.head_text(),
        "reached": reached.head_text(),
        "jwks_digest": digest_of(jwks.as_bytes()),
        "seal_jwks_digest": digest_of(seal_jwks.as_bytes()),
        "items": import.items,
        "finished": import.is_finished,
    })
}

/// Begins an import into a namespace that has nothing.
async fn begin(context: &Context, write: &mut Write<'_>, request: &ImportNamespace) -> Result<Import> {
    if write.tx.usage().policies > 0 {
        return Err(not_empty(&request.namespace));
    }
    if request.offset != 0 {
        return Err(refused("nothing of it is here yet; begin at 0").with("items", 0));
    }
    let import = Import {
        position: FIRST_POSITION,
        source: request.source.clone(),
        reached: Head::EMPTY,
        items: 0,
        is_finished: false,
        importer: context.actor(),
        create_time: write.time(),
        update_time: write.time(),
    };
    // Before its events, which refer to it.
    write.tx.put_import(&import).await?;
    Ok(import)
}

/// Nothing is missing: every event up to the head, and every row that the log names.
async fn finish(write: &mut Write<'_>, namespace: &NamespaceId, imports: &mut [Import], log: &LogCheck) -> Result<()> {
    if let Some(short) = imports.iter().find(|import| import.reached != import.source.head) {
        let (position, reached) = (short.position, short.reached.cursor.revision);
        return Err(refused(format!("history {position} ends at {reached}, before its head")));
    }
    let ImportedCounts { policies, versions, reports, imports: histories } =
        write.tx.read().imported_counts(namespace).await?;
    let found = [
        ("policies", policies),
        ("versions", versions),
        ("reports", reports),
        ("imports", histories.saturating_sub(1)),
    ];
    for (table, count) in found {
        let named = log.carried_rows(table);
        if count != named {
            return Err(refused(format!("{named} {table} are named by its log, and {count} came")));
        }
    }
    if let Some((policy, latest)) = write.tx.read().policy_with_gaps(namespace).await? {
        return Err(refused(format!("{policy}: the versions that came are not those from 1 to {latest}")));
    }
    for import in imports {
        import.is_finished = true;
    }
    write.tx.set_importing(false).await
}
