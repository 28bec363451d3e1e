//! Queries of imported history: its source, its events, and the other rows that came with it.
//!
//! Invariant: an event of another store is in `imported_events` alone; no query of this store's log reads it.

use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait as _, EntityName as _, EntityTrait as _, IntoActiveModel as _,
    PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, QueryTrait as _, Statement,
    sea_query::ExprTrait as _,
};

use crate::domain::command::PageRequest;
use crate::domain::digest::Digest;
use crate::domain::event::{Cursor, Event, Head, RowChange};
use crate::domain::import::{FIRST_POSITION, Import, ImportSource};
use crate::domain::listing::EventFilter;
use crate::domain::name::NamespaceId;
use crate::domain::time::Micros;
use crate::domain::version::VersionState;
use crate::domain::{Error, Result};
use crate::store::authenticated::Authenticated;
use crate::store::entity::{events, imported_events, imports, namespaces, policies, reports, versions};
use crate::store::error::failed;
use crate::store::tables::rows::{self, unreadable};
use crate::store::transaction::views::{ReadTx, WriteTx, update_one};

/// Values of `imports.state`.
const OPEN: &str = "OPEN";
const DONE: &str = "DONE";

/// Finds a policy of a namespace that has fewer versions than its highest number.
const GAPS: &str = "SELECT p.id, p.latest_version FROM policies p WHERE p.namespace = $1 AND p.latest_version <> \
     (SELECT COUNT(*) FROM versions v WHERE v.namespace = p.namespace AND v.policy = p.id) LIMIT 1";

/// Counts of what imports wrote to a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportedCounts {
    /// Number of policies.
    pub policies: u64,
    /// Number of versions.
    pub versions: u64,
    /// Number of reports of published versions.
    pub reports: u64,
    /// Number of imported histories.
    pub imports: u64,
}

fn head(epoch: i64, revision: i64, hash: &[u8]) -> Result<Head> {
    Ok(Head { cursor: Cursor { epoch, revision }, hash: rows::hash("hash of an import", hash)? })
}

pub(in crate::store) fn import(Authenticated(row): Authenticated<imports::Model>) -> Result<Import> {
    let is_finished = match row.state.as_str() {
        OPEN => false,
        DONE => true,
        _ => return Err(Error::data_loss("unreadable state of an import")),
    };
    let source = ImportSource {
        store: row.store,
        namespace: NamespaceId::parse("source", &row.source).map_err(unreadable("source"))?,
        head: head(row.head_epoch, row.head_revision, &row.head_hash)?,
        jwks: row.jwks,
        seal_jwks: row.seal_jwks,
    };
    Ok(Import {
        position: row.position,
        source,
        reached: head(row.reached_epoch, row.reached_revision, &row.reached_hash)?,
        items: row.items,
        is_finished,
        importer: row.importer,
        create_time: Micros(row.create_time),
        update_time: Micros(row.update_time),
    })
}

pub(in crate::store) fn import_row(namespace: &str, import: &Import) -> imports::Model {
    let (source, reached) = (&import.source, import.reached);
    imports::Model {
        namespace: namespace.to_owned(),
        position: import.position,
        store: source.store.clone(),
        source: source.namespace.to_string(),
        head_epoch: source.head.cursor.epoch,
        head_revision: source.head.cursor.revision,
        head_hash: source.head.hash.to_vec(),
        jwks: source.jwks.clone(),
        seal_jwks: source.seal_jwks.clone(),
        reached_epoch: reached.cursor.epoch,
        reached_revision: reached.cursor.revision,
        reached_hash: reached.hash.to_vec(),
        items: import.items,
        state: if import.is_finished { DONE } else { OPEN }.to_owned(),
        importer: import.importer.clone(),
        create_time: import.create_time.0,
        update_time: import.update_time.0,
        tag: Vec::new(),
    }
}

/// Converts the row of an event of another store, in which the namespace is called `source`.
fn event(row: imported_events::Model, source: &NamespaceId) -> Result<Event> {
    Ok(Event {
        namespace: source.clone(),
        cursor: Cursor { epoch: row.epoch, revision: row.revision },
        payload: row.payload,
        prev_hash: rows::hash("prev_hash", &row.prev_hash)?,
        hash: rows::hash("hash", &row.hash)?,
        seal: row.seal,
        seal_key_id: row.seal_key_id,
        statement: row.statement,
    })
}

impl ReadTx {
    /// Returns the histories that a namespace imported, the nearest first.
    pub async fn imports(&self, namespace: &NamespaceId) -> Result<Vec<Import>> {
        let query = imports::Entity::find()
            .filter(imports::Column::Namespace.eq(namespace.as_str()))
            .order_by_asc(imports::Column::Position);
        let rows = query.all(&self.tx).await.map_err(failed)?.into_iter();
        rows.map(|row| import(self.authenticated::<imports::Entity>(row)?)).collect()
    }

    /// Whether an import is unfinished, as stated by the row of the namespace.
    pub async fn is_importing(&self, namespace: &NamespaceId) -> Result<bool> {
        let row = namespaces::Entity::find_by_id(namespace.as_str()).one(&self.tx).await.map_err(failed)?;
        Ok(row.ok_or_else(|| namespace.not_found())?.importing != 0)
    }

    /// Returns the events of this store between two times that are not about a single policy. The events of imports are among them.
    pub async fn events_of_import(&self, namespace: &NamespaceId, from: Micros, to: Micros) -> Result<Vec<Event>> {
        use events::Column as E;
        let query = events::Entity::find()
            .filter(E::Namespace.eq(namespace.as_str()))
            .filter(E::Policy.is_null())
            .filter(E::Time.between(from.0, to.0))
            .order_by_asc(E::Revision);
        query.all(&self.tx).await.map_err(failed)?.into_iter().map(rows::event).collect()
    }

    /// Returns the positions that have imported events, whatever `imports` states.
    pub async fn imported_positions(&self, namespace: &NamespaceId) -> Result<Vec<i64>> {
        use imported_events::Column as E;
        let query = imported_events::Entity::find()
            .select_only()
            .column(E::Position)
            .distinct()
            .filter(E::Namespace.eq(namespace.as_str()))
            .order_by_asc(E::Position);
        query.into_tuple().all(&self.tx).await.map_err(failed)
    }

    /// Returns a page of an imported history.
    pub async fn imported_events(
        &self,
        namespace: &NamespaceId,
        import: &Import,
        page: &PageRequest<i64>,
        filter: &EventFilter,
    ) -> Result<Vec<Event>> {
        use imported_events::Column as E;
        let mut query = imported_events::Entity::find()
            .filter(E::Namespace.eq(namespace.as_str()))
            .filter(E::Position.eq(import.position))
            .filter(E::Revision.gt(filter.after_revision()))
            .limit(u64::from(page.size));
        query = match (filter.newest_first, page.after) {
            (false, after) => query.filter(E::Revision.gt(after.unwrap_or(i64::MIN))).order_by_asc(E::Revision),
            (true, after) => query.filter(E::Revision.lt(after.unwrap_or(i64::MAX))).order_by_desc(E::Revision),
        };
        let rows = query.all(&self.tx).await.map_err(failed)?.into_iter();
        rows.map(|row| event(row, &import.source.namespace)).collect()
    }

    /// Returns the size of a content of some version of the namespace, or none when no version has it.
    pub async fn size_of_content(&self, namespace: &NamespaceId, digest: &Digest) -> Result<Option<i64>> {
        use versions::Column as V;
        let query = versions::Entity::find()
            .select_only()
            .column(V::SizeBytes)
            .filter(V::Namespace.eq(namespace.as_str()))
            .filter(V::Digest.eq(digest.as_str()))
            .limit(1);
        query.into_tuple().one(&self.tx).await.map_err(failed)
    }

    /// Returns a policy whose version numbers have gaps, with its highest number. No number is above the highest.
    pub async fn policy_with_gaps(&self, namespace: &NamespaceId) -> Result<Option<(String, i64)>> {
        let values = [namespace.as_str().into()];
        let statement = Statement::from_sql_and_values(self.tx.get_database_backend(), GAPS, values);
        let row = self.tx.query_one_raw(statement).await.map_err(failed)?;
        row.map(|row| row.try_get_many_by_index().map_err(failed)).transpose()
    }

    /// Counts the rows of the tables that imports write.
    pub async fn imported_counts(&self, namespace: &NamespaceId) -> Result<ImportedCounts> {
        use {policies::Column as P, reports::Column as R, versions::Column as V};
        let own = namespace.as_str();
        let policies = policies::Entity::find().filter(P::Namespace.eq(own)).count(&self.tx).await;
        let versions = versions::Entity::find().filter(V::Namespace.eq(own)).count(&self.tx).await;
        let published = versions::Entity::find()
            .select_only()
            .column(V::Number)
            .filter(V::Namespace.eq(own))
            .filter(V::Policy.into_expr().eq(R::Policy.into_expr()))
            .filter(V::State.eq(VersionState::Published.as_str()))
            .into_query();
        let reports = reports::Entity::find()
            .filter(R::Namespace.eq(own))
            .filter(R::Number.in_subquery(published))
            .count(&self.tx)
            .await;
        let imports =
            imports::Entity::find().filter(imports::Column::Namespace.eq(own)).count(&self.tx).await.map_err(failed)?;
        Ok(ImportedCounts {
            policies: policies.map_err(failed)?,
            versions: versions.map_err(failed)?,
            reports: reports.map_err(failed)?,
            imports,
        })
    }
}

impl WriteTx {
    /// Returns the histories that the namespace imported, the nearest first. Records when there is none: the log must not name one either.
    pub async fn imports(&self) -> Result<Vec<Import>> {
        if self.has_imports() {
            return self.read().imports(self.namespace()).await;
        }
        let (table, key) = (imports::Entity.table_name().to_owned(), FIRST_POSITION.to_string());
        self.note_absent(&RowChange { table, key, digest: None });
        Ok(Vec::new())
    }

    /// Writes the state of an import.
    pub async fn put_import(&self, import: &Import) -> Result<()> {
        self.put_row::<imports::Entity>(import_row(self.namespace().as_str(), import)).await
    }

    /// Adds events to the history at a position.
    pub async fn insert_imported_events(&self, position: i64, events: &[Event]) -> Result<()> {
        for event in events {
            let row = imported_events::Model {
                namespace: self.namespace().to_string(),
                position,
                revision: event.cursor.revision,
                epoch: event.cursor.epoch,
                payload: event.payload.clone(),
                prev_hash: event.prev_hash.to_vec(),
                hash: event.hash.to_vec(),
                seal: event.seal.clone(),
                seal_key_id: event.seal_key_id.clone(),
                statement: event.statement.clone(),
            };
            let insert = imported_events::Entity::insert(row.into_active_model());
            insert.exec_without_returning(self.tx()).await.map_err(failed)?;
        }
        Ok(())
    }

    /// Records that an import began or is finished.
    pub async fn set_importing(&mut self, is_importing: bool) -> Result<()> {
        let row = namespaces::ActiveModel { importing: Set(i64::from(is_importing)), ..Default::default() };
        update_one(self.tx(), row, namespaces::Column::Id.eq(self.namespace().as_str())).await
    }
}
