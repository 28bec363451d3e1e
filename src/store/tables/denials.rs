//! Queries of the table `denials`: one row for all denials that are equal, the newest of each namespace.

use std::collections::BTreeSet;

use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, IntoActiveModel as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};

use crate::domain::Result;
use crate::domain::command::PageRequest;
use crate::domain::denial::{Denial, DenialCount, DenialKey};
use crate::domain::limits::DENIALS_PER_NAMESPACE_MAX;
use crate::domain::listing::DenialFilter;
use crate::domain::name::NamespaceId;
use crate::domain::time::Micros;
use crate::store::entity::denials::{Column, Entity, Model};
use crate::store::entity::namespaces;
use crate::store::error::failed;
use crate::store::handle::Store;
use crate::store::tables::rows::unreadable;
use crate::store::transaction::views::ReadTx;

impl Store {
    /// Adds denials to the rows of their keys, each key once, and deletes the oldest rows of a namespace that has more than its limit.
    /// Denials of a namespace that no longer exists, as after a restore, are left out.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn add_denials(&self, denials: &[Denial]) -> Result<()> {
        let asked: BTreeSet<&str> = denials.iter().map(|denial| denial.key.namespace.as_str()).collect();
        let writer = self.writer()?;
        let found = namespaces::Entity::find().filter(namespaces::Column::Id.is_in(asked));
        let found: BTreeSet<String> =
            found.all(&writer).await.map_err(failed)?.into_iter().map(|namespace| namespace.id).collect();
        if found.is_empty() {
            return Ok(());
        }
        let kept = denials.iter().filter(|denial| found.contains(denial.key.namespace.as_str()));
        let rows = kept.map(|denial| row(denial).into_active_model());
        let add = OnConflict::columns([Column::Namespace, Column::Id])
            .value(Column::Count, Expr::cust("denials.count + excluded.count"))
            .value(Column::FirstTime, least("first_time"))
            .value(Column::LastTime, greatest("last_time"))
            .to_owned();
        Entity::insert_many(rows).on_conflict(add).exec_without_returning(&writer).await.map_err(failed)?;
        // Ids have letters, digits, `_` and `-` alone. Only the namespaces that were written to are checked.
        let written: Vec<String> = found.iter().map(|id| format!("'{id}'")).collect();
        let ranked = format!(
            "(namespace, id) IN (SELECT namespace, id FROM (SELECT d.namespace, d.id, row_number() OVER (PARTITION BY d.namespace \
             ORDER BY d.last_time DESC, d.id) AS place FROM denials d WHERE d.namespace IN ({})) ranked \
             WHERE place > {DENIALS_PER_NAMESPACE_MAX})",
            written.join(", ")
        );
        let surplus = Entity::delete_many().filter(Expr::cust(ranked));
        surplus.exec(&writer).await.map_err(failed)?;
        Ok(())
    }
}

impl ReadTx {
    /// Returns a page of the denials of a namespace, in order of ids.
    pub async fn denials(
        &self,
        namespace: &NamespaceId,
        page: &PageRequest<String>,
        filter: &DenialFilter,
    ) -> Result<Vec<Denial>> {
        let mut query = Entity::find()
            .filter(Column::Namespace.eq(namespace.as_str()))
            .order_by_asc(Column::Id)
            .limit(u64::from(page.size));
        if let Some(after) = &page.after {
            query = query.filter(Column::Id.gt(after.as_str()));
        }
        if let Some(principal) = &filter.principal {
            query = query.filter(Column::Principal.eq(principal.as_str()));
        }
        query.all(&self.tx).await.map_err(failed)?.into_iter().map(denial).collect()
    }
}

/// Returns the expression for the earlier of two times, on both databases.
fn least(column: &str) -> Expr {
    Expr::cust(format!(
        "CASE WHEN excluded.{column} < denials.{column} THEN excluded.{column} ELSE denials.{column} END"
    ))
}

fn greatest(column: &str) -> Expr {
    Expr::cust(format!(
        "CASE WHEN excluded.{column} > denials.{column} THEN excluded.{column} ELSE denials.{column} END"
    ))
}

fn row(Denial { key, count }: &Denial) -> Model {
    Model {
        namespace: key.namespace.to_string(),
        id: key.id(),
        principal: key.principal.clone(),
        method: key.method.clone(),
        reason: key.reason.clone(),
        permission: key.permission.clone(),
        count: count.count,
        first_time: count.first.0,
        last_time: count.last.0,
    }
}

fn denial(row: Model) -> Result<Denial> {
    Ok(Denial {
        key: DenialKey {
            namespace: NamespaceId::parse("namespace", &row.namespace).map_err(unreadable("namespace"))?,
            principal: row.principal,
            method: row.method,
            reason: row.reason,
            permission: row.permission,
        },
        count: DenialCount { count: row.count, first: Micros(row.first_time), last: Micros(row.last_time) },
    })
}
