//! Migrations, one migrator at a time.
//!
//! sea-orm-migration takes no lock: two servers that start at once would both create the tables. On PostgreSQL, a transaction beside the
//! migration holds an advisory lock. On SQLite, a file beside the database is locked before the database is opened.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use policyhub_migrations::{Migrator, MigratorTrait as _};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, Statement, TransactionTrait as _};

use crate::store::connection::database::Database;
use crate::store::connection::pools::{Pools, text};
use crate::store::error::{StoreError, code_of};

/// Key of the advisory lock: "PHUB" in ASCII.
const ADVISORY_LOCK_KEY: i64 = 0x5048_5542;

/// Whether the role may create tables.
const MAY_CREATE: &str = "SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)::text";
/// PostgreSQL's code for a missing privilege.
const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// Returns the file beside a SQLite database that is locked while its schema, its file or the epoch of its logs is changed.
#[must_use]
pub fn migration_lock(database: &Path) -> PathBuf {
    database.with_extension("migrate.lock")
}

/// Waits until no other process migrates, restores or bumps a SQLite file, and blocks them until the returned file is dropped. Call it
/// before the first connection: SQLite refuses at once, without waiting, to change a new file to WAL while another connection does the
/// same.
pub(in crate::store) async fn lock(database: &Database) -> Result<Option<File>, StoreError> {
    let Database::Sqlite { path } = database else { return Ok(None) };
    let path = migration_lock(path);
    let locked = tokio::task::spawn_blocking(move || {
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        file.lock().map(|()| file)
    });
    let locked = locked.await.map_err(std::io::Error::other).flatten();
    locked.map(Some).map_err(StoreError::MigrateLock)
}

/// Migrates the schema to this binary's. A SQLite file must be locked by [`lock`].
#[expect(clippy::disallowed_methods, reason = "a transaction that only holds the lock")]
pub(in crate::store) async fn up(database: &Database, pools: &Pools) -> Result<(), StoreError> {
    match database {
        Database::Postgres { .. } => {
            let lock = pools.writer.begin().await.map_err(StoreError::Migrate)?;
            let sql = format!("SELECT pg_advisory_xact_lock({ADVISORY_LOCK_KEY})");
            lock.execute_raw(Statement::from_string(lock.get_database_backend(), sql))
                .await
                .map_err(StoreError::Migrate)?;
            run_postgres(&pools.writer).await?;
            lock.commit().await.map_err(StoreError::Migrate)
        }
        Database::Sqlite { .. } => run(&pools.writer).await,
    }
}

/// Migrates as the role of the URL. If the role lacks the privileges, another role must migrate, and this server only serves.
async fn run_postgres(db: &DatabaseConnection) -> Result<(), StoreError> {
    let pending = pending(db).await?;
    if pending == 0 {
        if text(db, MAY_CREATE).await? == "false" {
            tracing::warn!("the role of the database URL may not migrate: serve with --migrate=false");
        }
        return Ok(());
    }
    Migrator::up(db, None).await.map_err(|error| match code_of(&error).as_deref() {
        Some(INSUFFICIENT_PRIVILEGE) => StoreError::MayNotMigrate { pending },
        _ => StoreError::Migrate(error),
    })
}

async fn run(db: &DatabaseConnection) -> Result<(), StoreError> {
    pending(db).await?;
    Migrator::up(db, None).await.map_err(StoreError::Migrate)
}

/// Refuses a schema that is not this binary's.
pub(in crate::store) async fn check(pools: &Pools) -> Result<(), StoreError> {
    match pending(&pools.writer).await? {
        0 => Ok(()),
        pending => Err(StoreError::OlderSchema { pending }),
    }
}

/// Returns how many migrations are missing; an error when the database has one that this binary does not know.
pub(in crate::store) async fn pending(db: &DatabaseConnection) -> Result<usize, StoreError> {
    let known: BTreeSet<String> = Migrator::migrations().iter().map(|each| each.name().to_owned()).collect();
    let exists = match db.get_database_backend() {
        sea_orm::DbBackend::Postgres => "SELECT coalesce(to_regclass('seaql_migrations')::text, '')",
        _ => "SELECT name FROM sqlite_master WHERE name = 'seaql_migrations'",
    };
    if text(db, exists).await?.is_empty() {
        return Ok(known.len());
    }
    let sql = Statement::from_string(db.get_database_backend(), "SELECT version FROM seaql_migrations");
    let rows = db.query_all_raw(sql).await.map_err(StoreError::Migrate)?;
    let mut applied = BTreeSet::new();
    for row in rows {
        applied.insert(row.try_get_by_index::<String>(0).map_err(StoreError::Migrate)?);
    }
    match applied.difference(&known).last() {
        Some(found) => Err(StoreError::NewerSchema {
            found: found.clone(),
            known: known.into_iter().next_back().unwrap_or_default(),
        }),
        None => Ok(known.difference(&applied).count()),
    }
}
