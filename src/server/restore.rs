//! `policyhub restore`: replaces the embedded database by a backup.
//!
//! Invariant: at every moment the file at the path is the complete old database or the complete new one. The new database is beside
//! the old one, checked and flushed, before the old one is touched; one rename replaces it.

use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context as _, Result, ensure};

use super::backup::{CopyProgress, refuse_findings, sqlite_path};
use super::backup_check::{CheckedCopy, check};
use super::config::{Config, Settings};
use super::data_dir::{DataDir, make_private_dir};
use super::keys::ServerKeys;
use super::replace::{REPLACED, REPLACED_MAX, replace};
use super::serve::{Maintenance, database, lock_file, lock_maintenance};
use super::suspected_loss::{remember, suspected_data_loss};
use super::telemetry::Telemetry;
use super::whole_file::{NameNotFlushed, SQLITE_COMPANIONS, Unfinished, is_same_file, sync_directory_of, with_suffix};
use crate::domain::digest::Digest;
use crate::store::{CopyError, CopyState, DatabaseCopy, RememberedStore, UnverifiedRestore};

/// The suffix of the new database until it replaces the old one.
const UNFINISHED: &str = ".restoring";

/// The risks that the operator accepts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoreOptions {
    /// Accept a backup of another store than the present one, or one whose keys are missing.
    pub force: bool,
    /// Accept findings of the check of the logs.
    pub accept_findings: bool,
    /// Accept only the file with this digest.
    pub digest: Option<Digest>,
}

/// The database that was there before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OldDatabase {
    /// There was no database.
    None,
    /// It records this state of itself.
    Readable(CopyState),
    /// It could not be read, for this reason.
    Unreadable(String),
}

/// A restore that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Path of the database.
    pub database: PathBuf,
    /// The database that was there before.
    pub old: OldDatabase,
    /// The new name of the old database, or `None` when there was none or it was equal byte for byte.
    pub kept_as: Option<PathBuf>,
    /// The new name of the high-water marks of another store, if they were in the way.
    pub high_water_kept_as: Option<PathBuf>,
    /// The restored database, as it was checked.
    pub new: CheckedCopy,
    /// Digest of the backup.
    pub digest: Digest,
    /// Why the next start will suspect a data loss, if it will.
    pub doubt: Option<String>,
    /// Whether anything on this machine records which changes were acknowledged after the backup.
    pub is_witnessed: bool,
    /// The directory that must hold the keys.
    pub keys_dir: PathBuf,
}

/// Replaces the database by the backup `file`.
///
/// # Errors
/// A step failed; up to the rename the old database is unchanged.
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
    let _database_lock = lock_file(&database, &data_dir)?;
    // Keeps `policyhub migrate` and `policyhub epoch` from running meanwhile.
    let _maintenance_lock = lock_maintenance(&database, Maintenance::Changes)?;

    let (unfinished, digest) = copy(file, &path, &options, progress)?;
    progress(CopyProgress::Checking);
    let new = check(unfinished.path(), &config).await;
    let new = new.map_err(|error| blame(error, file, unfinished.path()))?;
    refuse_findings(&new, options.accept_findings)?;
    let old = look_at(&path).await?;
    let high_water = data_dir.high_water();
    let remembered = RememberedStore::read(&high_water)?;
    let remembered = remembered.as_ref().map(RememberedStore::id);
    if !options.force {
        refuse_another_store(&new.state, &old, remembered)?;
        refuse_other_keys(&new.state, &config)?;
    }

    let mark = data_dir.unwitnessed();
    // Read before this restore writes its own mark below.
    let marked = UnverifiedRestore::read(&mark)?;
    // The ends of the old logs are saved in high-water.json first: a server that was killed has not saved its last second.
    if let OldDatabase::Readable(state) = &old
        && state.store_id == new.state.store_id
        && remembered.is_none_or(|remembered| remembered == state.store_id)
    {
        remember(&path, state, &high_water).await?;
    }
    let remembered = RememberedStore::read(&high_water)?;
    let is_remembered = remembered.as_ref().is_some_and(|remembered| remembered.id() == new.state.store_id);
    let is_of_another = remembered.is_some() && !is_remembered;
    let (doubt, remembered_epoch) = match is_of_another {
        true => (None, 0),
        false => suspected_data_loss(unfinished.path(), &new.state, &high_water).await?,
    };
    let known_epoch = highest_epoch(&old, &new.state.store_id).max(remembered_epoch);
    let is_marked = marked.as_ref().is_some_and(|marked| marked.holds(&new.state.store_id, known_epoch));
    let is_witnessed = is_remembered && !is_marked && !matches!(old, OldDatabase::Unreadable(_));
    let aside = if is_of_another { Some(unused_name(&high_water)?) } else { None };
    if !is_witnessed {
        mark_unwitnessed(&mark, &new.state, known_epoch)?;
    }
    let replaced = replace(unfinished, &path, &digest).await;
    if replaced.as_ref().is_err_and(|error| !error.is::<NameNotFlushed>()) && marked.is_none() {
        // Nothing was restored, so a mark that stays would ask for a bump without need.
        let _ = fs::remove_file(&mark);
    }
    let kept_as = replaced?;
    // Last: while high-water.json is there, a server refuses to start without a database.
    if let Some(aside) = &aside {
        put_aside(&high_water, aside, kept_as.as_deref())?;
    }
    let (keys_dir, high_water_kept_as) = (config.keys.keys_dir, aside);
    Ok(Restored { database: path, old, kept_as, high_water_kept_as, new, digest, doubt, is_witnessed, keys_dir })
}

/// Returns the highest epoch that the old database records for this store, 0 when there is none.
fn highest_epoch(old: &OldDatabase, store_id: &str) -> i64 {
    match old {
        OldDatabase::Readable(state) if state.store_id == store_id => highest_epoch_of(state),
        _ => 0,
    }
}

fn highest_epoch_of(state: &CopyState) -> i64 {
    state.logs.iter().map(|log| log.head.cursor.epoch).max().unwrap_or(0)
}

/// Records on disk, before the restore, that nothing can tell which acknowledged changes it lost.
fn mark_unwitnessed(mark: &Path, new: &CopyState, known_epoch: i64) -> Result<()> {
    let epoch = highest_epoch_of(new).max(known_epoch);
    let marked = UnverifiedRestore { store: new.store_id.clone(), epoch };
    marked.write(mark).with_context(|| format!("failed to write {}", mark.display()))
}

/// Checks that the backup is a file, and not the database in use.
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

/// Copies the backup beside the database that it will replace.
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

/// Adds to an error which one failed: the backup, or the disk of its copy.
fn blame(error: anyhow::Error, backup: &Path, copy: &Path) -> anyhow::Error {
    let is_of_disk = matches!(error.downcast_ref(), Some(CopyError::Sqlite(_) | CopyError::InUse));
    error.context(match is_of_disk {
        true => format!("failed to read {}, the copy of {}", copy.display(), backup.display()),
        false => format!("{} is no backup that can be restored", backup.display()),
    })
}

/// Reads the state of the database that is to be replaced.
///
/// # Errors
/// The database may be intact but can't be read now.
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

/// Refuses other keys than those of the backup, with which the next start would fail. Missing keys are accepted, since they can be
/// put back later.
fn refuse_other_keys(new: &CopyState, config: &Config) -> Result<()> {
    let (Ok(keys), Some(wanted)) = (ServerKeys::existing(&config.keys), &new.seal_key_id) else { return Ok(()) };
    ensure!(
        keys.seal.public().key_id() == wanted,
        "the keys in {} are not those of the backup, so that no server could start on it: put its own there first, or say \
         --force",
        config.keys.keys_dir.display()
    );
    Ok(())
}

/// The high-water marks of another store could not be moved away: a server on the restored database refuses to start because of them.
#[derive(Debug, thiserror::Error)]
#[error(
    "the backup is in place of the database{}, but {} tells of another store and could not be moved away: no server starts until \
     it is; rename it, or run this again with --force: {error}",
    kept_as.as_ref().map(|kept| format!(" (the old one is {})", kept.display())).unwrap_or_default(),
    high_water.display()
)]
pub struct HighWaterInTheWay {
    high_water: PathBuf,
    kept_as: Option<PathBuf>,
    error: io::Error,
}

/// Returns an unused name for the high-water marks of another store.
fn unused_name(high_water: &Path) -> Result<PathBuf> {
    (1..=REPLACED_MAX)
        .map(|number| with_suffix(high_water, &format!("{REPLACED}{number}")))
        .find(|kept| kept.symlink_metadata().is_err())
        .with_context(|| {
            let name = high_water.display();
            format!("there are {REPLACED_MAX} files named {name}{REPLACED}… already: remove those nobody needs")
        })
}

/// Renames the high-water marks of another store: a server on the restored database would refuse to start because of them.
fn put_aside(high_water: &Path, aside: &Path, kept_as: Option<&Path>) -> Result<(), HighWaterInTheWay> {
    fs::rename(high_water, aside).and_then(|()| sync_directory_of(aside)).map_err(|error| HighWaterInTheWay {
        high_water: high_water.to_owned(),
        kept_as: kept_as.map(Path::to_owned),
        error,
    })
}
