//! Small files of this server beside the database: read as a whole, and written as a whole and synced.

use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Reads a document; none when there is no such file.
pub(in crate::store) fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    Ok(read_file(path)?.map(|bytes| serde_json::from_slice(&bytes)).transpose()?)
}

/// Reads a file; none when there is no such file.
pub(in crate::store) fn read_file(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::metadata(path) {
        // Reading a pipe or a device would never end.
        Ok(found) if !found.is_file() => return Err(io::Error::other("it is not a file")),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    std::fs::read(path).map(Some)
}

/// Writes a file: it is replaced atomically, and survives a power loss.
pub(in crate::store) fn write_json<T: Serialize>(path: &Path, kept: &T) -> io::Result<()> {
    let new = path.with_extension("json.new");
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Create a new file only: opening an existing pipe of that name would wait for a reader.
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(&serde_json::to_vec(kept)?)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}
