//! The step of a restore that touches the old database: another one takes its place.
//!
//! Invariant: at every moment the database at its place is the old one, whole, or the new one, whole; and when a step fails, all
//! that belongs to the old one is beside it again.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::whole_file::{
    NameNotFlushed, SQLITE_COMPANIONS, Unfinished, digest_of, is_same_file, remove_companions, sync_directory_of,
    with_suffix,
};
use crate::domain::digest::Digest;
use crate::store::{CopyError, ExclusiveDatabase};

/// The suffix of the old database after the restore; a number follows it.
pub(super) const REPLACED: &str = ".replaced-";
/// Old databases that are kept beside the new one. With more, somebody has to look which are still needed.
pub(super) const REPLACED_MAX: u32 = 100;

/// Puts the new database in place of the old one. Answers where the old one is.
pub(super) async fn replace(unfinished: Unfinished, path: &Path, digest: &Digest) -> Result<Option<PathBuf>> {
    let failed = || format!("failed to replace {}", path.display());
    if !path.exists() {
        // Without its database a log of writes is nothing; beside the new one it would be taken for its own.
        remove_companions(path)?;
        sync_directory_of(path).with_context(failed)?;
        unfinished.put(path).with_context(failed)?;
        return Ok(None);
    }
    unfinished.give_to_owner_of(path).context("failed to give the database to its owner: run this as its owner")?;
    // Before SQLite opens it: closing a database that it can't read, it removes the log beside it.
    let kept = keep(path).with_context(failed)?;
    // Healthy, the old database is whole in its one file from here on, and nobody else can open it.
    let settled = match ExclusiveDatabase::settle(path).await {
        Ok(settled) => Some(settled),
        // It is put aside as it is.
        Err(CopyError::Damaged(_)) => None,
        Err(error) => {
            put_back(path, &kept, &["-wal"])?;
            forget_unless_needed(path, &kept).with_context(failed)?;
            return Err(error).with_context(failed);
        }
    };
    // Closing any handle of this file drops SQLite's locks on it (sqlite.org/howtocorrupt.html, 2.2): this one is closed after
    // they are given back.
    let mut old = settled.as_ref().map(|_| File::open(path)).transpose().with_context(failed)?;
    let is_same = match &mut old {
        Some(old) => {
            // What they held is in the database now.
            remove_companions(&kept)?;
            digest_of(old).with_context(failed)? == *digest
        }
        None => false,
    };
    if is_same {
        forget(&kept).with_context(failed)?;
    }
    if let Err(error) = take_place(unfinished, path, settled.is_some()) {
        if !error.is::<NameNotFlushed>() {
            put_back(path, &kept, &["-wal", "-journal", ""])?;
        }
        return Err(error).with_context(failed);
    }
    if let Some(settled) = settled {
        settled.release().await;
    }
    drop(old);
    Ok((!is_same).then_some(kept))
}

/// The rename itself. A database that is not whole without what lies beside it must not be found without: until the rename nothing
/// has its name then, which a server refuses to start on.
fn take_place(unfinished: Unfinished, path: &Path, is_whole: bool) -> Result<()> {
    if !is_whole {
        remove_if_there(path)?;
    }
    remove_companions(path)?;
    sync_directory_of(path)?;
    unfinished.put(path)
}

/// Puts back what is missing of the old database, from its second names: without its log of writes it is not whole. What is in the
/// database already does no harm in a log beside it.
fn put_back(path: &Path, kept: &Path, suffixes: &[&str]) -> Result<()> {
    for suffix in suffixes {
        let (companion, kept) = (with_suffix(path, suffix), with_suffix(kept, suffix));
        if kept.exists() && !companion.exists() {
            fs::hard_link(&kept, &companion).with_context(|| {
                format!(
                    "the old database is not whole without {}: rename it to {} before anything opens the database",
                    kept.display(),
                    companion.display()
                )
            })?;
        }
    }
    // A power cut may take it back; it is the disk that fails, and the second names are there.
    let _ = sync_directory_of(path);
    Ok(())
}

/// Gives the old database a second name, and what lies beside it too.
fn keep(path: &Path) -> std::io::Result<PathBuf> {
    for number in 1..=REPLACED_MAX {
        let kept = with_suffix(path, &format!("{REPLACED}{number}"));
        // One that was interrupted has named it already.
        if !is_same_file(path, &kept) {
            // What somebody left beside a name would be taken for this database's own.
            if SQLITE_COMPANIONS.iter().any(|suffix| with_suffix(&kept, suffix).exists()) {
                continue;
            }
            match fs::hard_link(path, &kept) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                linked => linked?,
            }
        }
        for suffix in ["-wal", "-journal"] {
            let (companion, kept) = (with_suffix(path, suffix), with_suffix(&kept, suffix));
            if companion.exists() && !is_same_file(&companion, &kept) {
                remove_if_there(&kept)?;
                fs::hard_link(companion, kept)?;
            }
        }
        sync_directory_of(path)?;
        return Ok(kept);
    }
    Err(std::io::Error::other(format!(
        "there are {REPLACED_MAX} databases named {}{REPLACED}… that were replaced before: remove those nobody needs",
        path.display()
    )))
}

/// Removes the second names, unless what lay beside the database has no other name any more.
fn forget_unless_needed(path: &Path, kept: &Path) -> Result<()> {
    let is_needed = |suffix: &&str| {
        let kept = with_suffix(kept, suffix);
        kept.exists() && !is_same_file(&with_suffix(path, suffix), &kept)
    };
    if SQLITE_COMPANIONS.iter().any(is_needed) { Ok(()) } else { forget(kept) }
}

/// Removes the second name.
fn forget(kept: &Path) -> Result<()> {
    remove_companions(kept)?;
    remove_if_there(kept)?;
    Ok(())
}

fn remove_if_there(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
