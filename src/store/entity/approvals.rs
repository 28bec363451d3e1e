//! Table `approvals`.
//!
//! Who approved which digest. A row is an approval that may count; rejections end the version instead.

use sea_orm::entity::prelude::*;

use crate::store::authenticated::AuthenticatedTable;

/// A row.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "approvals")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub namespace: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub policy: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub number: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub approver: String,
    pub digest: String,
    pub reason: String,
    pub create_time: i64,
    pub expire_time: i64,
    pub revision: i64,
    pub tag: Vec<u8>,
}

/// Joins are written where they are needed.
#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl AuthenticatedTable for Entity {
    const MAC: Column = Column::Tag;
}
