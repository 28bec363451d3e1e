//! Checks whether the disk of the database accepts writes, by its free space and by a write that is undone.
//!
//! Reads continue meanwhile. Invariant: a write blocker of the disk is checked every second, and ends by itself.

use sea_orm::ConnectionTrait as _;

use crate::store::connection::database::Database;
use crate::store::files::disk_space::is_nearly_full;
use crate::store::handle::Store;
use crate::store::health::write_blocker::WriteBlocker;

/// Uses 64 KiB of the disk of PostgreSQL, in a row that does not compress and is never committed.
const POSTGRES_WRITE: &str = "INSERT INTO store_meta (name, value) \
     SELECT 'disk probe', string_agg(md5(random()::text), '') FROM generate_series(1, 2048)";

impl Store {
    /// Tries to write to a SQLite database, so that a disk that accepts no writes is known before the first call.
    pub async fn try_to_write(&self) {
        if let Database::Sqlite { path } = &self.inner.database {
            self.probe_file(path).await;
            self.look_at_disk().await;
        }
    }

    /// Checks the disk: its free space, which is cheap, and by a write only when one failed before.
    pub(in crate::store) async fn look_at_disk(&self) {
        if self.is_degraded() {
            return;
        }
        let write_blockers = &self.inner.health.write_blockers;
        match &self.inner.database {
            Database::Sqlite { path } => {
                let looked_at = path.clone();
                let is_full = tokio::task::spawn_blocking(move || is_nearly_full(&looked_at)).await.unwrap_or(false);
                if is_full {
                    write_blockers.note_disk(Some(WriteBlocker::disk_full()));
                } else if write_blockers.is_disk_noted() {
                    self.probe_file(path).await;
                }
            }
            Database::Postgres { .. } if write_blockers.is_disk_noted() => {
                if self.write_and_undo().await.is_ok() {
                    write_blockers.note_disk(None);
                }
            }
            Database::Postgres { .. } => {}
        }
    }

    /// Uses space on the disk of PostgreSQL and releases it.
    async fn write_and_undo(&self) -> Result<(), sea_orm::DbErr> {
        let tx = self.writer_in_spite_of_write_blockers().begin(sea_orm::TransactionOptions::default()).await?;
        tx.execute_unprepared(POSTGRES_WRITE).await.map(drop)
    }
}
