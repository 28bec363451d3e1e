//! Table `policies`.
//!
//! Policies, each with its active pointer. `settings` is JSON of `domain::policy::PolicySettings`.

use sea_orm::entity::prelude::*;

/// A row.
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
}

/// Joins are written where they are needed.
#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
