//! Table `imports`.
//!
//! Histories of other stores that a namespace imported, the nearest first.

use sea_orm::entity::prelude::*;

use crate::store::authenticated::AuthenticatedTable;

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "imports")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub namespace: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub position: i64,
    pub store: String,
    pub source: String,
    pub head_epoch: i64,
    pub head_revision: i64,
    pub head_hash: Vec<u8>,
    pub jwks: String,
    pub seal_jwks: String,
    pub reached_epoch: i64,
    pub reached_revision: i64,
    pub reached_hash: Vec<u8>,
    pub items: i64,
    pub state: String,
    pub importer: String,
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
}
