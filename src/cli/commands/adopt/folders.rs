//! Lists a folder of policies in the form that the plan of a release reads: from the disk instead of from git.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::cli::release::{EntryKind, TreeEntry};
use anyhow::{Context as _, ensure};

/// Depth below the folder: policies, versions, files.
const DEPTH: usize = 3;
/// Most files and folders that are listed.
const ENTRIES_MAX: usize = 1_000_000;

/// Lists everything in the folder, as deep as the files of versions. Links are not followed.
///
/// # Errors
/// A folder can't be read, or has too many entries.
pub fn entries(folder: &Path) -> anyhow::Result<Vec<TreeEntry>> {
    let mut entries = Vec::new();
    list(folder, &[], DEPTH, &mut entries)?;
    entries.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(entries)
}

fn list(folder: &Path, prefix: &[u8], depth: usize, entries: &mut Vec<TreeEntry>) -> anyhow::Result<()> {
    let failed = || format!("failed to read {}", folder.display());
    for found in fs::read_dir(folder).with_context(failed)? {
        let found = found.with_context(failed)?;
        let name = found.file_name();
        if name.as_bytes().starts_with(b".") {
            continue;
        }
        // The metadata of a link itself, not of its target.
        let about = found.metadata().with_context(failed)?;
        let kind = match about.file_type() {
            kind if kind.is_symlink() => EntryKind::Link,
            kind if kind.is_dir() => EntryKind::Directory,
            kind if kind.is_file() => EntryKind::File,
            _ => continue,
        };
        let path = [prefix, name.as_bytes()].concat();
        ensure!(entries.len() < ENTRIES_MAX, "{} holds over {ENTRIES_MAX} files and folders", folder.display());
        entries.push(TreeEntry { kind, id: String::new(), size: about.len(), path: path.clone() });
        if kind == EntryKind::Directory && depth > 1 {
            list(&found.path(), &[&path, &b"/"[..]].concat(), depth - 1, entries)?;
        }
    }
    Ok(())
}
