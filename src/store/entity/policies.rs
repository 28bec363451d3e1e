//! Table `policies`.
//!
//! Policies, each with its active pointer. `settings` is JSON of `domain::policy::PolicySettings`.

use sea_orm::entity::prelude::*;

use crate::store::authenticated::AuthenticatedTable;

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "policies")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub namespace: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub kind: String,
    pub description: String,
    pub settings: String,
    pub latest_version: i64,
    pub active_version: i64,
    pub active_revision: i64,
    pub etag: i64,
    pub create_time: i64,
    pub update_time: i64,
    pub tag: Vec<u8>,
}

/// The entity declares no relations: each query writes its joins.
#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl AuthenticatedTable for Entity {
    const MAC: Column = Column::Tag;
    /// The pointer moves with each activation, whose statement proves it.
    const UNAUTHENTICATED: &[Column] = &[Column::ActiveVersion, Column::ActiveRevision];
}
