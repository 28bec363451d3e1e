//! Exports rows as the exact bytes whose digest their events have, and imports such rows of other stores.
//!
//! Boundary: this checks that a row has exactly the bytes that a store writes; the caller authenticates it by the log it came with.

use sea_orm::sea_query::{Expr, ExprTrait as _, SimpleExpr};
use sea_orm::{
    ColumnTrait as _, EntityTrait, PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};

use crate::domain::import::Import;
use crate::domain::name::{NamespaceId, PolicyName};
use crate::domain::policy::Policy;
use crate::domain::report::Report;
use crate::domain::row::Row;
use crate::domain::version::Version;
use crate::domain::{Error, Result};
use crate::store::authenticated::{Authenticated, AuthenticatedTable, mac_input};
use crate::store::entity::{imports, policies, reports, versions};
use crate::store::error::failed;
use crate::store::tables::imports::import;
use crate::store::tables::manifests::with_newest_manifest;
use crate::store::tables::rows;
use crate::store::transaction::views::ReadTx;

/// A row of another store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is a row of the table of its name")]
pub enum ArchivedRow {
    Policy(Policy),
    Version(Box<Version>),
    Report {
        policy: PolicyName,
        number: i64,
        report: Report,
    },
    /// An imported history, with the namespace's name in the other store.
    Import(NamespaceId, Box<Import>),
}

/// A row as it is exported.
#[derive(Debug, Clone)]
pub struct ExportedRow {
    /// The bytes that the digest covers.
    pub bytes: Vec<u8>,
    /// The key of the row.
    pub key: ExportedRowKey,
    /// Set for a version: its newest manifest, and its content by digest.
    pub version: Option<Version>,
}

/// The table of a row and the parts of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the key of the table of its name")]
pub enum ExportedRowKey {
    Policies(String),
    Versions(String, i64),
    Reports(String, i64),
    Imports(i64),
}

/// The tables that archives carry, in an order in which each row comes after the rows it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Table {
    Policies,
    Versions,
    Reports,
    Imports,
}

impl ExportedRowKey {
    fn table(&self) -> Table {
        match self {
            Self::Policies(_) => Table::Policies,
            Self::Versions(..) => Table::Versions,
            Self::Reports(..) => Table::Reports,
            Self::Imports(_) => Table::Imports,
        }
    }

    fn parts(&self) -> Vec<SimpleExpr> {
        match self {
            Self::Policies(id) => vec![Expr::val(id.clone())],
            Self::Versions(policy, number) | Self::Reports(policy, number) => {
                vec![Expr::val(policy.clone()), Expr::val(*number)]
            }
            Self::Imports(position) => vec![Expr::val(*position)],
        }
    }
}

/// Reads a row of another store from its bytes.
///
/// # Errors
/// `DATA_LOSS` when the bytes are not exactly what this schema writes for such a row.
pub fn read_row(bytes: &[u8]) -> Result<ArchivedRow> {
    let row = Row::read(bytes).ok_or_else(|| Error::data_loss("the bytes are no row"))?;
    match row.table.as_str() {
        "policies" => policy(&row, bytes),
        "versions" => version(&row, bytes),
        "reports" => report(&row, bytes),
        "imports" => imported(&row, bytes),
        _ => Err(Error::data_loss("it is a row of another table")),
    }
}

struct Columns<'a>(&'a Row);

impl Columns<'_> {
    fn text(&self, column: &str) -> Result<String> {
        let value = self.0.text(column).map(str::to_owned);
        value.ok_or_else(|| Error::data_loss(format!("it has no {column}")))
    }

    fn int(&self, column: &str) -> Result<i64> {
        self.0.int(column).ok_or_else(|| Error::data_loss(format!("it has no {column}")))
    }

    fn bytes(&self, column: &str) -> Result<Vec<u8>> {
        let value = self.0.bytes(column).map(<[u8]>::to_vec);
        value.ok_or_else(|| Error::data_loss(format!("it has no {column}")))
    }
}

/// Refuses a row with other columns than this schema has: a column it does not know would be lost silently.
fn whole<E: AuthenticatedTable>(model: E::Model, bytes: &[u8]) -> Result<Authenticated<E::Model>> {
    if mac_input::<E>(&model)? == bytes {
        return Ok(Authenticated(model));
    }
    Err(Error::data_loss("it has columns that this version does not know"))
}

fn policy(row: &Row, bytes: &[u8]) -> Result<ArchivedRow> {
    let columns = Columns(row);
    let model = policies::Model {
        namespace: columns.text("namespace")?,
        id: columns.text("id")?,
        kind: columns.text("kind")?,
        description: columns.text("description")?,
        settings: columns.text("settings")?,
        latest_version: columns.int("latest_version")?,
        active_version: 0,
        active_revision: 0,
        etag: columns.int("etag")?,
        create_time: columns.int("create_time")?,
        update_time: columns.int("update_time")?,
        tag: Vec::new(),
    };
    rows::policy(whole::<policies::Entity>(model, bytes)?).map(ArchivedRow::Policy)
}

fn version(row: &Row, bytes: &[u8]) -> Result<ArchivedRow> {
    let columns = Columns(row);
    let model = versions::Model {
        namespace: columns.text("namespace")?,
        policy: columns.text("policy")?,
        number: columns.int("number")?,
        state: columns.text("state")?,
        label: row.text("label").map(str::to_owned),
        digest: columns.text("digest")?,
        size_bytes: columns.int("size_bytes")?,
        content_type: columns.text("content_type")?,
        change_note: columns.text("change_note")?,
        requires: columns.text("requires")?,
        base_version: columns.int("base_version")?,
        source_version: columns.int("source_version")?,
        author: columns.text("author")?,
        publisher: columns.text("publisher")?,
        manifest: String::new(),
        etag: columns.int("etag")?,
        create_time: columns.int("create_time")?,
        stage_time: row.int("stage_time"),
        publish_time: row.int("publish_time"),
        origin_manifests: row.text("origin_manifests").map(str::to_owned),
        annotations: row.text("annotations").map(str::to_owned),
        adopted: row.text("adopted").map(str::to_owned),
        template: row.text("template").map(str::to_owned),
        tag: Vec::new(),
    };
    let version = rows::version(whole::<versions::Entity>(model, bytes)?)?;
    Ok(ArchivedRow::Version(Box::new(version)))
}

fn report(row: &Row, bytes: &[u8]) -> Result<ArchivedRow> {
    let columns = Columns(row);
    let model = reports::Model {
        namespace: columns.text("namespace")?,
        policy: columns.text("policy")?,
        number: columns.int("number")?,
        body: columns.text("body")?,
        tag: Vec::new(),
    };
    let Authenticated(model) = whole::<reports::Entity>(model, bytes)?;
    let policy = rows::policy_name(&model.namespace, &model.policy)?;
    Ok(ArchivedRow::Report { policy, number: model.number, report: rows::json("report", &model.body)? })
}

fn imported(row: &Row, bytes: &[u8]) -> Result<ArchivedRow> {
    let columns = Columns(row);
    let model = imports::Model {
        namespace: columns.text("namespace")?,
        position: columns.int("position")?,
        store: columns.text("store")?,
        source: columns.text("source")?,
        head_epoch: columns.int("head_epoch")?,
        head_revision: columns.int("head_revision")?,
        head_hash: columns.bytes("head_hash")?,
        jwks: columns.text("jwks")?,
        seal_jwks: columns.text("seal_jwks")?,
        reached_epoch: columns.int("reached_epoch")?,
        reached_revision: columns.int("reached_revision")?,
        reached_hash: columns.bytes("reached_hash")?,
        items: columns.int("items")?,
        state: columns.text("state")?,
        importer: columns.text("importer")?,
        create_time: columns.int("create_time")?,
        update_time: columns.int("update_time")?,
        tag: Vec::new(),
    };
    let namespace = NamespaceId::parse("namespace", &model.namespace).map_err(rows::unreadable("namespace"))?;
    let import = import(whole::<imports::Entity>(model, bytes)?)?;
    Ok(ArchivedRow::Import(namespace, Box::new(import)))
}

impl ReadTx {
    /// Returns at most `limit` rows after a key, in the order of an archive. Fewer than `limit` do not mean that there are no more.
    pub async fn exported_rows(
        &self,
        namespace: &NamespaceId,
        after: Option<&ExportedRowKey>,
        limit: u64,
    ) -> Result<Vec<ExportedRow>> {
        let own = namespace.as_str();
        let from = |table: Table| after.filter(|key| key.table() == table);
        let first = after.map_or(Table::Policies, ExportedRowKey::table);
        if first == Table::Policies {
            use policies::Column as P;
            let query = policies::Entity::find().filter(P::Namespace.eq(own));
            let rows = self.page_of(query, [P::Id], from(Table::Policies), limit).await?;
            if !rows.is_empty() {
                let key = |row: &policies::Model| ExportedRowKey::Policies(row.id.clone());
                return rows.into_iter().map(|row| self.exported::<policies::Entity>(key(&row), row)).collect();
            }
        }
        if matches!(first, Table::Policies | Table::Versions) {
            use versions::Column as V;
            let query = with_newest_manifest(versions::Entity::find()).filter(V::Namespace.eq(own));
            let rows = self.page_of(query, [V::Policy, V::Number], from(Table::Versions), limit).await?;
            if !rows.is_empty() {
                return rows.into_iter().map(|row| self.exported_version(row)).collect();
            }
        }
        if first != Table::Imports {
            use reports::Column as R;
            let query = reports::Entity::find().filter(R::Namespace.eq(own));
            let rows = self.page_of(query, [R::Policy, R::Number], from(Table::Reports), limit).await?;
            if !rows.is_empty() {
                let key = |row: &reports::Model| ExportedRowKey::Reports(row.policy.clone(), row.number);
                return rows.into_iter().map(|row| self.exported::<reports::Entity>(key(&row), row)).collect();
            }
        }
        use imports::Column as I;
        let query = imports::Entity::find().filter(I::Namespace.eq(own));
        let rows = self.page_of(query, [I::Position], from(Table::Imports), limit).await?;
        let key = |row: &imports::Model| ExportedRowKey::Imports(row.position);
        rows.into_iter().map(|row| self.exported::<imports::Entity>(key(&row), row)).collect()
    }

    /// Counts the rows that an archive of a namespace has.
    pub async fn count_exported_rows(&self, namespace: &NamespaceId) -> Result<u64> {
        let own = namespace.as_str();
        let policies = policies::Entity::find().filter(policies::Column::Namespace.eq(own)).count(&self.tx);
        let versions = versions::Entity::find().filter(versions::Column::Namespace.eq(own)).count(&self.tx);
        let reports = reports::Entity::find().filter(reports::Column::Namespace.eq(own)).count(&self.tx);
        let imports = imports::Entity::find().filter(imports::Column::Namespace.eq(own)).count(&self.tx);
        let mut count = policies.await.map_err(failed)?;
        for more in [versions.await, reports.await, imports.await] {
            count = count.saturating_add(more.map_err(failed)?);
        }
        Ok(count)
    }

    async fn page_of<E: EntityTrait, const N: usize>(
        &self,
        query: sea_orm::Select<E>,
        key: [E::Column; N],
        after: Option<&ExportedRowKey>,
        limit: u64,
    ) -> Result<Vec<E::Model>> {
        let mut query = query.limit(limit);
        for column in key {
            query = query.order_by_asc(column);
        }
        if let Some(after) = after {
            let columns = Expr::tuple(key.iter().map(|column| Expr::col((E::default(), *column))));
            query = query.filter(columns.gt(Expr::tuple(after.parts())));
        }
        query.all(&self.tx).await.map_err(failed)
    }

    fn exported<E: AuthenticatedTable>(&self, key: ExportedRowKey, row: E::Model) -> Result<ExportedRow> {
        let Authenticated(row) = self.authenticated::<E>(row)?;
        Ok(ExportedRow { bytes: mac_input::<E>(&row)?, key, version: None })
    }

    fn exported_version(&self, row: versions::Model) -> Result<ExportedRow> {
        let Authenticated(row) = self.authenticated::<versions::Entity>(row)?;
        let (bytes, key) =
            (mac_input::<versions::Entity>(&row)?, ExportedRowKey::Versions(row.policy.clone(), row.number));
        Ok(ExportedRow { bytes, key, version: Some(rows::version(Authenticated(row))?) })
    }
}
