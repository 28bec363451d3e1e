//! Freezes and thaws namespaces.

use std::path::Path;
use std::sync::{MutexGuard, PoisonError};

use crate::domain::event::Cursor;
use crate::domain::name::NamespaceId;
use crate::domain::{Error, Reason, Result};
use crate::store::files::json_file::read_json;
use crate::store::handle::Store;
use crate::store::loss::frozen::{Frozen, FrozenFile, FrozenState};

impl Store {
    fn frozen_state(&self) -> MutexGuard<'_, FrozenState> {
        self.inner.high_water.frozen.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads which namespaces of the store `id` are frozen, and writes changes to that file from now on.
    ///
    /// # Errors
    /// `io::Error` when the file exists and can't be read.
    pub fn remember_frozen(&self, path: &Path, id: &str) -> std::io::Result<()> {
        let kept: Option<FrozenFile> = read_json(path)?;
        let mut state = self.frozen_state();
        // Ignore the file of another store: its findings do not apply to this one.
        if let Some(kept) = kept.filter(|kept| kept.store == id) {
            for (namespace, Frozen { why, at }) in &kept.frozen {
                tracing::error!(target: "policyhub::audit", %namespace, ?at, why, "a namespace is still frozen");
            }
            state.frozen = kept.frozen;
        }
        state.file = Some((path.to_owned(), id.to_owned()));
        Ok(())
    }

    /// Freezes a namespace for a finding that was made when `at` was its newest event. Logs it once.
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

    /// Thaws a namespace, by the event at `by`.
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

    /// Returns the newest cursor that was seen of a log.
    #[must_use]
    pub fn seen_cursor(&self, namespace: &NamespaceId) -> Cursor {
        self.inner.high_water.head(namespace).map_or(Cursor::NONE, |seen| seen.cursor)
    }

    /// Returns up to where the log of a frozen namespace was searched for an event that thaws it.
    #[must_use]
    pub fn searched(&self, namespace: &NamespaceId) -> Option<Cursor> {
        self.frozen_state().searched.get(namespace).copied()
    }

    /// Records that there is no such event up to a cursor.
    pub fn note_searched(&self, namespace: &NamespaceId, up_to: Cursor) {
        self.frozen_state().searched.insert(namespace.clone(), up_to);
    }

    /// Returns why a namespace is frozen; none when it is not.
    #[must_use]
    pub fn frozen(&self, namespace: &NamespaceId) -> Option<Frozen> {
        self.frozen_state().frozen.get(namespace).cloned()
    }

    /// Returns all namespaces that are frozen.
    #[must_use]
    pub fn all_frozen(&self) -> Vec<NamespaceId> {
        self.frozen_state().frozen.keys().cloned().collect()
    }

    /// Refuses an operation on a frozen namespace.
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
