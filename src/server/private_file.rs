//! Writes a small file for its owner alone, such as an operator's bearer token: mode 0600, replaced atomically.
//!
//! A reader sees the old text or the new one, never a part, and no other user sees either at any moment.

use std::fs::{self, File, OpenOptions};
use std::io::{Error, ErrorKind, Result, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Writes `text` and a line end to `path`, replacing what is there (a link is replaced, not followed).
///
/// Writes a new 0600 file beside it, syncs it, renames it, syncs the directory. Only one process may write one path at a time.
/// Returns the errors of the file system; none holds the text.
pub fn write(path: &Path, text: &str) -> Result<()> {
    let name = path.file_name().ok_or_else(|| Error::new(ErrorKind::InvalidInput, "the file has no name"))?;
    // The parent of a bare name is "", which can't be opened.
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut draft_name = name.to_owned();
    draft_name.push(".new");
    let draft = directory.join(draft_name);
    // A crash can leave a draft behind. `create_new` then ensures that the file is new, 0600 and no link.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("metadata").permissions().mode() & 0o777
    }

    #[test]
    fn a_token_is_private_and_replaced_whole() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("admin.token");
        write(&path, "a-long-first-token").expect("write");
        assert_eq!(mode(&path), 0o600);
        write(&path, "second").expect("write again");
        assert_eq!(fs::read_to_string(&path).expect("read"), "second\n");
        let names: Vec<_> =
            fs::read_dir(directory.path()).expect("list").map(|entry| entry.map(|e| e.file_name())).collect();
        assert_eq!(names.len(), 1, "no draft stays behind: {names:?}");
    }

    #[test]
    fn an_open_file_or_a_leftover_does_not_stay_open() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("admin.token");
        for leftover in [&path, &directory.path().join("admin.token.new")] {
            fs::write(leftover, "readable by all").expect("leftover");
            fs::set_permissions(leftover, fs::Permissions::from_mode(0o644)).expect("mode");
        }
        write(&path, "secret").expect("write");
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn links_are_replaced_not_followed() {
        let directory = tempfile::tempdir().expect("directory");
        let victim = directory.path().join("victim");
        fs::write(&victim, "untouched").expect("victim");
        let path = directory.path().join("admin.token");
        for link in [&path, &directory.path().join("admin.token.new")] {
            symlink(&victim, link).expect("link");
        }
        write(&path, "secret").expect("write");
        assert_eq!(fs::read_to_string(&victim).expect("read"), "untouched");
        assert_eq!(fs::read_to_string(&path).expect("read"), "secret\n");
    }

    #[test]
    fn a_path_without_a_name_is_an_error() {
        assert_eq!(write(Path::new("/"), "secret").map_err(|error| error.kind()), Err(ErrorKind::InvalidInput));
    }
}
