//! `policyhub backup`: copies the embedded database, while servers write or not. The copy is checked before it gets its name.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::backup_check::{CheckedCopy, LogCheckOutcome, check};
use super::config::Settings;
use super::data_dir::high_water;
use super::serve::database;
use super::suspected_loss::suspected_data_loss;
use super::telemetry::Telemetry;
use super::whole_file::{SQLITE_COMPANIONS, Unfinished, digest_of, is_same_file, with_suffix};
use crate::domain::digest::Digest;
use crate::store::{CopyState, Database, DatabaseCopy};

/// The suffix of a backup until it is checked.
const UNFINISHED: &str = ".unfinished";
/// The first bytes of every SQLite database (SQLite file format, 1.2).
const SQLITE_HEADER: &[u8] = b"SQLite format 3\0";
/// Suffix of the temporary copy of the high-water marks beside a backup, made before the backup starts.
const SEEN_BEFORE: &str = ".seen";
/// Time between two reports of the progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);
/// The manual of the backups of PostgreSQL.
const MANUAL: &str = "docs/operations/backup.md";

/// The progress of a backup or a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyProgress {
    /// Bytes copied, and bytes in total.
    Copied(u64, u64),
    /// The copy is being checked.
    Checking,
}

/// How a backup treats findings, and a file that exists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BackupOptions {
    /// Replace a former backup of that name.
    pub overwrite: bool,
    /// Keep the backup even if the check of the logs has findings.
    pub accept_findings: bool,
}

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupMade {
    /// The checked copy, and its state.
    pub checked: CheckedCopy,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Digest of the file.
    pub digest: Digest,
    /// The directory of the keys, which the backup does not contain.
    pub keys_dir: PathBuf,
    /// The directory of `high-water.json`, which the backup does not contain.
    pub data_dir: PathBuf,
}

/// Writes a backup to `file`.
///
/// # Errors
/// The backup can't be made complete or does not pass its checks; then no file is left.
pub async fn backup(
    settings: Settings,
    file: &Path,
    options: BackupOptions,
    progress: &(dyn Fn(CopyProgress) + Sync),
) -> Result<BackupMade> {
    let config = settings.load()?;
    let _telemetry = Telemetry::start(&config.telemetry)?;
    let source = sqlite_path(&database(&config.storage)?, "backup")?;
    ensure!(source.is_file(), "there is no database at {}: give --data-dir or --database-url", source.display());
    ensure!(!file.is_dir(), "failed to write {}: it is a directory", file.display());
    ensure!(!is_same_file(file, &source), "failed to write {}: it is the database itself", file.display());
    for suffix in SQLITE_COMPANIONS {
        ensure!(
            !is_name_of(file, &with_suffix(&source, suffix)),
            "failed to write {}: SQLite keeps a part of the database under that name",
            file.display()
        );
    }
    check_replaceable(file, options.overwrite)?;
    // Read before the database: the copy must contain what servers saw until now.
    let seen = SeenBefore::read(&high_water(&config.storage.data_dir), file)?;

    let unfinished = Unfinished::make(with_suffix(file, UNFINISHED))?;
    let failed = || format!("failed to write {}", file.display());
    copy(&source, unfinished.path(), progress).await.with_context(failed)?;
    progress(CopyProgress::Checking);
    let checked = check(unfinished.path(), &config).await.context("the copy of the database does not hold")?;
    refuse_findings(&checked, options.accept_findings)?;
    if let Some(doubt) = seen.contradicts(unfinished.path(), &checked.state).await? {
        ensure!(
            options.accept_findings,
            "the database lacks what its server has seen: {doubt}. Look into it first (`policyhub epoch show`), and keep the backups \
             from before; --accept-findings makes one of what is left"
        );
    }
    let digest = digest_of(&mut File::open(unfinished.path())?).with_context(failed)?;
    let bytes = unfinished.path().metadata().with_context(failed)?.len();
    unfinished.put(file).with_context(failed)?;
    let (keys_dir, data_dir) = (config.keys.keys_dir, config.storage.data_dir);
    Ok(BackupMade { checked, bytes, digest, keys_dir, data_dir })
}

/// Checks that only a former backup is replaced: never a key, a token, a lock or a device.
fn check_replaceable(file: &Path, overwrite: bool) -> Result<()> {
    let Ok(there) = file.symlink_metadata() else { return Ok(()) };
    ensure!(overwrite, "failed to write {}: it is there already; --force replaces it", file.display());
    let is_backup = || -> io::Result<bool> {
        let mut head = Vec::new();
        File::open(file)?.take(SQLITE_HEADER.len() as u64).read_to_end(&mut head)?;
        Ok(head == SQLITE_HEADER)
    };
    ensure!(
        there.is_file() && is_backup().with_context(|| format!("failed to read {}", file.display()))?,
        "failed to write {}: --force replaces a former backup alone, and this is something else; choose another name",
        file.display()
    );
    Ok(())
}

/// A temporary copy of the high-water marks of a data directory, made before the database is copied.
struct SeenBefore(Option<PathBuf>);

impl SeenBefore {
    fn read(high_water: &Path, file: &Path) -> Result<Self> {
        if !high_water.is_file() {
            return Ok(Self(None));
        }
        let kept = with_suffix(file, SEEN_BEFORE);
        std::fs::copy(high_water, &kept)
            .with_context(|| format!("failed to copy {} to {}", high_water.display(), kept.display()))?;
        Ok(Self(Some(kept)))
    }

    /// Returns why the copy lacks some of it, if so.
    async fn contradicts(&self, copy: &Path, state: &CopyState) -> Result<Option<String>> {
        match &self.0 {
            Some(kept) => Ok(suspected_data_loss(copy, state, kept).await?.0),
            None => Ok(None),
        }
    }
}

impl Drop for SeenBefore {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.as_ref().map(std::fs::remove_file) {
            tracing::warn!(%error, "failed to remove a copy of high-water.json");
        }
    }
}

/// Returns whether two paths are the same name, also for a file that does not exist.
fn is_name_of(one: &Path, other: &Path) -> bool {
    let directory = |path: &Path| path.parent().filter(|parent| !parent.as_os_str().is_empty()).map(Path::to_owned);
    let here = || PathBuf::from(".");
    let (one_in, other_in) = (directory(one).unwrap_or_else(here), directory(other).unwrap_or_else(here));
    is_same_file(one, other) || (one.file_name() == other.file_name() && is_same_file(&one_in, &other_in))
}

/// Copies the database, and reports the progress.
async fn copy(source: &Path, to: &Path, progress: &(dyn Fn(CopyProgress) + Sync)) -> Result<()> {
    let live = DatabaseCopy::open_live(source).await?;
    let total = live.size_bytes().await?;
    let written = {
        let mut writing = std::pin::pin!(live.write_to(to));
        loop {
            tokio::select! {
                written = &mut writing => break written,
                () = tokio::time::sleep(PROGRESS_INTERVAL) => {
                    let done = to.metadata().map_or(0, |found| found.len());
                    progress(CopyProgress::Copied(done.min(total), total));
                }
            }
        }
    };
    live.close().await;
    Ok(written?)
}

/// Returns the file of the embedded database, and refuses PostgreSQL, which has its own tools.
pub(super) fn sqlite_path(database: &Database, command: &str) -> Result<PathBuf> {
    match database {
        Database::Sqlite { path } => Ok(path.clone()),
        Database::Postgres { .. } => bail!(
            "policyhub {command} is for the embedded database (SQLite), and this one is PostgreSQL: use pg_dump and \
             pg_restore, or a base backup with archived WAL, as {MANUAL} shows"
        ),
    }
}

/// Refuses a copy whose logs do not verify, unless that is accepted.
pub(super) fn refuse_findings(checked: &CheckedCopy, accept: bool) -> Result<()> {
    let LogCheckOutcome::Checked(findings) = &checked.logs else { return Ok(()) };
    ensure!(
        accept || findings.is_empty(),
        "the check of its logs finds what does not hold ({}):\n  {}\nit is what a server would find too; \
         --accept-findings goes on all the same",
        findings.len(),
        findings.join("\n  ")
    );
    Ok(())
}
