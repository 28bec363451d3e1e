//! The folder that `policyhub active --save` writes: all of it or nothing.
//!
//! Invariant: until the set is complete, the former content of the folder stays as it is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::client::name::{NamespaceId, PolicyId};
use crate::client::{SetWriter, is_saved_set, pb};

/// A folder that is being written. When dropped before its end, it leaves nothing behind.
#[derive(Debug)]
pub struct SavedFolder {
    target: PathBuf,
    staged: StagedFolder,
    writer: SetWriter,
}

/// A folder beside the target, on the same disk, which is removed on drop if it still exists.
#[derive(Debug)]
struct StagedFolder(PathBuf);

impl Drop for StagedFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl SavedFolder {
    /// Begins a set of these policies (empty: all) in place of the content of `target`: nothing, or another saved set.
    ///
    /// # Errors
    /// The folder has anything else in it, or can't be made.
    pub fn begin(target: &Path, namespace: &NamespaceId, policies: BTreeSet<PolicyId>) -> anyhow::Result<Self> {
        let is_empty = fs::read_dir(target).map_or(true, |mut entries| entries.next().is_none());
        anyhow::ensure!(
            is_empty || is_saved_set(target),
            "{} holds something else than a saved set: give another directory",
            target.display()
        );
        let staged = StagedFolder(beside(target, "partial"));
        fs::create_dir_all(&staged.0).with_context(|| format!("failed to make {}", staged.0.display()))?;
        let writer = SetWriter::new(&staged.0, namespace.clone(), policies);
        Ok(Self { target: target.to_owned(), staged, writer })
    }

    /// Adds the bundles of a page.
    ///
    /// # Errors
    /// A bundle can't be saved, or a file can't be written.
    pub fn add(&mut self, bundles: &[pb::Bundle]) -> anyhow::Result<()> {
        let mut added = bundles.iter().map(|bundle| self.writer.add(bundle));
        added.try_for_each(|added| added).with_context(|| format!("failed to save to {}", self.target.display()))
    }

    /// Moves the set into place, with its proofs. Returns how many policies it has.
    ///
    /// # Errors
    /// A file can't be written, or a folder can't be moved.
    pub fn finish(self, last: &pb::ListActiveResponse) -> anyhow::Result<usize> {
        let Self { target, staged, writer } = self;
        let failed = || format!("failed to save to {}", target.display());
        let count = writer.finish(last).with_context(failed)?;
        let old = beside(&target, "old");
        let had_one = target.exists();
        if had_one {
            fs::rename(&target, &old).with_context(failed)?;
        }
        fs::rename(&staged.0, &target).with_context(failed)?;
        if had_one {
            fs::remove_dir_all(&old).with_context(|| format!("failed to remove {}", old.display()))?;
        }
        Ok(count)
    }
}

/// Returns a path beside a folder that no other process of this command uses.
fn beside(target: &Path, what: &str) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{what}-{}", std::process::id()));
    target.with_file_name(name)
}
