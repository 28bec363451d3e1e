//! Table `namespaces`.
//!
//! Namespaces, each with the head of its log. Locking this row orders every write of the namespace.

use sea_orm::entity::prelude::*;

use crate::store::authenticated::AuthenticatedTable;

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "namespaces")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub description: String,
    pub settings: String,
    pub epoch: i64,
    pub head_revision: i64,
    pub head_hash: Vec<u8>,
    pub access_revision: i64,
    pub policies: i64,
    pub versions: i64,
    pub content_bytes: i64,
    pub etag: i64,
    pub create_time: i64,
    pub importing: i64,
    pub tag: Vec<u8>,
}

/// The entity declares no relations: each query writes its joins.
#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl AuthenticatedTable for Entity {
    const MAC: Column = Column::Tag;
    /// The head moves with each event, which proves it; `access_revision` moves with the events about roles. The counters move with every
    /// write, and the check of the log counts them again; `importing` is compared with the import itself.
    const UNAUTHENTICATED: &[Column] = &[
        Column::Epoch,
        Column::HeadRevision,
        Column::HeadHash,
        Column::AccessRevision,
        Column::Policies,
        Column::Versions,
        Column::ContentBytes,
        Column::Importing,
    ];
}
