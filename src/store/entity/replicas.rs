//! Table `replicas`.
//!
//! The server processes that hold leases of subscribers, and when each last said that it lives. Nothing that is enforced depends on a row,
//! so it has no MAC.

use sea_orm::entity::prelude::*;

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "replicas")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub renew_time: i64,
}

/// The entity declares no relations: each query writes its joins.
#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
