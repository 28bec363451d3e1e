//! Table `pointer_changes`.
//!
//! The history of pointers by revision: the active set at any revision can be read from it. Version 0 means that it points to nothing.

use sea_orm::entity::prelude::*;

/// A row of the table.
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

/// The entity declares no relations: each query writes its joins.
#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
