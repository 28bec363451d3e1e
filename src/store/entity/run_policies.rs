//! Table `run_policies`.
//!
//! The policies of runs, each with the version that was active. Rows change once, when the run ends.

use sea_orm::entity::prelude::*;

use crate::store::authenticated::AuthenticatedTable;

/// A row of the table. The columns that `runs` has too are in its order: a MAC covers the columns in the order in which they stand here.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "run_policies")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub namespace: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub policy: String,
    pub version: i64,
    pub digest: String,
    pub epoch: i64,
    pub revision: i64,
    pub active_revision: i64,
    pub recorder: String,
    pub create_time: i64,
    /// Index among the policies of its run, from 0; NULL: the only one, which a trigger copied with its MAC. A row with a part can't pass
    /// for a run.
    pub part: Option<i64>,
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

    fn mac_table_name() -> String {
        "runs".to_owned()
    }
}
