//! Files that are whole or not there, also when the machine stops in between, and that are read within bounds.
//!
//! Boundary: knows nothing of what the bytes are. Invariant: after an Ok the new bytes are on the disk under their name;
//! after anything else, a kill included, the old ones are.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use bytes::Bytes;

/// Writes a file in place of the one that is there: beside it, flushed, renamed, and the directory flushed. A second writer
/// of the same file is the caller's to keep out.
///
/// # Errors
/// Fails when the disk does. The former file is still there then.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = Path::new(&draft);
    let written = write_new(draft, bytes).and_then(|()| fs::rename(draft, path));
    if written.is_err() {
        // Remove a partial file: it would take space on a disk that may be full.
        let _ = fs::remove_file(draft);
    }
    written?;
    sync_directory_of(path)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Reads a regular file of at most `limit_bytes`.
///
/// # Errors
/// Fails when the disk does; `InvalidData` for a larger file, of which no more is read, and for what is no file: opening a pipe that
/// nobody writes to would never end.
pub fn read_bounded(path: &Path, limit_bytes: u64) -> io::Result<Bytes> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} is no regular file", path.display())));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(limit_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit_bytes {
        let what = format!("{} is larger than {limit_bytes} bytes", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(bytes.into())
}

/// Makes a rename within the directory of `path` last.
///
/// # Errors
/// Fails when the disk does.
pub fn sync_directory_of(path: &Path) -> io::Result<()> {
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_what_a_kill_left_does_not_matter() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("state.json");
        fs::write(path.with_added_extension("new"), "half of an ol").expect("written");
        for text in ["one", "a longer one", "two"] {
            replace_file(&path, text.as_bytes()).expect("replaced");
            assert_eq!(fs::read_to_string(&path).expect("there"), text);
        }
        assert_eq!(fs::read_dir(directory.path()).expect("there").count(), 1, "nothing is left beside it");
        let nowhere = directory.path().join("absent").join("state.json");
        assert!(replace_file(&nowhere, b"x").is_err());
    }
}
