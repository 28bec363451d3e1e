//! Namespaces in which something does not hold, and that stand still until an admin has looked: nothing new is signed over them.
//!
//! Kept beside the database, in a file of its own, so that a hand that can write the database can't end it, and a start does not
//! either. Each replica freezes by what it found itself. Invariant: only an event of the log ends it, one that is newer than
//! what was found.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::connect::Store;
use super::json_file::{read_json, write_json};
use crate::domain::event::Cursor;
use crate::domain::name::NamespaceId;
use crate::domain::{Error, Reason, Result};

/// Why a namespace stands still, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frozen {
    /// What was found first.
    pub why: String,
    /// The newest event there was when it was found; only a later one can end it.
    pub at: Cursor,
}

/// What stands still, as this replica knows.
#[derive(Debug, Default)]
pub(super) struct FrozenNamespaces(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    file: Option<(PathBuf, String)>,
    frozen: BTreeMap<NamespaceId, Frozen>,
    /// The newest event that ended it: what was found before it is settled.
    thawed: BTreeMap<NamespaceId, Cursor>,
    /// How far the log was searched for an event that ends it.
    searched: BTreeMap<NamespaceId, Cursor>,
}

/// The file.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    store: String,
    frozen: BTreeMap<NamespaceId, Frozen>,
}

impl State {
    fn save(&self) {
        let Some((path, store)) = &self.file else { return };
        let kept = Kept { store: store.clone(), frozen: self.frozen.clone() };
        if let Err(error) = write_json(path, &kept) {
            tracing::error!(path = %path.display(), %error, "failed to save which namespaces are frozen");
        }
    }
}

impl Store {
    fn frozen_state(&self) -> MutexGuard<'_, State> {
        self.inner.memory.frozen.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads which namespaces of the store `id` are frozen, and keeps it in that file from now on.
    ///
    /// # Errors
    /// When there is such a file and it can't be read.
    pub fn remember_frozen(&self, path: &Path, id: &str) -> std::io::Result<()> {
        let kept: Option<Kept> = read_json(path)?;
        let mut state = self.frozen_state();
        // Another store has been here: what was found there is no matter of this one.
        if let Some(kept) = kept.filter(|kept| kept.store == id) {
            for (namespace, Frozen { why, at }) in &kept.frozen {
                tracing::error!(target: "policyhub::audit", %namespace, ?at, why, "a namespace is still frozen");
            }
            state.frozen = kept.frozen;
        }
        state.file = Some((path.to_owned(), id.to_owned()));
        Ok(())
    }

    /// Freezes a namespace for what was found when `at` was its newest event. Says so once.
    pub fn freeze(&self, namespace: &NamespaceId, at: Cursor, why: &str) {
        let mut state = self.frozen_state();
        if state.frozen.contains_key(namespace) || state.thawed.get(namespace).is_some_and(|thawed| at < *thawed) {
            return;
        }
        tracing::error!(target: "policyhub::audit", %namespace, ?at, why, "a namespace is frozen: it takes no writes until it is thawed");
        state.searched.remove(namespace);
        state.frozen.insert(namespace.clone(), Frozen { why: why.to_owned(), at });
        state.save();
    }

    /// Ends it, as the event at `by` says.
    pub fn thaw(&self, namespace: &NamespaceId, by: Cursor) {
        let mut state = self.frozen_state();
        let thawed = state.thawed.entry(namespace.clone()).or_default();
        *thawed = by.max(*thawed);
        let is_settled = state.frozen.get(namespace).is_some_and(|frozen| frozen.at < by);
        if is_settled && state.frozen.remove(namespace).is_some() {
            tracing::warn!(target: "policyhub::audit", %namespace, ?by, "a namespace was thawed");
            state.save();
        }
    }

    /// The newest cursor that was seen of a log.
    #[must_use]
    pub fn seen_cursor(&self, namespace: &NamespaceId) -> Cursor {
        self.inner.memory.head(namespace).map_or(Cursor::NONE, |seen| seen.cursor)
    }

    /// How far the log of a frozen namespace was searched for an event that ends that.
    #[must_use]
    pub fn searched(&self, namespace: &NamespaceId) -> Option<Cursor> {
        self.frozen_state().searched.get(namespace).copied()
    }

    /// Notes that there is none up to a cursor.
    pub fn note_searched(&self, namespace: &NamespaceId, up_to: Cursor) {
        self.frozen_state().searched.insert(namespace.clone(), up_to);
    }

    /// Why a namespace is frozen; nothing when it is not.
    #[must_use]
    pub fn frozen(&self, namespace: &NamespaceId) -> Option<Frozen> {
        self.frozen_state().frozen.get(namespace).cloned()
    }

    /// All that are frozen.
    #[must_use]
    pub fn all_frozen(&self) -> Vec<NamespaceId> {
        self.frozen_state().frozen.keys().cloned().collect()
    }

    /// Refuses what is not done to a namespace that is frozen.
    ///
    /// # Errors
    /// `DATA_LOSS`.
    pub fn check_thawed(&self, namespace: &NamespaceId) -> Result<()> {
        match self.frozen(namespace) {
            None => Ok(()),
            Some(frozen) => {
                let name = namespace.name();
                let message = format!(
                    "{name} is frozen: what is stored of it does not hold; an admin has to look at VerifyLog, and thaw it"
                );
                Err(Error { internal: Some(frozen.why), ..Error::new(Reason::DataLoss, message) }
                    .with("frozen_at", format!("{}:{}", frozen.at.epoch, frozen.at.revision))
                    .about(name))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_what_is_frozen() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("frozen.json");
        let a = NamespaceId::parse("namespace", "a").expect("an id");
        let frozen = Frozen { why: "x".to_owned(), at: Cursor { epoch: 1, revision: 7 } };
        let mut state = State { file: Some((path.clone(), "s".to_owned())), ..State::default() };
        state.frozen.insert(a.clone(), frozen.clone());
        state.save();
        let kept: Kept = read_json(&path).expect("a file").expect("what was kept");
        assert_eq!((kept.store.as_str(), kept.frozen.get(&a)), ("s", Some(&frozen)));
        std::fs::write(&path, "{").expect("a file");
        assert!(read_json::<Kept>(&path).is_err(), "half a file");
    }
}
