//! The mark of a restored database for which it could not be verified what was acknowledged after the backup (docs/guarantees.md#g1b).
//!
//! Invariant: it is on the disk before such a database is put in place, and holds until the epoch is raised: neither another restore nor a
//! server that ran on the database can find out what was lost.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::domain::Result as Answer;
use crate::store::error::StoreError;
use crate::store::files::json_file::{read_json, write_json};
use crate::store::handle::Store;

/// A restore after which it is not known whether acknowledged changes are missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnverifiedRestore {
    /// Id of the store.
    pub store: String,
    /// The highest epoch of the backup: an operator raised any higher one afterwards.
    pub epoch: i64,
}

impl UnverifiedRestore {
    /// Reads the mark; none when there is no such file.
    ///
    /// # Errors
    /// `StoreError::HighWater` when the file exists and can't be read.
    pub fn read(file: &Path) -> Result<Option<Self>, StoreError> {
        read_json(file).map_err(|error| StoreError::HighWater { path: file.to_owned(), error })
    }

    /// Writes the mark. Blocks for a sync of the disk.
    ///
    /// # Errors
    /// `io::Error` when it can't be written or flushed.
    pub fn write(&self, file: &Path) -> io::Result<()> {
        write_json(file, self)
    }

    /// Whether the mark holds for a store, given the highest epoch that was seen of it.
    #[must_use]
    pub fn holds(&self, store: &str, epoch: i64) -> bool {
        self.store == store && epoch <= self.epoch
    }
}

impl Store {
    /// Whether the mark in `file` holds for the store `id`: then it is unknown whether the database lacks changes.
    ///
    /// # Errors
    /// `StoreError::HighWater`, `DATABASE_UNAVAILABLE`.
    pub async fn has_unverified_restore(&self, file: &Path, id: &str) -> Result<bool, StoreError> {
        let Some(mark) = UnverifiedRestore::read(file)? else { return Ok(false) };
        let highest: Answer<i64> = self.epochs().await.map(|epochs| epochs.highest);
        Ok(mark.holds(id, highest?))
    }

    /// Logs a warning while the mark holds.
    ///
    /// # Errors
    /// The same as `has_unverified_restore`.
    pub async fn warn_of_unverified_restore(&self, file: &Path, id: &str) -> Result<(), StoreError> {
        if self.has_unverified_restore(file, id).await? {
            tracing::warn!(
                mark = %file.display(),
                "the database was restored where nobody could tell whether changes were acknowledged after the backup: if any may \
                 have been, run `policyhub epoch bump --accept-loss --force`, which ends this warning"
            );
        }
        Ok(())
    }
}
