//! Persists the high-water marks in a file beside the database.

use std::io;
use std::path::PathBuf;
use std::sync::PoisonError;

use crate::store::error::StoreError;
use crate::store::files::json_file::write_json;
use crate::store::handle::Store;
use crate::store::loss::high_water_lines::{HighWaterSave, append, read};
use crate::store::loss::high_water_marks::RememberedStore;

impl Store {
    /// Reads the high-water marks of the store `id`, and persists them in that file from now on. Those of another store are never
    /// overwritten: they may be the only evidence of a lost database.
    ///
    /// # Errors
    /// `StoreError::HighWater`, `StoreError::AnotherStore`.
    pub fn remember(&self, path: PathBuf, id: &str) -> Result<(), StoreError> {
        let kept = read(&path).map_err(|error| StoreError::HighWater { path: path.clone(), error })?;
        let mut state = self.inner.high_water.state();
        if let Some(kept) = kept {
            RememberedStore { file: path.clone(), id: kept.store }.check(Some(id))?;
            state.heads = kept.heads;
        }
        state.file = Some((path, id.to_owned()));
        self.inner.health.own_store.is(id);
        Ok(())
    }

    /// Saves the high-water marks that changed since the last call. `is_last` leaves one document, as former releases read it. Blocks for
    /// a sync of the disk.
    ///
    /// # Errors
    /// `io::Error` when the file can't be written or flushed: the next call tries again.
    pub fn save_high_water_marks(&self, is_last: bool) -> io::Result<()> {
        let _saving = self.inner.high_water.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((path, save)) = self.inner.high_water.unsaved(is_last) else { return Ok(()) };
        let saved = match save {
            HighWaterSave::Whole(file) => write_json(&path, &file),
            HighWaterSave::Changes(heads) => append(&path, &heads),
        };
        saved.inspect_err(|_| self.inner.high_water.save_failed())
    }
}
