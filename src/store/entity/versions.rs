//! Table `versions`.
//!
//! Versions. A published row never changes; no row is ever deleted. `requires`, `annotations`, `adopted` and `template` are JSON; the
//! last three are NULL when there are none.

use sea_orm::entity::prelude::*;

use crate::store::authenticated::AuthenticatedTable;

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "versions")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub namespace: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub policy: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub number: i64,
    pub state: String,
    pub label: Option<String>,
    pub digest: String,
    pub size_bytes: i64,
    pub content_type: String,
    pub change_note: String,
    pub requires: String,
    pub base_version: i64,
    pub source_version: i64,
    pub author: String,
    pub publisher: String,
    pub manifest: String,
    pub etag: i64,
    pub create_time: i64,
    pub stage_time: Option<i64>,
    pub publish_time: Option<i64>,
    pub origin_manifests: Option<String>,
    pub annotations: Option<String>,
    pub adopted: Option<String>,
    pub template: Option<String>,
    pub tag: Vec<u8>,
}

/// The entity declares no relations: each query writes its joins.
#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl AuthenticatedTable for Entity {
    const MAC: Column = Column::Tag;
    /// The manifest has its own signature, which covers what the row states. The newest one may be read in place of this one.
    const UNAUTHENTICATED: &[Column] = &[Column::Manifest];
}
