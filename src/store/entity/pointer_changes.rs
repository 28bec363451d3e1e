//! Table `pointer_changes`.
//!
//! Where each pointer went, by revision: the active set at any revision can be read from it. Version 0: nowhere.

use sea_orm::entity::prelude::*;

/// A row.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "pointer_changes")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub namespace: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub policy: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub revision: i64,
    pub version: i64,
}

/// Joins are written where they are needed.
#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
