//! Table `subscribers`.
//!
//! Leases of runtimes that watch, and what each reported last. Cursors are (0, 0) when there is none; `labels` and
//! `policies` are JSON; `holder` is the replica that wrote the lease, `owner` the principal
//! whose id it is, empty before the first use.

use sea_orm::entity::prelude::*;

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "subscribers")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub namespace: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub labels: String,
    pub policies: String,
    pub holder: String,
    pub lease_end_time: i64,
    pub last_seen_time: i64,
    pub applied_epoch: i64,
    pub applied_revision: i64,
    pub applied_matches: bool,
    pub rejected_epoch: i64,
    pub rejected_revision: i64,
    pub reason: String,
    pub digest: String,
    pub owner: String,
    pub refused_epoch: i64,
    pub refused_revision: i64,
    pub refused_reason: String,
}

/// The entity declares no relations: each query writes its joins.
#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
