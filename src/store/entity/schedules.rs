//! Table `schedules`.
//!
//! Activations for later. `entries` is JSON of a list of `domain::schedule::ScheduleEntry`; `next_time` is NULL unless the schedule is
//! pending.

use sea_orm::entity::prelude::*;

use crate::store::authenticated::AuthenticatedTable;

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "schedules")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub namespace: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub entries: String,
    pub time_zone: String,
    pub state: String,
    pub creator: String,
    pub reason: String,
    pub base_epoch: i64,
    pub base_revision: i64,
    pub handled_until: i64,
    pub next_time: Option<i64>,
    pub last_due_time: Option<i64>,
    pub problem: String,
    pub etag: i64,
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
