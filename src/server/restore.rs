//! `policyhub restore`: a backup takes the place of the embedded database.
//!
//! Invariant: at every moment the database at its place is the old one, whole, or the new one, whole. Before anything of the
//! old one is touched the new one lies beside it, checked and flushed; its place is taken by one rename.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};

use super::backup::{CopyProgress, refuse_findings, sqlite_path};
use super::backup_check::{CheckedCopy, check};
use super::clock;
use super::config::{Config, Settings};
use super::data_dir::{DataDir, make_private_dir};
use super::keys::Keys;
use super::serve::{Maintenance, database, lock_file, lock_maintenance};
use super::telemetry::Telemetry;
use super::whole_file::{
    SQLITE_COMPANIONS, Unfinished, digest_of, is_same_file, remove_companions, sync_directory_of, with_suffix,
};
use crate::domain::digest::{Digest, Hash};
use crate::domain::tag::RowTag;
use crate::store::{CopyError, CopyState, DatabaseCopy, ExclusiveDatabase, remembered_store};

/// What the new database is called before it takes its place.
const UNFINISHED: &str = ".restoring";
/// What the old database is called afterwards, with a number after it.
const REPLACED: &str = ".replaced-";
/// Old databases that are kept beside the new one. With more, somebody has to look which are still needed.
const REPLACED_MAX: u32 = 100;

/// What is accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoreOptions {
    /// Also a backup of another store than the one that is here, or one whose keys are not here.
    pub force: bool,
    /// Also when the check of the logs finds what does not hold.
    pub accept_findings: bool,
    /// Only the file with this digest.
    pub digest: Option<Digest>,
}

/// The database that was there before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OldDatabase {
    /// There was none.
    None,
    /// It said this of itself.
    Readable(CopyState),
    /// It could not be read, because of this.
    Unreadable(String),
}

/// A restore that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The place of the database.
    pub database: PathBuf,
    /// What was there.
    pub old: OldDatabase,
    /// Where that is now; none when there was nothing, or it was the same, byte for byte.
    pub kept_as: Option<PathBuf>,
    /// What is there now.
    pub new: CheckedCopy,
    /// Digest of the backup.
    pub digest: Digest,
    /// Why the next start will be in doubt, if it will.
    pub doubt: Option<String>,
    /// Whether anything here remembers what was acknowledged.
    pub is_remembered: bool,
    /// The directory that must hold the keys.
    pub keys_dir: PathBuf,
}

/// Puts the backup `file` in place of the database.
///
/// # Errors
/// Everything that keeps it from being done; up to the rename the old database is there.
pub async fn restore(
    settings: Settings,
    file: &Path,
    options: RestoreOptions,
    progress: &(dyn Fn(CopyProgress) + Sync),
) -> Result<Restored> {
    let config = settings.load()?;
    let _telemetry = Telemetry::start(&config.telemetry)?;
    let database = database(&config.storage)?;
    let path = sqlite_path(&database, "restore")?;
    is_backup(file, &path)?;
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_private_dir(parent).with_context(|| format!("failed to make {}", parent.display()))?;
    }
    let data_dir = DataDir::take(&config.storage.data_dir)?;
    let _database_lock = lock_file(&database)?;
    // Keeps `policyhub migrate` and `policyhub epoch` away.
    let _maintenance_lock = lock_maintenance(&database, Maintenance::Changes)?;

    let (unfinished, digest) = copy(file, &path, &options, progress)?;
    progress(CopyProgress::Checking);
    let new = check(unfinished.path(), &config).await;
    let new = new.with_context(|| format!("{} is no backup that can be restored", file.display()))?;
    refuse_findings(&new, options.accept_findings)?;
    let old = look_at(&path).await?;
    let high_water = data_dir.high_water();
    let remembered = remembered_store(&high_water).with_context(|| unreadable(&high_water))?;
    if !options.force {
        refuse_another_store(&new.state, &old, remembered.as_deref())?;
        refuse_other_keys(&new.state, &config)?;
    }

    // What the old database knows of its logs goes into the second memory first: a server that was killed has not written
    // the last second of it.
    if let OldDatabase::Readable(state) = &old
        && state.store_id == new.state.store_id
        && remembered.as_ref().is_none_or(|remembered| *remembered == state.store_id)
    {
        remember(&path, state, &high_water).await?;
    }
    let is_remembered = remembered_store(&high_water)?.as_deref() == Some(new.state.store_id.as_str());
    let doubt = expected_doubt(unfinished.path(), &new.state, &high_water).await?;
    let kept_as = replace(unfinished, &path, &digest).await?;
    let keys_dir = config.keys.keys_dir;
    Ok(Restored { database: path, old, kept_as, new, digest, doubt, is_remembered, keys_dir })
}

/// Refuses what is a database in use, or not a file.
fn is_backup(file: &Path, database: &Path) -> Result<()> {
    ensure!(file.is_file(), "failed to read {}: there is no such file", file.display());
    ensure!(!is_same_file(file, database), "failed to restore {}: it is the database itself", file.display());
    for suffix in SQLITE_COMPANIONS {
        let companion = with_suffix(file, suffix);
        let has_content = fs::metadata(&companion).is_ok_and(|found| found.len() > 0);
        ensure!(
            !has_content,
            "{} lies beside {}: together they are a database, not a backup; make one with `policyhub backup`",
            companion.display(),
            file.display()
        );
    }
    Ok(())
}

/// The backup, beside the place it will take.
fn copy(
    file: &Path,
    database: &Path,
    options: &RestoreOptions,
    progress: &(dyn Fn(CopyProgress) + Sync),
) -> Result<(Unfinished, Digest)> {
    let mut unfinished = Unfinished::make(with_suffix(database, UNFINISHED))?;
    let failed = || format!("failed to copy {} to {}", file.display(), database.display());
    let total = file.metadata().with_context(failed)?.len();
    let done = |done| progress(CopyProgress::Copied(done, total));
    let (_, digest) = unfinished.fill_from(file, &done).with_context(failed)?;
    if let Some(wanted) = &options.digest {
        ensure!(*wanted == digest, "{} is not the backup that was named: its digest is {digest}", file.display());
    }
    unfinished.flush().with_context(failed)?;
    Ok((unfinished, digest))
}

/// What the database in place says of itself.
///
/// # Errors
/// When it may be whole and could not be read now.
async fn look_at(path: &Path) -> Result<OldDatabase> {
    if !path.exists() {
        return Ok(OldDatabase::None);
    }
    let state = async {
        let live = DatabaseCopy::open_live(path).await?;
        let state = live.state().await;
        live.close().await;
        state
    };
    match state.await {
        Ok(state) => Ok(OldDatabase::Readable(state)),
        Err(error @ (CopyError::Damaged(_) | CopyError::NotPolicyhub | CopyError::Schema(_))) => {
            Ok(OldDatabase::Unreadable(error.to_string()))
        }
        Err(error) => Err(error).with_context(|| format!("failed to read the old database {}", path.display())),
    }
}

fn refuse_another_store(new: &CopyState, old: &OldDatabase, remembered: Option<&str>) -> Result<()> {
    let old = match old {
        OldDatabase::Readable(state) => Some(state.store_id.as_str()),
        _ => None,
    };
    for (what, id) in [("the database that is here", old), ("high-water.json", remembered)] {
        let Some(id) = id else { continue };
        ensure!(
            id == new.store_id,
            "the backup is of store {}, but {what} is of store {id}: give another --data-dir, or say --force to replace \
             one store by another",
            new.store_id
        );
    }
    Ok(())
}

/// Keys that are absent can be put back later; others would be refused at the next start.
fn refuse_other_keys(new: &CopyState, config: &Config) -> Result<()> {
    let (Ok(keys), Some(wanted)) = (Keys::existing(&config.keys), &new.seal_key_id) else { return Ok(()) };
    ensure!(
        keys.seal.public().key_id() == wanted,
        "the keys in {} are not those of the backup, so that no server could start on it: put its own there first, or say \
         --force",
        config.keys.keys_dir.display()
    );
    Ok(())
}

/// Heads have no tags, so they are read without the key of tags.
#[derive(Debug)]
struct NoTags;

impl RowTag for NoTags {
    fn tag(&self, _: &[u8]) -> Hash {
        [0; 32]
    }

    fn holds(&self, _: &[u8], _: &[u8]) -> bool {
        false
    }

    fn digest(&self, row: &[u8]) -> Digest {
        crate::signing::digest_of(row)
    }
}

/// Writes where the logs of a database end into the second memory.
async fn remember(path: &Path, state: &CopyState, high_water: &Path) -> Result<()> {
    if state.missing_migrations > 0 {
        // Its tables are not this version's; the file keeps what its own server wrote.
        return Ok(());
    }
    let live = DatabaseCopy::open_live(path).await?;
    let store = live.store(Arc::new(NoTags), clock::monotonic);
    store.remember(high_water.to_owned(), &state.store_id);
    let examined = store.examine().await;
    store.save_memory();
    live.close().await;
    examined.map(|_| ()).with_context(|| format!("failed to compare the old database with {}", high_water.display()))
}

/// What the next start will say.
async fn expected_doubt(path: &Path, state: &CopyState, high_water: &Path) -> Result<Option<String>> {
    if state.missing_migrations > 0 {
        return Ok(None);
    }
    let copy = DatabaseCopy::open(path).await?;
    let store = copy.store(Arc::new(NoTags), clock::monotonic);
    store.remember(high_water.to_owned(), &state.store_id);
    let doubt = store.examine().await;
    copy.close().await;
    doubt.with_context(|| format!("failed to compare the backup with {}", high_water.display()))
}

/// Puts the new database in place of the old one. Answers where the old one is.
async fn replace(unfinished: Unfinished, path: &Path, digest: &Digest) -> Result<Option<PathBuf>> {
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
    remove_companions(path)?;
    sync_directory_of(path).with_context(failed)?;
    unfinished.put(path).with_context(failed)?;
    if let Some(settled) = settled {
        settled.release().await;
    }
    drop(old);
    Ok((!is_same).then_some(kept))
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

/// Takes second names back, unless what lay beside the database has no other name any more.
fn forget_unless_needed(path: &Path, kept: &Path) -> Result<()> {
    let is_needed = |suffix: &&str| {
        let kept = with_suffix(kept, suffix);
        kept.exists() && !is_same_file(&with_suffix(path, suffix), &kept)
    };
    if SQLITE_COMPANIONS.iter().any(is_needed) { Ok(()) } else { forget(kept) }
}

/// Takes a second name back.
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

fn unreadable(high_water: &Path) -> String {
    format!("failed to read {}, which tells what was acknowledged: repair it, or move it away", high_water.display())
}
