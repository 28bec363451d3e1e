//! Queries of namespaces and of the heads of their logs.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Select};

use crate::domain::Result;
use crate::domain::command::PageRequest;
use crate::domain::event::{Cursor, Head};
use crate::domain::name::NamespaceId;
use crate::domain::outcome::Namespace;
use crate::domain::quota::Quotas;
use crate::domain::time::Micros;
use crate::store::authenticated::authenticate;
use crate::store::entity::namespaces::{Column, Entity, Model};
use crate::store::error::failed;
use crate::store::handle::Store;
use crate::store::tables::meta::namespace_row;
use crate::store::tables::rows;
use crate::store::transaction::views::{ReadTx, WriteTx};

/// Namespaces that one query asks for. More: a database refuses a statement with too many values, SQLite beyond 32,766.
const NAMESPACES_PER_QUERY: usize = 1_000;

impl ReadTx {
    /// Returns a namespace.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`.
    pub async fn namespace(&self, id: &NamespaceId) -> Result<Namespace> {
        self.find_namespace(id).await?.ok_or_else(|| id.not_found())
    }

    /// Returns a namespace, if it exists.
    pub async fn find_namespace(&self, id: &NamespaceId) -> Result<Option<Namespace>> {
        let row = Entity::find_by_id(id.as_str()).one(&self.tx).await.map_err(failed)?;
        row.map(|row| rows::namespace(self.authenticated::<Entity>(row)?)).transpose()
    }

    /// Returns a page of namespaces, in order of ids.
    pub async fn namespaces(&self, page: &PageRequest<NamespaceId>) -> Result<Vec<Namespace>> {
        let mut query = Entity::find().order_by_asc(Column::Id).limit(u64::from(page.size));
        if let Some(after) = &page.after {
            query = query.filter(Column::Id.gt(after.as_str()));
        }
        let rows = query.all(&self.tx).await.map_err(failed)?.into_iter();
        rows.map(|row| rows::namespace(self.authenticated::<Entity>(row)?)).collect()
    }
}

impl Store {
    /// Returns the heads of some logs, in one query for each 1,000. A namespace that does not exist is left out.
    ///
    /// A head that does not follow what was seen of its log makes data loss suspected. When a log continues in another epoch, this takes a
    /// second query.
    pub async fn heads(&self, namespaces: &[NamespaceId]) -> Result<Vec<(NamespaceId, Head)>> {
        // Take the marks before the heads are read: a head read later must include them.
        let seen = self.inner.high_water.heads_of(namespaces);
        let (mut found, mut heads) = (BTreeSet::new(), Vec::with_capacity(namespaces.len()));
        for chunk in namespaces.chunks(NAMESPACES_PER_QUERY) {
            let ids = chunk.iter().map(NamespaceId::as_str);
            let rows = select_heads().filter(Column::Id.is_in(ids)).into_tuple::<HeadRow>();
            let rows = rows.all(&self.reader()?).await.map_err(failed)?;
            found.extend(rows.iter().map(|(id, ..)| id.clone()));
            heads.extend(named_heads(rows));
        }
        let lost = seen.keys().any(|namespace| !found.contains(namespace.as_str()));
        self.see(&seen, heads.iter().cloned().collect()).await?;
        if lost && !self.inner.suspected_loss.has_signs() {
            // The epoch of `system` shows whether this is a loss.
            // Boxed: otherwise the future of every call would have its size, and hardly any call runs it.
            Box::pin(self.check_for_loss()).await?;
        }
        Ok(heads)
    }

    /// Returns the quotas that were set for single namespaces, in one query. Namespaces without any are left out.
    pub async fn own_quotas(&self) -> Result<BTreeMap<NamespaceId, Quotas>> {
        let given = Entity::find().filter(Column::Settings.ne(rows::settings(Quotas::default())?));
        let rows = given.all(&self.reader()?).await.map_err(failed)?;
        let macs = self.macs();
        let authenticated = rows.into_iter().map(|row| rows::namespace(authenticate::<Entity>(macs.as_ref(), row)?));
        Ok(readable(authenticated).map(|found| (found.id, found.quotas)).collect())
    }

    /// Returns the heads of all logs, in one query.
    pub(in crate::store) async fn all_heads(&self) -> Result<BTreeMap<NamespaceId, Head>> {
        let rows = select_heads().into_tuple::<HeadRow>().all(&self.reader_in_outage()).await.map_err(failed)?;
        Ok(named_heads(rows).into_iter().collect())
    }
}

/// The end of a log: its namespace, epoch, revision and hash.
type HeadRow = (String, i64, i64, Vec<u8>);

/// Selects what a poll of many logs needs each second, and no descriptions and settings.
fn select_heads() -> Select<Entity> {
    Entity::find().select_only().columns([Column::Id, Column::Epoch, Column::HeadRevision, Column::HeadHash])
}

/// Leaves out a row that can't be read: only its own namespace becomes unavailable, as if it did not exist.
fn named_heads(rows: Vec<HeadRow>) -> Vec<(NamespaceId, Head)> {
    readable(rows.into_iter().map(|(id, epoch, revision, hash)| {
        let head = Head { cursor: Cursor { epoch, revision }, hash: rows::hash("head hash", &hash)? };
        Ok((rows::namespace_id(&id)?, head))
    }))
    .collect()
}

fn readable<T>(rows: impl Iterator<Item = Result<T>>) -> impl Iterator<Item = T> {
    rows.filter_map(|row| match row {
        Ok(row) => Some(row),
        Err(error) => {
            tracing::error!(%error, detail = error.internal, "ignoring a namespace that can't be read");
            None
        }
    })
}

impl WriteTx {
    /// Adds a namespace with an empty log. It begins in the epoch of `system`, whose log names it, so that a namespace that was lost and
    /// is created again never repeats an (epoch, revision).
    pub async fn insert_namespace(
        &self,
        id: &NamespaceId,
        description: &str,
        quotas: Quotas,
        now: Micros,
    ) -> Result<()> {
        let settings = rows::settings(quotas)?;
        let row = namespace_row(id.as_str(), description, settings, self.head().cursor.epoch, now);
        self.insert_row::<Entity>(row).await
    }

    /// Writes the changed fields of a namespace.
    pub async fn update_namespace(&self, namespace: &Namespace) -> Result<()> {
        let settings = rows::settings(namespace.quotas)?;
        let columns = [Column::Description, Column::Settings, Column::Etag];
        let change = |row: &mut Model| {
            row.description.clone_from(&namespace.description);
            row.settings = settings;
            row.etag = namespace.edits;
        };
        self.change_row::<Entity>(Column::Id.eq(namespace.id.as_str()), &columns, change).await
    }
}
