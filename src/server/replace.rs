//! Replaces the old database: the step of a restore that touches it.
//!
//! Invariant: at every moment the file at the path is the complete old database or the complete new one; and when a step fails, all
//! files of the old one are restored beside it.

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
/// Most old databases that are kept beside the new one. With more, an operator must decide which are still needed.
pub(super) const REPLACED_MAX: u32 = 100;

/// Puts the new database in place of the old one. Returns where the old one is.
pub(super) async fn replace(unfinished: Unfinished, path: &Path, digest: &Digest) -> Result<Option<PathBuf>> {
    let failed = || format!("failed to replace {}", path.display());
    if !path.exists() {
        // A WAL without its database is useless; beside the new database it would be taken for the new one's.
        remove_companions(path)?;
        sync_directory_of(path).with_context(failed)?;
        unfinished.put(path).with_context(failed)?;
        return Ok(None);
    }
    unfinished.give_to_owner_of(path).context("failed to give the database to its owner: run this as its owner")?;
    // Kept before SQLite opens it: on closing a database that it can't read, SQLite removes the WAL beside it.
    let kept = keep(path).with_context(failed)?;
    // If it is healthy, the whole old database is in one file from here on, and no other process can open it.
    let settled = match ExclusiveDatabase::settle(path).await {
        Ok(settled) => Some(settled),
        // A damaged database is put aside as it is.
        Err(CopyError::Damaged(_)) => None,
        Err(error) => {
            put_back(path, &kept, &["-wal"])?;
            forget_unless_needed(path, &kept).with_context(failed)?;
            return Err(error).with_context(failed);
        }
    };
    // Closing any handle of this file drops SQLite's locks on it (sqlite.org/howtocorrupt.html, 2.2): this handle is closed after
    // SQLite has released them.
    let mut old = settled.as_ref().map(|_| File::open(path)).transpose().with_context(failed)?;
    let is_same = match &mut old {
        Some(old) => {
            // Their content is in the database now.
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

/// Renames the new database. A database that is incomplete without the files beside it must not be found without them: until the
/// rename its name does not exist, and a server refuses to start then.
fn take_place(unfinished: Unfinished, path: &Path, is_whole: bool) -> Result<()> {
    if !is_whole {
        remove_if_there(path)?;
    }
    remove_companions(path)?;
    sync_directory_of(path)?;
    unfinished.put(path)
}

/// Restores the missing files of the old database from their second names: without its WAL it is incomplete. A WAL whose content is
/// already in the database does no harm.
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
    // An error only means that a power cut may undo it; the disk is failing, and the second names still exist.
    let _ = sync_directory_of(path);
    Ok(())
}

/// Gives the old database and the files beside it second names.
fn keep(path: &Path) -> std::io::Result<PathBuf> {
    for number in 1..=REPLACED_MAX {
        let kept = with_suffix(path, &format!("{REPLACED}{number}"));
        // An interrupted run may have made this name already.
        if !is_same_file(path, &kept) {
            // Other files beside a name would be taken for those of this database.
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

/// Removes the second names, unless a file beside the database has no other name any more.
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
