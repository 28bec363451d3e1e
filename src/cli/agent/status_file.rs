//! Writes the file `status.json`, also when the disk is full.
//!
//! Boundary: bytes only. Invariants: the file is replaced atomically; space for one more is reserved from the start, so that a full
//! disk does not leave an outdated status in the file.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::client::durable::{replace_file, sync_directory_of};

/// Bytes reserved: more than a status with the longest problem takes.
const SPARE_BYTES: u16 = 32 * 1024;

/// The status file, and the file that reserves space for it.
#[derive(Debug)]
pub struct StatusFile {
    path: PathBuf,
    spare: PathBuf,
}

impl StatusFile {
    /// Returns the file at `path`; `spare` reserves space and must be on the same file system.
    pub fn new(path: PathBuf, spare: PathBuf) -> Self {
        Self { path, spare }
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the file by a new one, or, when the disk is full, by the spare file.
    ///
    /// # Errors
    /// Both failed: returns the error of the new file. The former file stays.
    pub fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = replace_file(&self.path, bytes) {
            self.use_spare(bytes).map_err(|_| error)?;
        }
        // If the disk is full the spare file can't be made; the next status tries again.
        let _ = self.keep_room();
        Ok(())
    }

    /// Removes the file: no status is better than an outdated one.
    ///
    /// # Errors
    /// The disk fails.
    pub fn remove(&self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }

    /// Overwriting the spare file in place needs no space; nobody reads it before it is complete.
    fn use_spare(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = File::options().write(true).open(&self.spare)?;
        if bytes.len() as u64 > file.metadata()?.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.write_all(bytes)?;
        file.set_len(bytes.len() as u64)?;
        file.sync_all()?;
        fs::rename(&self.spare, &self.path)?;
        sync_directory_of(&self.path)
    }

    fn keep_room(&self) -> io::Result<()> {
        if fs::metadata(&self.spare).is_ok_and(|found| found.len() == u64::from(SPARE_BYTES)) {
            return Ok(());
        }
        replace_file(&self.spare, &vec![b' '; SPARE_BYTES.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_room_for_a_new_file_the_room_that_is_kept_is_used() {
        let home = tempfile::tempdir().expect("a directory");
        let (path, spare) = (home.path().join("status.json"), home.path().join("spare"));
        let file = StatusFile::new(path.clone(), spare.clone());
        file.replace(b"one").expect("written");
        assert_eq!(fs::metadata(&spare).expect("kept").len(), u64::from(SPARE_BYTES));
        // A directory in place of the draft: no new file can be written, even when the tests run as root.
        let in_the_way = path.with_added_extension("new");
        fs::create_dir(&in_the_way).expect("made");
        file.replace(b"two").expect("written");
        assert_eq!(fs::read(&path).expect("there"), b"two");
        fs::create_dir(spare.with_added_extension("new")).expect("made");
        file.replace(b"three").expect("by the room kept since");
        assert!(file.replace(b"four").is_err() && !spare.exists());
        assert_eq!(fs::read(&path).expect("there"), b"three");
        fs::remove_dir(&in_the_way).expect("removed");
        file.replace(b"five").expect("written");
        assert_eq!(fs::read(&path).expect("there"), b"five");
    }
}
