//! Table `runs`.
//!
//! Units of work of runtimes, each with its first policy in byte order and the version of it that was active. Rows change once, when the
//! run ends.

use sea_orm::entity::prelude::*;

use crate::store::authenticated::AuthenticatedTable;

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "runs")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub namespace: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub policy: String,
    pub version: i64,
    pub digest: String,
    pub epoch: i64,
    pub revision: i64,
    pub active_revision: i64,
    pub recorder: String,
    pub create_time: i64,
    /// Number of policies; NULL: the one above, which was named.
    pub policies: Option<i64>,
    /// Whether the whole active set was asked for; NULL: it was not.
    pub whole_set: Option<bool>,
    pub outcome: String,
    pub tag: Vec<u8>,
}

/// The entity declares no relations: each query writes its joins.
#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl AuthenticatedTable for Entity {
    const MAC: Column = Column::Tag;
    // Authenticated by the row in `run_ends`.
    const UNAUTHENTICATED: &'static [Column] = &[Column::Outcome];
}
