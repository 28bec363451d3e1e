//! Frozen namespaces: something stored in them did not verify, and nothing new is signed over them until an admin thaws them.
//!
//! The list is in its own file beside the database: an attacker who can write only the database can't end a freeze, nor does a restart of
//! the server. Each replica freezes by its own findings. Invariant: only an event of the log that is newer than the finding ends a freeze.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::domain::event::Cursor;
use crate::domain::name::NamespaceId;
use crate::store::files::json_file::write_json;

/// Why a namespace is frozen, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frozen {
    /// The first finding.
    pub why: String,
    /// The newest event at the time of the finding; only a later one can end the freeze.
    pub at: Cursor,
}

/// The namespaces that this replica froze.
#[derive(Debug, Default)]
pub(in crate::store) struct FrozenNamespaces(pub(in crate::store) Mutex<FrozenState>);

#[derive(Debug, Default)]
pub(in crate::store) struct FrozenState {
    pub(in crate::store) file: Option<(PathBuf, String)>,
    pub(in crate::store) frozen: BTreeMap<NamespaceId, Frozen>,
    /// The newest event that thawed each namespace: findings before it are settled.
    pub(in crate::store) thawed: BTreeMap<NamespaceId, Cursor>,
    /// Up to where each log was searched for an event that thaws it.
    pub(in crate::store) searched: BTreeMap<NamespaceId, Cursor>,
}

/// The content of the file.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::store) struct FrozenFile {
    pub(in crate::store) store: String,
    pub(in crate::store) frozen: BTreeMap<NamespaceId, Frozen>,
}

impl FrozenState {
    pub(in crate::store) fn save(&self) {
        let Some((path, store)) = &self.file else { return };
        let kept = FrozenFile { store: store.clone(), frozen: self.frozen.clone() };
        if let Err(error) = write_json(path, &kept) {
            tracing::error!(path = %path.display(), %error, "failed to save which namespaces are frozen");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::files::json_file::read_json;

    #[test]
    fn a_file_keeps_what_is_frozen() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("frozen.json");
        let a = NamespaceId::parse("namespace", "a").expect("an id");
        let frozen = Frozen { why: "x".to_owned(), at: Cursor { epoch: 1, revision: 7 } };
        let mut state = FrozenState { file: Some((path.clone(), "s".to_owned())), ..FrozenState::default() };
        state.frozen.insert(a.clone(), frozen.clone());
        state.save();
        let kept: FrozenFile = read_json(&path).expect("a file").expect("what was kept");
        assert_eq!((kept.store.as_str(), kept.frozen.get(&a)), ("s", Some(&frozen)));
        std::fs::write(&path, "{").expect("a file");
        assert!(read_json::<FrozenFile>(&path).is_err(), "half a file");
    }
}
