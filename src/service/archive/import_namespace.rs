//! ImportNamespace: the history of another store is imported part by part, each part in one transaction with one event of this store.
//!
//! Nothing that the caller states is trusted: events are proven by the keys of the source, rows by its events, versions by its manifests.
//! Invariant: events of another store go to `imported_events`, and nothing that is imported becomes active.

use super::import_items::{ImportState, import_items};
use super::import_source::refused;
use super::use_cases::Archive;
use crate::domain::event::{Change, EventKind, Head, Position};
use crate::domain::import::{ArchiveItem, FIRST_POSITION, Import, ImportNamespace, ImportSource, Imported};
use crate::domain::limits::IMPORT_ITEMS_MAX;
use crate::domain::name::NamespaceId;
use crate::domain::{Error, Reason, Result};
use crate::service::context::Context;
use crate::service::log::{Conclusion, Write};
use crate::signing::chain::LogCheck;
use crate::signing::digest_of;
use crate::store::ImportedCounts;

/// Returns the fields of a part that its fingerprint covers.
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

impl Archive {
    /// Imports the next part of a history.
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
            true => self.read_source_log(&request.namespace, &request.source).await?,
            false => None,
        };
        let call = self.writer.call(context, "ImportNamespace", &fingerprint(&request))?;
        let namespace = request.namespace.clone();
        let imported =
            call.try_mutate(&namespace, async |write| self.import_part(context, write, request, log.as_deref()).await);
        let imported = match imported.await? {
            Conclusion::Commit(imported) | Conclusion::RollBack(imported) => imported,
        };
        if imported.is_finished {
            self.source_logs.forget(&namespace);
        }
        Ok(imported)
    }

    /// Imports a part. If it was already imported, nothing is committed.
    async fn import_part(
        &self,
        context: &Context,
        write: &mut Write<'_>,
        request: ImportNamespace,
        log: Option<&LogCheck>,
    ) -> Result<Conclusion<Imported, Imported>> {
        let mut imports = write.tx.read().imports(&request.namespace).await?;
        write.check_importing(&imports)?;
        let begins = imports.is_empty();
        match imports.first() {
            None => imports.push(begin_import(context, write, &request).await?),
            Some(import) if import.source != request.source => return Err(not_empty(&request.namespace)),
            Some(import) if import.is_finished || request.offset < import.items => {
                return Ok(Conclusion::RollBack(progress(import, None)));
            }
            // The importer counts as the author of everything in the import.
            Some(import) if import.importer != context.actor() => return Err(importer_mismatch(import)),
            Some(import) if request.offset > import.items => {
                let message = format!("{} items are here, and these come after {}", import.items, request.offset);
                return Err(refused(message).with("items", import.items));
            }
            Some(import) if request.items.is_empty() && !request.is_last => {
                return Ok(Conclusion::RollBack(progress(import, None)));
            }
            Some(_) => {}
        }
        let mut change = Change::new(EventKind::ImportNamespace, None);
        let count = i64::try_from(request.items.len()).unwrap_or(i64::MAX);
        let state = ImportState { imports: &mut imports, log, change: &mut change };
        import_items(self, context, write, request.items, state).await?;
        if let Some(first) = imports.first_mut() {
            (first.items, first.update_time) = (first.items.saturating_add(count), write.time());
        }
        if request.is_last {
            let Some(log) = log else { return Err(refused("the last part came before all events")) };
            finish_import(write, &request.namespace, &mut imports, log).await?;
        } else if begins {
            write.tx.set_importing(true).await?;
        }
        for import in &imports {
            write.tx.put_import(import).await?;
        }
        let Some(first) = imports.first() else { return Err(Error::internal("an import that is not there")) };
        change.settings = Some(event_settings(first));
        let recorded = write.record(change).await?;
        Ok(Conclusion::Commit(progress(first, recorded.cursor)))
    }

    /// Returns the histories that a namespace imported.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`, `DATA_LOSS`.
    pub async fn imports(&self, namespace: &NamespaceId) -> Result<Vec<Import>> {
        self.log.store.read().await?.imports(namespace).await
    }
}

fn progress(import: &Import, cursor: Option<Position>) -> Imported {
    Imported { items: import.items, is_finished: import.is_finished, cursor }
}

fn importer_mismatch(import: &Import) -> Error {
    let importer = &import.importer;
    refused(format!(
        "{importer} began this import and has to go on with it; to start again, import into another namespace"
    ))
    .with("importer", importer)
}

fn not_empty(namespace: &NamespaceId) -> Error {
    let name = namespace.name();
    let message = format!("{name} holds policies or another import; import into a namespace without any");
    Error::new(Reason::NamespaceNotEmpty, message).about(name)
}

/// Returns the entry for the imported history in the event of a part.
fn event_settings(import: &Import) -> serde_json::Value {
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

/// Begins an import into an empty namespace.
async fn begin_import(context: &Context, write: &mut Write<'_>, request: &ImportNamespace) -> Result<Import> {
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
    // Write this before its events, which refer to it.
    write.tx.put_import(&import).await?;
    Ok(import)
}

/// Finishes an import. Every event up to the head and every row that the log names must be present.
async fn finish_import(
    write: &mut Write<'_>,
    namespace: &NamespaceId,
    imports: &mut [Import],
    log: &LogCheck,
) -> Result<()> {
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
