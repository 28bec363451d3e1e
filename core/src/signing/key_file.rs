//! Key files: PKCS#8 PEM that its owner alone may read, or root's group where root gave it to us.
//!
//! Boundary: the file system and nothing else. Invariants: a key that others could have read is never used, and a path
//! never holds half a key, whoever crashes or races.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use super::private_key::PrivateKey;
use super::public_key::Algorithm;
use crate::domain::Error;
use crate::domain::digest::hex;

/// Largest key file that is read.
const KEY_FILE_MAX_BYTES: u64 = 16 * 1024;
const OWNER_ONLY: u32 = 0o600;
const GROUP_AND_OTHERS: u32 = 0o077;
/// All of it but that the group may read.
const BEYOND_GROUP_READS: u32 = 0o037;
const ROOT: u32 = 0;

/// Says why a key file can't be used. For the operator at start-up: every message names the path.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file system refused.
    #[error("{what} key file {}: {error}", path.display())]
    Io {
        /// Holds what was tried: `read`, `create`.
        what: &'static str,
        /// Says which file.
        path: PathBuf,
        /// Holds what the system says.
        error: io::Error,
    },
    /// Group or others may read or write it.
    #[error("use key file {}: its mode {mode:04o} lets others in; run chmod 600 on it", path.display())]
    Permissions {
        /// Says which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a key that can be used.
    #[error("use key file {}: {message}", path.display())]
    Malformed {
        /// Says which file.
        path: PathBuf,
        /// Holds what is wrong; never any of the text.
        message: String,
    },
    /// No key could be made.
    #[error("make a key for {}: the system gives no randomness", path.display())]
    NoRandomness {
        /// Says which file.
        path: PathBuf,
    },
}

/// Returns whether others than us may touch a file of this mode and owner. A Secret that Kubernetes mounts for a user that is not
/// root belongs to root, and its group, which is the pod's own (`fsGroup`), may read it: there is no other way in.
fn lets_others_in(mode: u32, owner: u32, ourselves: u32) -> bool {
    let closed_to = if owner == ROOT && ourselves != ROOT { BEYOND_GROUP_READS } else { GROUP_AND_OTHERS };
    mode & closed_to != 0
}

/// Reads a key. A symbolic link is followed, and the mode is that of the file it leads to.
pub fn read(path: &Path) -> Result<PrivateKey, KeyFileError> {
    let malformed = |message: String| KeyFileError::Malformed { path: path.to_owned(), message };
    PrivateKey::from_pem(&read_text(path)?).map_err(|error| malformed(error.message))
}

/// Reads the text of a key file, which is wiped when it is dropped.
pub fn read_text(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    let failed = |error| KeyFileError::Io { what: "read", path: path.to_owned(), error };
    let file = File::open(path).map_err(failed)?;
    // Check the open file, so that nobody can replace it between the check and the read.
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.mode() & 0o7777;
    if lets_others_in(mode, metadata.uid(), nix::unistd::Uid::effective().as_raw()) {
        return Err(KeyFileError::Permissions { path: path.to_owned(), mode });
    }
    let malformed = |message: String| KeyFileError::Malformed { path: path.to_owned(), message };
    // Reserve the whole capacity first: a string that grows leaves copies of the secret in memory.
    let mut text = Zeroizing::new(String::with_capacity(KEY_FILE_MAX_BYTES as usize + 1));
    file.take(KEY_FILE_MAX_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > KEY_FILE_MAX_BYTES {
        return Err(malformed(format!("it has over {KEY_FILE_MAX_BYTES} bytes")));
    }
    Ok(text)
}

/// Reads a key, or makes one in a directory that exists. Of several processes that try at once, one makes the key and
/// all answer that one. `algorithm` is for a new key: the one that is there may have the other.
pub fn read_or_create(path: &Path, algorithm: Algorithm) -> Result<PrivateKey, KeyFileError> {
    match read(path) {
        Err(KeyFileError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    make(path, algorithm)
}

/// Makes a key at a path in a directory that exists, unless there is a file by now; answers the one that is there.
fn make(path: &Path, algorithm: Algorithm) -> Result<PrivateKey, KeyFileError> {
    let no_randomness = |_: Error| KeyFileError::NoRandomness { path: path.to_owned() };
    let pem = PrivateKey::generate_pem(algorithm).map_err(no_randomness)?;
    let suffix = random_suffix().map_err(no_randomness)?;
    create(path, &suffix, &pem).map_err(|error| KeyFileError::Io { what: "create", path: path.to_owned(), error })?;
    read(path)
}

/// Makes a key in a directory that exists, in a file that has its id in its name. Answers the file too.
pub fn make_named(directory: &Path, algorithm: Algorithm) -> Result<(PathBuf, PrivateKey), KeyFileError> {
    let no_randomness = |_: Error| KeyFileError::NoRandomness { path: directory.to_owned() };
    let pem = PrivateKey::generate_pem(algorithm).map_err(no_randomness)?;
    let made = PrivateKey::from_pem(&pem).map_err(no_randomness)?;
    let path = directory.join(format!("signing-{}.pem", made.public().key_id()));
    let suffix = random_suffix().map_err(no_randomness)?;
    create(&path, &suffix, &pem).map_err(|error| KeyFileError::Io { what: "create", path: path.clone(), error })?;
    Ok((path, made))
}

/// Puts `pem` at `path`, unless something is there by now.
fn create(path: &Path, suffix: &str, pem: &str) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = directory.join(format!(".{name}.{suffix}"));
    let written = write_whole(&temporary, pem).and_then(|()| match fs::hard_link(&temporary, path) {
        // A link, unlike a rename, never replaces: the process that comes second reads the key of the first.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    // Remove the temporary file: it holds a secret that nothing needs any more.
    let removed = match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    written.and(removed)?;
    File::open(directory)?.sync_all()
}

fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn random_suffix() -> Result<String, Error> {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::internal("no randomness"))?;
    Ok(hex(&bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Barrier;

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("a directory");
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_new_key_is_the_owners_alone_and_stays_the_same() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("signing.pem");
        let made = read_or_create(&path, Algorithm::EdDsa).expect("a key");
        assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o7777, OWNER_ONLY);
        assert_eq!(names(directory.path()), ["signing.pem"]);
        let again = read_or_create(&path, Algorithm::Es256).expect("the same key");
        assert_eq!(again.public(), made.public());
        assert_eq!(read(&path).expect("the same key").public(), made.public());
    }

    #[test]
    fn what_group_or_others_may_touch_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("signing.pem");
        read_or_create(&path, Algorithm::EdDsa).expect("a key");
        for mode in [0o644, 0o640, 0o440, 0o620, 0o601, 0o604] {
            set_mode(&path, mode);
            let error = read_or_create(&path, Algorithm::EdDsa).expect_err("open to others").to_string();
            assert!(error.contains("chmod 600") && error.contains(&format!("{mode:04o}")), "{error}");
            assert!(error.contains(&path.display().to_string()), "{error}");
        }
        for mode in [0o600, 0o400] {
            set_mode(&path, mode);
            assert!(read(&path).is_ok(), "{mode:o}");
        }
    }

    #[test]
    fn the_group_of_a_mounted_secret_may_read_it() {
        let pod = 65_532;
        for (mode, owner, ourselves, refused) in [
            (0o440, ROOT, pod, false),
            (0o400, ROOT, pod, false),
            (0o640, ROOT, pod, false),
            (0o660, ROOT, pod, true),
            (0o444, ROOT, pod, true),
            (0o440, pod, pod, true),
            (0o440, ROOT, ROOT, true),
            (0o600, pod, pod, false),
        ] {
            assert_eq!(lets_others_in(mode, owner, ourselves), refused, "{mode:o} of {owner} for {ourselves}");
        }
    }

    #[test]
    fn a_key_is_made_under_its_id() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, made) = make_named(directory.path(), Algorithm::EdDsa).expect("a key");
        assert_eq!(names(directory.path()), [format!("signing-{}.pem", made.public().key_id())]);
        assert_eq!(read(&path).expect("the same key").public(), made.public());
    }

    #[test]
    fn a_link_has_the_mode_of_its_target() {
        let directory = tempfile::tempdir().expect("a directory");
        let target = directory.path().join("target.pem");
        let link = directory.path().join("link.pem");
        let made = read_or_create(&target, Algorithm::Es256).expect("a key");
        std::os::unix::fs::symlink("target.pem", &link).expect("a link");
        assert_eq!(read(&link).expect("the target").public(), made.public());
        set_mode(&target, 0o440);
        assert!(matches!(read(&link), Err(KeyFileError::Permissions { mode: 0o440, .. })));
    }

    #[test]
    fn what_is_not_a_key_is_named_and_never_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("signing.pem");
        for text in ["", "secret-canary", &"x".repeat(20_000)] {
            fs::write(&path, text).expect("a file");
            set_mode(&path, 0o600);
            let error = read_or_create(&path, Algorithm::EdDsa).expect_err("not a key").to_string();
            assert!(error.contains("signing.pem") && !error.contains("canary"), "{error}");
            assert_eq!(fs::read_to_string(&path).expect("the file"), text);
        }
        let absent = directory.path().join("no-directory").join("signing.pem");
        let error = read_or_create(&absent, Algorithm::EdDsa).expect_err("no directory").to_string();
        assert!(error.starts_with("create key file"), "{error}");
    }

    #[test]
    fn of_many_that_race_one_makes_the_key() {
        const RACERS: usize = 16;
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("signing.pem");
        let barrier = Barrier::new(RACERS);
        let mut ids: Vec<String> = std::thread::scope(|scope| {
            let race = || {
                barrier.wait();
                let key = read_or_create(&path, Algorithm::EdDsa).expect("a key");
                key.public().key_id().to_owned()
            };
            let racers: Vec<_> = (0..RACERS).map(|_| scope.spawn(race)).collect();
            racers.into_iter().map(|racer| racer.join().expect("no panic")).collect()
        });
        ids.dedup();
        assert_eq!(ids.len(), 1, "every process has the same key");
        assert_eq!(names(directory.path()), ["signing.pem"]);
    }
}
