//! High-water marks: the newest event that this replica has seen of each log, stored beside the database. They reveal a lost tail
//! (docs/guarantees.md#g1b), and an event that differs from the one that was seen (docs/guarantees.md#g26).
//!
//! The file is a document with lines after it (`high_water_lines`). A server starts without it: then only the key checkpoint (of `system`), subscribers and
//! other replicas notice a loss.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::event::Head;
use crate::domain::name::NamespaceId;
use crate::store::error::StoreError;
use crate::store::loss::frozen::FrozenNamespaces;
use crate::store::loss::high_water_lines::{HighWaterFile, HighWaterSave, LINES_MIN, read_store};
use crate::store::loss::seen_heads::{SeenHead, SeenHeads};

#[derive(Debug, Default)]
pub(in crate::store) struct HighWaterMarks {
    pub(in crate::store) frozen: FrozenNamespaces,
    pub(in crate::store) state: Mutex<HighWaterState>,
    /// Held while the file is written: two concurrent writes would mix their data.
    pub(in crate::store) saving: Mutex<()>,
}

#[derive(Debug, Default)]
pub(in crate::store) struct HighWaterState {
    pub(in crate::store) file: Option<(PathBuf, String)>,
    pub(in crate::store) heads: SeenHeads,
    /// Those that the file does not have.
    unsaved: SeenHeads,
    /// Number of heads appended to the file; none when it has to be written as a whole.
    appended: Option<usize>,
}

impl HighWaterMarks {
    pub(in crate::store) fn state(&self) -> MutexGuard<'_, HighWaterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a committed head.
    pub(in crate::store) fn note(&self, namespace: &NamespaceId, head: Head) {
        let mut state = self.state();
        let known = state.heads.get(namespace);
        let is_news =
            known.is_none_or(|seen| seen.cursor < head.cursor || (seen.cursor == head.cursor && seen.hash.is_none()));
        if is_news {
            state.heads.insert(namespace.clone(), head.into());
            state.unsaved.insert(namespace.clone(), head.into());
        }
    }

    /// Replaces the mark of a namespace.
    pub(in crate::store) fn replace(&self, namespace: &NamespaceId, head: Head) {
        let mut state = self.state();
        state.heads.insert(namespace.clone(), head.into());
        state.unsaved.insert(namespace.clone(), head.into());
    }

    /// Returns the newest head that was seen of a namespace.
    pub(in crate::store) fn head(&self, namespace: &NamespaceId) -> Option<SeenHead> {
        self.state().heads.get(namespace).copied()
    }

    /// Returns the newest heads that were seen of some namespaces.
    pub(in crate::store) fn heads_of(&self, namespaces: &[NamespaceId]) -> SeenHeads {
        let state = self.state();
        let seen = |namespace: &NamespaceId| Some((namespace.clone(), *state.heads.get(namespace)?));
        namespaces.iter().filter_map(seen).collect()
    }

    pub(in crate::store) fn heads(&self) -> SeenHeads {
        self.state().heads.clone()
    }

    /// Returns the highest epoch seen, 0 when there is none.
    pub(in crate::store) fn highest_epoch(&self) -> i64 {
        self.state().heads.values().map(|seen| seen.cursor.epoch).max().unwrap_or(0)
    }

    /// Returns what is to be saved: what changed; or all, after a failure, when the file would have more lines than it needs, and with
    /// `is_last`, which leaves one document.
    pub(in crate::store) fn unsaved(&self, is_last: bool) -> Option<(PathBuf, HighWaterSave)> {
        let mut state = self.state();
        let (path, store) = state.file.clone()?;
        if state.unsaved.is_empty() && (!is_last || state.appended == Some(0)) {
            return None;
        }
        let changes = std::mem::take(&mut state.unsaved);
        let lines_max = state.heads.len().max(LINES_MIN);
        let save = match state.appended.map(|appended| appended + changes.len()) {
            Some(lines) if !is_last && lines <= lines_max => {
                state.appended = Some(lines);
                HighWaterSave::Changes(changes)
            }
            _ => {
                state.appended = Some(0);
                HighWaterSave::Whole(HighWaterFile { store, heads: state.heads.clone() })
            }
        };
        Some((path, save))
    }

    /// Records that a save failed: how much of it the file has is unknown.
    pub(in crate::store) fn save_failed(&self) {
        let mut state = self.state();
        state.appended = None;
        // Whatever was to be saved is among them.
        state.unsaved = state.heads.clone();
    }
}

/// The store whose heads a file of `Store::remember` records: the only evidence of a database that is gone (docs/guarantees.md#g1b).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RememberedStore {
    pub(in crate::store) file: PathBuf,
    pub(in crate::store) id: String,
}

impl RememberedStore {
    /// Reads which store `file` records; none when there is no such file.
    ///
    /// # Errors
    /// `StoreError::HighWater` when the file exists and can't be read.
    pub fn read(file: &Path) -> Result<Option<Self>, StoreError> {
        match read_store(file) {
            Ok(store) => Ok(store.map(|id| Self { file: file.to_owned(), id })),
            Err(error) => Err(StoreError::HighWater { path: file.to_owned(), error }),
        }
    }

    /// Returns the id of the store.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the error for a database that does not hold this store. `found` says what it is instead.
    pub(in crate::store) fn refuse(&self, found: impl Into<String>) -> StoreError {
        StoreError::AnotherStore { high_water: self.file.clone(), remembered: self.id.clone(), found: found.into() }
    }

    /// Refuses a database of another store; `found` is the id of its store, if it has one.
    pub(in crate::store) fn check(&self, found: Option<&str>) -> Result<(), StoreError> {
        match found {
            Some(id) if id == self.id => Ok(()),
            Some(id) => Err(self.refuse(format!("the database is of store {id}"))),
            None => Err(self.refuse("the database holds no store")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Cursor;

    fn head(epoch: i64, revision: i64) -> Head {
        Head { cursor: Cursor { epoch, revision }, hash: [u8::try_from(epoch * 16 + revision).expect("a byte"); 32] }
    }

    #[test]
    fn the_memory_never_goes_back() {
        let (high_water, a) = (HighWaterMarks::default(), NamespaceId::parse("namespace", "a").expect("an id"));
        for (epoch, revision) in [(1, 5), (1, 4), (2, 3), (1, 9)] {
            high_water.note(&a, head(epoch, revision));
        }
        assert_eq!(high_water.head(&a), Some(head(2, 3).into()));
        assert_eq!(high_water.highest_epoch(), 2);
    }

    #[test]
    fn what_changed_is_appended_until_the_file_is_written_anew() {
        let (high_water, a) = (HighWaterMarks::default(), NamespaceId::parse("namespace", "a").expect("an id"));
        assert!(high_water.unsaved(false).is_none(), "no file is known");
        high_water.state().file = Some((PathBuf::from("high-water.json"), "s".to_owned()));
        assert!(high_water.unsaved(false).is_none(), "nothing was seen");
        let mut revision = 0;
        let mut is_whole = || {
            revision += 1;
            high_water.note(&a, Head { cursor: Cursor { epoch: 1, revision }, hash: [1; 32] });
            let (_, save) = high_water.unsaved(false).expect("something to save");
            matches!(save, HighWaterSave::Whole(_))
        };
        assert!(is_whole(), "the first");
        assert!((0..LINES_MIN).all(|_| !is_whole()), "what changed");
        assert!(is_whole(), "enough lines");
        assert!(!is_whole());
        high_water.save_failed();
        assert!(is_whole(), "after a failure");
        assert!(!is_whole());
        assert!(high_water.unsaved(false).is_none(), "all of it is saved");
        assert!(matches!(high_water.unsaved(true), Some((_, HighWaterSave::Whole(_)))), "the last leaves one document");
        assert!(high_water.unsaved(true).is_none());
    }
}
