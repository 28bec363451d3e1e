//! Represents one active set as files: contents, the proofs beside them, and an index.
//!
//! Boundary: pure; `directory.rs` writes it, `folder.rs` knows which one is in force. Invariant: the same set has the same name and
//! the same bytes, wherever and whenever it is written.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::client::name::{NamespaceId, PolicyId};
use crate::client::signing::{Running, active_set_digest};
use crate::client::{ActivePolicy, Cursor, PolicyKind};
use crate::domain::policy::is_of_several_files;

/// The file name of the index, in the directory of a set.
pub const INDEX: &str = "active.json";
/// The directory of the policies, in the directory of a set.
pub const POLICIES: &str = "policies";
/// Digits of a digest in the name of a set.
const NAME_DIGITS: usize = 8;

/// The index of a set: its policies and the paths of their files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// Namespace of the set.
    pub namespace: NamespaceId,
    /// Cursor of the log at which this is the active set.
    #[serde(flatten)]
    pub cursor: Cursor,
    /// Digest of the set, as checkpoints and reports carry it.
    pub digest: String,
    /// The policies, in the byte order of their ids.
    pub policies: Vec<IndexEntry>,
}

/// One policy of a set; the fields are named as in [`ActivePolicy`]. The last two are paths, relative to the directory of the set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexEntry {
    pub policy: PolicyId,
    pub version: i64,
    pub label: String,
    pub digest: String,
    pub content_type: String,
    pub activated: Cursor,
    pub content: String,
    pub manifest: String,
}

/// A set that may come in force.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Its index.
    pub index: Index,
    /// The index as it is written.
    text: Vec<u8>,
    policies: Vec<Arc<ActivePolicy>>,
}

impl Candidate {
    /// Makes the set of a verified update.
    ///
    /// # Errors
    /// A policy comes without its content.
    pub fn new(namespace: NamespaceId, cursor: Cursor, mut policies: Vec<Arc<ActivePolicy>>) -> anyhow::Result<Self> {
        policies.sort_by(|one, other| one.policy.as_str().cmp(other.policy.as_str()));
        if let Some(bare) = policies.iter().find(|active| active.content.is_none()) {
            anyhow::bail!("{} came without its content", bare.policy);
        }
        let held = policies.iter().map(|active| (&active.policy, active.version, &active.digest));
        let digest = active_set_digest(held).to_string();
        let entries = policies.iter().map(|active| IndexEntry::of(active)).collect();
        let index = Index { namespace, cursor, digest, policies: entries };
        let mut text = serde_json::to_vec_pretty(&index).context("failed to write the index")?;
        text.push(b'\n');
        Ok(Self { index, text, policies })
    }

    /// Returns every file by its path.
    pub fn files(&self) -> BTreeMap<PathBuf, &[u8]> {
        let mut files = BTreeMap::from([(PathBuf::from(INDEX), self.text.as_slice())]);
        for (entry, active) in self.index.policies.iter().zip(&self.policies) {
            files.insert(PathBuf::from(&entry.content), active.content.as_deref().unwrap_or_default());
            files.insert(PathBuf::from(&entry.manifest), active.manifest.as_bytes());
        }
        files
    }

    /// Returns the name of the set: the cursor, for people, and a digest of all files.
    pub fn name(&self) -> String {
        let mut all = Running::default();
        all.update(&self.text);
        for active in &self.policies {
            all.update(active.manifest.as_bytes());
        }
        let digest = all.digest();
        let digits = digest.as_str().trim_start_matches("sha256:").get(..NAME_DIGITS).unwrap_or_default();
        format!("{}-{}-{digits}", self.index.cursor.epoch, self.index.cursor.revision)
    }
}

impl Index {
    /// Parses an index.
    ///
    /// # Errors
    /// The bytes are not an index, or it names files elsewhere.
    pub fn read(bytes: &[u8]) -> anyhow::Result<Self> {
        let index: Self = serde_json::from_slice(bytes).context("index can't be read")?;
        for entry in &index.policies {
            let id = PolicyId::parse("policy", entry.policy.as_str()).context("index names no policy")?;
            let paths = Paths::of(&id, &entry.content_type);
            let as_written = [&paths.content, &paths.manifest];
            anyhow::ensure!(as_written == [&entry.content, &entry.manifest], "index has paths of its own for {id}");
        }
        Ok(index)
    }

    /// Returns whether another set is in force by the same activations.
    pub fn is_of_same_activations(&self, other: &Self) -> bool {
        let activated = |index: &Self| -> Vec<_> {
            index.policies.iter().map(|entry| (entry.policy.clone(), entry.activated)).collect()
        };
        activated(self) == activated(other)
    }

    /// Returns the ids of the policies that differ between two sets, in the byte order of the ids.
    pub fn changes_from(&self, former: Option<&Self>) -> Vec<PolicyId> {
        let former = former.map(|index| index.policies.as_slice()).unwrap_or_default();
        let held: BTreeMap<&str, &IndexEntry> = former.iter().map(|entry| (entry.policy.as_str(), entry)).collect();
        let mut left = held.clone();
        let mut changed = Vec::new();
        for entry in &self.policies {
            left.remove(entry.policy.as_str());
            if held.get(entry.policy.as_str()) != Some(&entry) {
                changed.push(entry.policy.clone());
            }
        }
        changed.extend(left.into_values().map(|entry| entry.policy.clone()));
        changed.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        changed
    }
}

/// Paths of the files of a policy.
struct Paths {
    content: String,
    manifest: String,
}

impl Paths {
    fn of(policy: &PolicyId, content_type: &str) -> Self {
        let extension = if is_of_several_files(content_type) { ".tar" } else { Self::extension_of(content_type) };
        let path = |file: &str| format!("{POLICIES}/{policy}/{file}");
        Self { content: path(&format!("content{extension}")), manifest: path("manifest.jws") }
    }

    fn extension_of(content_type: &str) -> &'static str {
        match PolicyKind::of_content_type(content_type) {
            PolicyKind::Json => ".json",
            // A template may be JSON, which readers of YAML take.
            PolicyKind::Yaml | PolicyKind::Template => ".yaml",
            PolicyKind::Cedar => ".cedar",
            PolicyKind::Rego => ".rego",
            PolicyKind::Opaque => "",
        }
    }
}

impl IndexEntry {
    fn of(active: &ActivePolicy) -> Self {
        let Paths { content, manifest } = Paths::of(&active.policy, &active.content_type);
        Self {
            policy: active.policy.clone(),
            version: active.version,
            label: active.label.clone(),
            digest: active.digest.to_string(),
            content_type: active.content_type.clone(),
            activated: active.activated,
            content,
            manifest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::agent::samples::{namespace, policy, set};

    #[test]
    fn a_set_is_named_by_its_place_and_all_that_is_in_it() {
        let name = set(7, &[("b", 1), ("a", 2)]).name();
        assert!(name.starts_with("1-7-"), "{name}");
        assert_eq!(name, set(7, &[("a", 2), ("b", 1)]).name(), "order is not part of it");
        let mut resigned = (*policy("a", 2, "application/yaml")).clone();
        resigned.manifest = "by another key".to_owned();
        let resigned = vec![Arc::new(resigned), policy("b", 1, "application/yaml")];
        let resigned = Candidate::new(namespace(), Cursor { epoch: 1, revision: 7 }, resigned).expect("a set");
        for other in [set(7, &[("a", 2)]), set(7, &[("a", 2), ("b", 2)]), set(8, &[("a", 2), ("b", 1)]), resigned] {
            assert_ne!(name, other.name());
        }
    }

    #[test]
    fn files_are_named_by_their_kind_and_listed_in_the_index() {
        for (content_type, file) in [
            ("application/json; charset=utf-8", "content.json"),
            ("application/yaml", "content.yaml"),
            ("application/vnd.cedar", "content.cedar"),
            ("application/rego", "content.rego"),
            ("application/x-tar", "content.tar"),
            ("text/plain", "content"),
        ] {
            let set =
                Candidate::new(namespace(), Cursor::default(), vec![policy("a", 1, content_type)]).expect("a set");
            let index = Index::read(set.files()[&PathBuf::from(INDEX)]).expect("an index");
            assert_eq!(index, set.index);
            assert_eq!(index.policies[0].content, format!("policies/a/{file}"));
            let files: Vec<PathBuf> = set.files().into_keys().collect();
            let expected = [INDEX, &index.policies[0].content, "policies/a/manifest.jws"];
            assert_eq!(files, expected.map(PathBuf::from));
        }
    }

    #[test]
    fn an_index_names_no_file_elsewhere() {
        let set = set(7, &[("a", 2)]);
        let text = String::from_utf8(set.files()[&PathBuf::from(INDEX)].to_vec()).expect("text");
        assert!(Index::read(text.as_bytes()).is_ok());
        for (from, to) in [
            ("policies/a/content.yaml", "../../etc/content.yaml"),
            ("policies/a/manifest.jws", "/etc/passwd"),
            ("\"policy\": \"a\"", "\"policy\": \"../a\""),
        ] {
            let changed = text.replace(from, to);
            assert_ne!(text, changed);
            assert!(Index::read(changed.as_bytes()).is_err(), "{to}");
        }
    }

    #[test]
    fn a_change_is_what_is_new_other_or_gone() {
        let ids = |set: &Candidate, former: Option<&Candidate>| -> Vec<String> {
            let changed = set.index.changes_from(former.map(|former| &former.index));
            changed.iter().map(ToString::to_string).collect()
        };
        let (old, new) = (set(7, &[("a", 1), ("c", 1), ("d", 1)]), set(8, &[("a", 2), ("b", 1), ("d", 1)]));
        assert_eq!(ids(&new, Some(&old)), ["a", "b", "c"]);
        assert_eq!(ids(&new, None), ["a", "b", "d"]);
        assert!(ids(&new, Some(&new)).is_empty());
    }

    #[test]
    fn a_policy_without_content_is_no_file() {
        let mut bare = (*policy("a", 1, "application/yaml")).clone();
        bare.content = None;
        assert!(Candidate::new(namespace(), Cursor::default(), vec![Arc::new(bare)]).is_err());
    }
}
