//! Table `guardrails`.
//!
//! The guardrails of each namespace, and those of the store in the row of `system`. `guardrails` is JSON of a list of
//! `domain::guardrail::Guardrail`.

use sea_orm::entity::prelude::*;

use crate::store::authenticated::AuthenticatedTable;

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "guardrails")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub namespace: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub scope: String,
    pub guardrails: String,
    pub etag: i64,
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
