//! Checks the settings that a database must have before a write to it may be acknowledged (docs/guarantees.md#g1).

use sea_orm::DatabaseConnection;

use crate::defect::{Defect, planted};
use crate::store::connection::pools::{Pools, text};
use crate::store::error::StoreError;

/// The first SQLite without the WAL-reset corruption that 3.7.0 to 3.51.2 had (sqlite.org/wal.html#walresetbug).
const SQLITE_OLDEST: (u32, u32, u32) = (3, 51, 3);

/// Refuses a database that may lose acknowledged writes.
pub(in crate::store) async fn check_durable(pools: &Pools) -> Result<(), StoreError> {
    if pools.is_postgres() { check_postgres(&pools.writer).await } else { check_sqlite(&pools.writer).await }
}

async fn check_postgres(db: &DatabaseConnection) -> Result<(), StoreError> {
    for setting in ["fsync", "full_page_writes"] {
        let value = text(db, &format!("SHOW {setting}")).await?;
        if value != "on" {
            return Err(StoreError::NotDurable { setting, value, wanted: "on" });
        }
    }
    let value = text(db, "SELECT pg_is_in_recovery()::text").await?;
    if value != "false" {
        return Err(StoreError::NotDurable { setting: "pg_is_in_recovery()", value, wanted: "false (the primary)" });
    }
    Ok(())
}

async fn check_sqlite(db: &DatabaseConnection) -> Result<(), StoreError> {
    let version = text(db, "SELECT sqlite_version()").await?;
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    if (next(), next(), next()) < SQLITE_OLDEST {
        return Err(StoreError::NotDurable { setting: "sqlite_version()", value: version, wanted: "3.51.3 or newer" });
    }
    let value = text(db, "SELECT journal_mode FROM pragma_journal_mode").await?;
    if value != "wal" {
        return Err(StoreError::NotDurable { setting: "journal_mode", value, wanted: "wal (a local file system)" });
    }
    let value = text(db, "SELECT CAST(synchronous AS TEXT) FROM pragma_synchronous").await?;
    if value != "2" && !planted(Defect::SqliteNormal) {
        return Err(StoreError::NotDurable { setting: "synchronous", value, wanted: "2 (FULL)" });
    }
    Ok(())
}
