//! Decides what to deliver, from what changed, what the commit holds, and what was delivered before.
//!
//! Invariant: what `delivered.json` names is never in the plan; each other version folder that changed is in it exactly once, under
//! its policy and in SemVer order, or among the refused.

use std::collections::{BTreeMap, BTreeSet};

use crate::cli::release::baseline::ChangedPaths;
use crate::cli::release::delivered_file::Delivered;
use crate::cli::release::fault::Fault;
use crate::cli::release::files::{Files, files};
use crate::cli::release::folder::{EntryKind, FolderVersion, TreeEntry, folder_of, shown};
use crate::cli::release::outcome::{FolderResult, VersionOutcome};
use crate::client::name::PolicyId;

/// A version folder that is not delivered yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedVersion {
    pub key: FolderVersion,
    /// Git's id of the folder.
    pub tree: String,
    /// The files, or what is wrong with them.
    pub files: Result<Files, Fault>,
}

/// What a release has to do.
#[derive(Debug, Default)]
pub struct Plan {
    /// The versions to deliver by policy, each policy's in SemVer order.
    pub queues: BTreeMap<PolicyId, Vec<PlannedVersion>>,
    /// Paths that are no version folder, each with the reason.
    pub refused: Vec<(String, String)>,
    /// Number of changed versions that were delivered before.
    pub delivered_before: usize,
    /// Warnings for the report.
    pub warnings: Vec<String>,
    /// Notes for the report.
    pub notes: Vec<String>,
}

/// Makes the plan. `top` is the folder of the policies; all paths are relative to it.
pub fn plan(top: &str, changes: &ChangedPaths, tree: &[TreeEntry], delivered: &Delivered) -> Plan {
    let mut plan = Plan::default();
    let mut there: BTreeMap<Vec<u8>, Vec<&TreeEntry>> = BTreeMap::new();
    for entry in tree {
        if let Some(folder) = folder(entry) {
            there.entry(folder).or_default().push(entry);
        } else if leads_away(entry) && changes.has(&entry.path) {
            let reason = "is a symbolic link or a submodule: neither is followed".to_owned();
            plan.refused.push((shown(top, &entry.path), reason));
        }
    }
    let changed: BTreeSet<Vec<u8>> = match changes {
        ChangedPaths::All => there.keys().cloned().collect(),
        ChangedPaths::Of(paths) => {
            let folders = paths.iter().filter_map(|path| Some((path, prefix(folder_of(path)?))));
            // A plain file next to the version folders is not a version, nor one that was removed.
            folders
                .filter(|(path, folder)| is_inside(path) || there.contains_key(folder))
                .map(|(_, folder)| folder)
                .collect()
        }
    };
    for folder in changed {
        match there.get(&folder) {
            Some(entries) => plan.take(top, &folder, entries, delivered),
            None => plan.notes.push(format!("{} was removed: that delivers nothing", shown(top, trimmed(&folder)))),
        }
    }
    for queue in plan.queues.values_mut() {
        queue.sort_by(|one, other| one.key.order(&other.key));
    }
    plan
}

/// Returns the version folder that an entry is or lies in. A plain file next to such folders is in none.
fn folder(entry: &TreeEntry) -> Option<Vec<u8>> {
    let names = folder_of(&entry.path)?;
    (is_inside(&entry.path) || entry.kind != EntryKind::File).then(|| prefix(names))
}

/// Returns whether a path lies below a version folder, given that it is in one.
fn is_inside(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').count() > 2
}

/// Returns whether a link or submodule stands in place of a policy folder, or of the folder of all policies.
fn leads_away(entry: &TreeEntry) -> bool {
    matches!(entry.kind, EntryKind::Link | EntryKind::Submodule) && !entry.path.contains(&b'/')
}

fn prefix((policy, version): (&[u8], &[u8])) -> Vec<u8> {
    [policy, b"/", version, b"/"].concat()
}

fn trimmed(folder: &[u8]) -> &[u8] {
    folder.strip_suffix(b"/").unwrap_or(folder)
}

impl Plan {
    /// Returns the results for paths that are no version folder.
    pub fn refusals(&self) -> Vec<FolderResult> {
        let result =
            |(path, why): &(String, String)| FolderResult::of(path, VersionOutcome::failed(why)).in_file(path.clone());
        self.refused.iter().map(result).collect()
    }

    fn take(&mut self, top: &str, folder: &[u8], entries: &[&TreeEntry], delivered: &Delivered) {
        let key = match key(folder) {
            Ok(key) => key,
            Err(reason) => return self.refused.push((shown(top, trimmed(folder)), reason)),
        };
        let itself = entries.iter().find(|entry| entry.path == trimmed(folder));
        let tree = itself.map(|entry| entry.id.clone()).unwrap_or_default();
        if let Some(entry) = delivered.get(&key.to_string()) {
            self.delivered_before += 1;
            if entry.tree != tree {
                self.warnings.push(format!(
                    "{key} was changed in git after it was delivered as version {}: it is not delivered again; give the \
                     change a version of its own",
                    entry.version
                ));
            }
            return;
        }
        let files = files(top, folder, entries);
        self.queues.entry(key.policy.clone()).or_default().push(PlannedVersion { key, tree, files });
    }
}

fn key(folder: &[u8]) -> Result<FolderVersion, String> {
    let (policy, version) = folder_of(folder).ok_or("is no version folder")?;
    let name = |bytes| std::str::from_utf8(bytes).map_err(|_| "its name is not UTF-8".to_owned());
    FolderVersion::parse(name(policy)?, name(version)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::release::delivered_file;
    use crate::domain::digest::Digest;

    fn entry(kind: EntryKind, path: &str) -> TreeEntry {
        let id = if kind == EntryKind::Directory { format!("tree of {path}") } else { "blob".to_owned() };
        TreeEntry { kind, id, size: 1, path: path.as_bytes().to_vec() }
    }

    fn version(folder: &str) -> Vec<TreeEntry> {
        let file = |name: &str| entry(EntryKind::File, &format!("{folder}/{name}"));
        vec![entry(EntryKind::Directory, folder), file("metadata.json"), file("policy-definition.yaml")]
    }

    fn delivered(tree: &str) -> delivered_file::DeliveredVersion {
        let (digest, commit) = (Digest::from_sha256(&[0; 32]), "a".repeat(40));
        delivered_file::DeliveredVersion {
            version: 1,
            digest,
            commit,
            tree: tree.to_owned(),
            time: String::new(),
            activation: None,
        }
    }

    #[test]
    fn what_changed_and_is_not_delivered_is_planned() {
        let folders = ["p/v1.10.0", "p/v1.9.0", "q/v1.0.0", "q/v2.0.0"];
        let mut tree: Vec<TreeEntry> = folders.iter().flat_map(|folder| version(folder)).collect();
        tree.push(entry(EntryKind::Link, "linked"));
        tree.push(entry(EntryKind::Submodule, "p/vendor"));
        tree.push(entry(EntryKind::File, "p/v1.md"));
        let known: Delivered =
            [("q@v1.0.0".to_owned(), delivered("another")), ("q@v2.0.0".to_owned(), delivered("tree of q/v2.0.0"))]
                .into();
        let names = |plan: &Plan| -> Vec<String> {
            plan.queues.values().flatten().map(|planned| planned.key.to_string()).collect()
        };
        let all = plan("policies", &ChangedPaths::All, &tree, &known);
        assert_eq!((names(&all), all.delivered_before), (vec!["p@v1.9.0".to_owned(), "p@v1.10.0".to_owned()], 2));
        assert!(all.warnings.len() == 1 && all.warnings[0].starts_with("q@v1.0.0 was changed"), "{:?}", all.warnings);
        assert_eq!(all.refused.len(), 1, "{:?}", all.refused);

        let paths = ["p/v1.9.0/README.md", "r/v1.0.0/metadata.json", "p/notes", "p/values.yaml", "p/v1.md", "other"];
        let some =
            plan("policies", &ChangedPaths::Of(paths.map(|path| path.as_bytes().to_vec()).to_vec()), &tree, &known);
        assert_eq!((names(&some), some.notes.len()), (vec!["p@v1.9.0".to_owned()], 1));
        assert!(some.warnings.is_empty() && some.refused.is_empty() && some.delivered_before == 0);
        assert!(plan("policies", &ChangedPaths::Of(Vec::new()), &tree, &known).queues.is_empty());
        assert_eq!(some.notes, ["policies/r/v1.0.0 was removed: that delivers nothing"]);
    }
}
