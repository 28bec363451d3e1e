//! A disk that loses what was not synced: a shim between the server and the C library, and the power cut itself.
//!
//! The shim (`power_cut.c`) is built by the machine's C compiler when the harness starts. Boundary: SQLite's files only, not keys and
//! tokens.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

/// The directory of a run's shims, set at their first use.
static SHIMS: OnceLock<PathBuf> = OnceLock::new();
/// Lets one shim be built at a time.
static BUILDING: Mutex<()> = Mutex::new(());

/// Returns the path of a shim, built once per run.
pub fn shim(name: &str) -> PathBuf {
    let directory = SHIMS.get_or_init(|| tempfile::tempdir().expect("a temporary directory").keep());
    let object = directory.join(format!("{name}.so"));
    let _building = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    if !object.exists() {
        let source = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults")).join(format!("{name}.c"));
        let flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"];
        let built = Command::new("cc").args(flags).arg(&object).arg(source).status();
        assert!(built.expect("a C compiler, `cc`").success(), "failed to build the shim {name}");
    }
    object
}

/// Removes what was built.
pub fn tidy_up() {
    if let Some(directory) = SHIMS.get() {
        let _ = fs::remove_dir_all(directory);
    }
}

/// The disk under one SQLite database.
#[derive(Debug)]
pub struct Disk {
    database: PathBuf,
    durable: PathBuf,
}

impl Disk {
    /// Returns a disk for a database that does not exist yet; the copies are kept in `durable`.
    pub fn new(database: PathBuf, durable: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&durable)?;
        Ok(Self { database, durable })
    }

    /// Makes a server use this disk. Returns the shim to preload, before any that may refuse a flush, because a refused flush must not
    /// count.
    pub fn mount(&self, server: &mut Command) -> String {
        server.env("POWER_CUT_WATCHED", &self.database).env("POWER_CUT_DURABLE", &self.durable);
        shim("power_cut").display().to_string()
    }

    /// Sets the files to what the disk holds when power comes back. The server must be stopped. Returns how many files lost bytes.
    pub fn cut(&self) -> io::Result<usize> {
        let mut lost = 0;
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let with = |path: &Path| {
                let mut name = path.file_name().unwrap_or_default().to_owned();
                name.push(suffix);
                name
            };
            let file = self.database.with_file_name(with(&self.database));
            let copy = self.durable.join(with(&self.database));
            // The index of the write-ahead log is shared memory: it is never synced, and is made again.
            let counts = suffix != "-shm";
            match (fs::read(&file).ok(), fs::read(&copy).ok()) {
                (held, Some(synced)) => {
                    lost += usize::from(counts && held.as_ref() != Some(&synced));
                    fs::write(&file, synced)?;
                }
                (Some(held), None) => {
                    lost += usize::from(counts && !held.is_empty());
                    fs::remove_file(&file)?;
                }
                (None, None) => {}
            }
        }
        Ok(lost)
    }

    /// Takes the current files as durable: whoever put them there has synced them. The server must be stopped.
    pub fn adopt(&self) -> io::Result<()> {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let mut name = self.database.file_name().unwrap_or_default().to_owned();
            name.push(suffix);
            let (file, copy) = (self.database.with_file_name(&name), self.durable.join(&name));
            if file.exists() {
                fs::copy(file, copy)?;
            } else if copy.exists() {
                fs::remove_file(copy)?;
            }
        }
        Ok(())
    }

    /// Returns whether the shim saw a sync: a server that syncs without it would prove nothing.
    pub fn was_synced(&self) -> bool {
        self.durable.join(self.database.file_name().unwrap_or_default()).exists()
    }
}
