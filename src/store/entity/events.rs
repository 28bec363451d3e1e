//! Table `events`.
//!
//! The log. Rows are only ever added, at head + 1, with the hash of the row before.

use sea_orm::entity::prelude::*;

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "events")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub namespace: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub revision: i64,
    pub epoch: i64,
    pub policy: Option<String>,
    pub time: i64,
    pub payload: Vec<u8>,
    pub prev_hash: Vec<u8>,
    pub hash: Vec<u8>,
    pub seal: Vec<u8>,
    pub seal_key_id: String,
    pub statement: String,
}

/// The entity declares no relations: each query writes its joins.
#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
