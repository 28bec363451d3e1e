//! Table `run_ends`.
//!
//! How runs ended. Rows never change.

use sea_orm::entity::prelude::*;

use crate::store::authenticated::AuthenticatedTable;

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "run_ends")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub namespace: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub outcome: String,
    pub message: String,
    pub complete_time: i64,
    pub tag: Vec<u8>,
}

/// The entity declares no relations: each query writes its joins.
#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl AuthenticatedTable for Entity {
    const MAC: Column = Column::Tag;
}
