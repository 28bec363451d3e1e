//! Whether the disk of the database takes what is written to it, by what is free of it and by a write that is undone.
//!
//! Reads go on meanwhile. Invariant: what keeps writes away is looked at every second, and goes away by itself.

use std::fs;
use std::path::Path;

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use nix::unistd::geteuid;
use sea_orm::ConnectionTrait as _;

use super::connect::{Database, Store};
use super::obstacle::Obstacle;
use super::sqlite_file::with_suffix;
use crate::domain::Reason;

/// What must be free on the disk of a SQLite database. Less: a write of one content with its indexes does not fit, and a start after
/// that finds no room for SQLite's own files. More: writes that would fit are refused.
const FREE_MIN_BYTES: u64 = 1 << 20;
/// How near the limit of file sizes a file of the database is when a write that failed is taken to have met it: what one
/// transaction adds.
const LIMIT_MARGIN_BYTES: u64 = 4 << 20;
/// Takes 64 KiB of the disk of PostgreSQL, in a row that does not compress and is never committed.
const POSTGRES_WRITE: &str = "INSERT INTO store_meta (name, value) \
     SELECT 'disk probe', string_agg(md5(random()::text), '') FROM generate_series(1, 2048)";

/// What keeps a SQLite database from being written to, which can be read. `is_full`: SQLite said that it is the room.
pub(super) fn unwritable(path: &Path, is_full: bool) -> Obstacle {
    if is_limit_near(path) {
        let message =
            "a limit of the size of files (ulimit -f) keeps the database from growing; the operator raises it";
        return Obstacle::new(Reason::DatabaseUnavailable, message);
    }
    if is_full || is_nearly_full(path) {
        return Obstacle::disk_full();
    }
    let message = "the disk does not take what is written to the database; the operator looks at the disk";
    Obstacle::new(Reason::DatabaseUnavailable, message)
}

/// Whether so little is free on the disk that nothing more is written to it. Blocks for a look at the file system.
#[cfg_attr(target_os = "linux", expect(clippy::useless_conversion, reason = "elsewhere the numbers are shorter"))]
pub(super) fn is_nearly_full(path: &Path) -> bool {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let Ok(found) = statvfs(directory.unwrap_or(Path::new("."))) else { return false };
    // What is kept for root is free for root.
    let blocks = if geteuid().is_root() { found.blocks_free() } else { found.blocks_available() };
    // Some file systems don't tell.
    found.blocks() > 0 && u64::from(blocks).saturating_mul(found.fragment_size()) < FREE_MIN_BYTES
}

fn is_limit_near(path: &Path) -> bool {
    let Ok((limit, _)) = getrlimit(Resource::RLIMIT_FSIZE) else { return false };
    let is_near = |suffix: &str| {
        let found = fs::metadata(with_suffix(path, suffix));
        found.is_ok_and(|found| found.len().saturating_add(LIMIT_MARGIN_BYTES) >= limit)
    };
    limit != RLIM_INFINITY && ["", "-wal"].iter().any(|suffix| is_near(suffix))
}

impl Store {
    /// Tries to write to a SQLite database, so that a disk that takes nothing is known before the first call.
    pub async fn try_to_write(&self) {
        if let Database::Sqlite { path } = &self.inner.database {
            self.probe_file(path).await;
            self.look_at_disk().await;
        }
    }

    /// Looks at the disk: at what is free, which costs next to nothing, and by a write only when one failed before.
    pub(super) async fn look_at_disk(&self) {
        if self.is_degraded() {
            return;
        }
        let obstacles = &self.inner.health.obstacles;
        match &self.inner.database {
            Database::Sqlite { path } => {
                let looked_at = path.clone();
                let is_full = tokio::task::spawn_blocking(move || is_nearly_full(&looked_at)).await.unwrap_or(false);
                if is_full {
                    obstacles.note_disk(Some(Obstacle::disk_full()));
                } else if obstacles.is_disk_noted() {
                    self.probe_file(path).await;
                }
            }
            Database::Postgres { .. } if obstacles.is_disk_noted() => {
                if self.write_and_undo().await.is_ok() {
                    obstacles.note_disk(None);
                }
            }
            Database::Postgres { .. } => {}
        }
    }

    /// Takes room on the disk of PostgreSQL and gives it back.
    async fn write_and_undo(&self) -> Result<(), sea_orm::DbErr> {
        let tx = self.writer_in_spite_of_obstacles().begin(sea_orm::TransactionOptions::default()).await?;
        tx.execute_unprepared(POSTGRES_WRITE).await.map(drop)
    }
}
