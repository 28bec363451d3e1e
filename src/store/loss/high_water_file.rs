//! Persists the high-water marks in a file beside the database: a JSON document with all, and a line for each later save with what changed.
//!
//! So a save costs what changed, however many logs there are. Each save is synced. A last line that is not whole is of a save that a crash
//! interrupted, and that nobody relied on.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use serde::{Deserialize, Serialize};

use crate::store::error::StoreError;
use crate::store::files::json_file::{read_file, write_json};
use crate::store::handle::Store;
use crate::store::loss::high_water_marks::{RememberedStore, SeenHeads};

/// Heads in lines after the document up to which it is not written anew; with more heads in the document, as many as it has.
pub(in crate::store) const LINES_MIN: usize = 1_000;

/// The content of the file.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::store) struct HighWaterFile {
    pub(in crate::store) store: String,
    pub(in crate::store) heads: SeenHeads,
}

/// What is to be saved.
#[derive(Debug)]
pub(in crate::store) enum HighWaterSave {
    Whole(HighWaterFile),
    Changes(SeenHeads),
}

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

/// Appends a line to a file that is there.
fn append(path: &Path, heads: &SeenHeads) -> io::Result<()> {
    let mut line = vec![b'\n'];
    serde_json::to_writer(&mut line, heads)?;
    let mut file = File::options().append(true).open(path)?;
    file.write_all(&line)?;
    file.sync_data()
}

/// Reads a file; none when there is no such file.
///
/// # Errors
/// It can't be read, or the document or a line before the last is not whole.
pub(in crate::store) fn read(path: &Path) -> io::Result<Option<HighWaterFile>> {
    let Some(bytes) = read_file(path)? else { return Ok(None) };
    let mut lines = bytes.split(|byte| *byte == b'\n').peekable();
    let mut file: HighWaterFile = serde_json::from_slice(lines.next().unwrap_or_default())?;
    while let Some(line) = lines.next() {
        match serde_json::from_slice::<SeenHeads>(line) {
            Ok(heads) => file.heads.extend(heads),
            Err(_) if lines.peek().is_none() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Some(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::digest::Digest;
    use crate::domain::event::Cursor;
    use crate::domain::name::NamespaceId;
    use crate::store::loss::high_water_marks::SeenHead;

    fn heads(heads: &[(&str, i64)]) -> SeenHeads {
        let head = |(id, revision): &(&str, i64)| {
            let hash = Some(Digest::from_sha256(&[7; 32]));
            let seen = SeenHead { cursor: Cursor { epoch: 2, revision: *revision }, hash };
            (NamespaceId::parse("namespace", id).expect("an id"), seen)
        };
        heads.iter().map(head).collect()
    }

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("high-water.json");
        assert!(read(&path).expect("no file is no error").is_none());
        assert!(append(&path, &heads(&[("a", 5)])).is_err(), "there is no file to append to");
        write_json(&path, &HighWaterFile { store: "s".to_owned(), heads: heads(&[("a", 5), ("b", 1)]) })
            .expect("a file");
        let kept = || read(&path).expect("a file").expect("the file").heads;
        assert_eq!(kept(), heads(&[("a", 5), ("b", 1)]));
        append(&path, &heads(&[("a", 6)])).expect("a line");
        append(&path, &heads(&[("a", 7), ("c", 1)])).expect("a line");
        assert_eq!(kept(), heads(&[("a", 7), ("b", 1), ("c", 1)]));
        let whole = std::fs::read(&path).expect("the file");
        let line_before = whole.iter().rposition(|byte| *byte == b'\n').expect("a line");
        for cut in line_before..whole.len() {
            std::fs::write(&path, &whole[..cut]).expect("a file");
            assert_eq!(kept(), heads(&[("a", 6), ("b", 1)]), "cut at {cut}");
        }
    }

    #[test]
    fn a_broken_file_is_refused_and_one_of_an_older_release_is_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("high-water.json");
        std::fs::write(&path, r#"{"store":"s","heads":{"a":{"epoch":2,"revision":5}}}"#).expect("a file");
        let before = read(&path).expect("a file of a release before").expect("the file");
        let [(_, seen)] = before.heads.into_iter().collect::<Vec<_>>().try_into().expect("one");
        assert_eq!(seen, SeenHead { cursor: Cursor { epoch: 2, revision: 5 }, hash: None });
        for broken in ["{\"store\":", "", "{\"store\":\"s\",\"heads\":{}}\n{\"a\n{}"] {
            std::fs::write(&path, broken).expect("a file");
            assert!(read(&path).is_err(), "{broken:?}");
        }
    }
}
