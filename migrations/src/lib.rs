//! The schema of Policy Hub, for SQLite and PostgreSQL from the same statements.
//!
//! Migrations are only ever added: a released one never changes. Run them under the lock of `policyhub`'s store: sea-orm-migration
//! itself takes none.

use sea_orm_migration::prelude::*;

pub use sea_orm_migration::MigratorTrait;

mod dialect;
mod m20261121_000001_lifecycle;
mod m20261121_000002_watch_plane;
mod m20261122_000003_authority;
mod m20261122_000004_imports;
mod m20261123_000005_members;
mod m20261123_000006_row_changes;
mod m20261123_000007_subscriber_owners;
mod m20261123_000008_rejections;
mod m20261124_000009_run_sets;
mod m20261124_000010_annotations;
mod m20261124_000011_denials;
mod m20261124_000012_adopted;
mod m20261125_000013_guardrails;
mod m20261125_000014_requires;
mod m20261125_000015_schedules;
mod m20261125_000016_templates;
mod m20261125_000017_changes;
mod m20261126_000018_replicas;

/// Every migration, oldest first.
#[derive(Debug)]
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261121_000001_lifecycle::Migration),
            Box::new(m20261121_000002_watch_plane::Migration),
            Box::new(m20261122_000003_authority::Migration),
            Box::new(m20261122_000004_imports::Migration),
            Box::new(m20261123_000005_members::MIGRATION),
            Box::new(m20261123_000006_row_changes::Migration),
            Box::new(m20261123_000007_subscriber_owners::MIGRATION),
            Box::new(m20261123_000008_rejections::MIGRATION),
            Box::new(m20261124_000009_run_sets::Migration),
            Box::new(m20261124_000010_annotations::MIGRATION),
            Box::new(m20261124_000011_denials::MIGRATION),
            Box::new(m20261124_000012_adopted::MIGRATION),
            Box::new(m20261125_000013_guardrails::Migration),
            Box::new(m20261125_000014_requires::MIGRATION),
            Box::new(m20261125_000015_schedules::Migration),
            Box::new(m20261125_000016_templates::MIGRATION),
            Box::new(m20261125_000017_changes::Migration),
            Box::new(m20261126_000018_replicas::MIGRATION),
        ]
    }
}
