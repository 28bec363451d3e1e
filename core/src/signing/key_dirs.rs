//! Signing keys in directories: every `signing-*.pem` of each, the first directory that can be written for new ones.
//!
//! A directory may be a mounted Secret, whose files change under their names: `look` reads it again. Invariants: a key that
//! was read once can sign until the process ends, so a look at half a directory takes none away; a file that can't be used
//! is named in the log and costs no other key.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use super::jws;
use super::key_file::{self, KeyFileError};
use super::key_store::KeyStore;
use super::private_key::PrivateKey;
use super::public_key::{Algorithm, PublicKey};
use crate::domain::{Error, Reason, Result};

/// Most key files of one directory that are read: more are no keys of ours.
const FILES_MAX: usize = 1_000;

/// Keys in files.
#[derive(Debug)]
pub struct KeyDirs {
    dirs: Vec<PathBuf>,
    keys: RwLock<BTreeMap<String, Arc<PrivateKey>>>,
}

impl KeyDirs {
    /// Reads the directories, new keys going to the first of them that takes some.
    ///
    /// # Errors
    /// For a directory that can't be listed, and for the first key file that can't be used.
    pub fn open(dirs: Vec<PathBuf>) -> Result<Self, KeyFileError> {
        let opened = Self { dirs, keys: RwLock::default() };
        for dir in &opened.dirs {
            for path in files(dir)? {
                opened.keep(key_file::read(&path)?);
            }
        }
        Ok(opened)
    }

    fn take(&self, read: Result<PrivateKey, KeyFileError>) {
        match read {
            Ok(key) => self.keep(key),
            Err(error) => tracing::error!(%error, "failed to use a key file"),
        }
    }

    fn keep(&self, key: PrivateKey) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.entry(key.public().key_id().to_owned()).or_insert_with(|| Arc::new(key));
    }

    fn find(&self, key_id: &str) -> Option<Arc<PrivateKey>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).get(key_id).cloned()
    }

    fn public(&self) -> Vec<PublicKey> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.values().map(|key| key.public().clone()).collect()
    }
}

impl KeyStore for KeyDirs {
    fn holds(&self, key_id: &str) -> bool {
        self.find(key_id).is_some()
    }

    fn sign(&self, key_id: &str, typ: &str, payload: &[u8]) -> Result<String> {
        let key = self.find(key_id).ok_or_else(|| not_held(key_id))?;
        jws::sign(typ, payload, &key)
    }

    fn look(&self) -> Result<Vec<PublicKey>> {
        for dir in &self.dirs {
            match files(dir) {
                Ok(files) => files.iter().map(|path| key_file::read(path)).for_each(|read| self.take(read)),
                Err(error) => self.take(Err(error)),
            }
        }
        Ok(self.public())
    }

    fn make(&self, algorithm: Algorithm) -> Result<PublicKey> {
        let mut refused = None;
        for dir in &self.dirs {
            match make(dir, algorithm) {
                Ok(key) => {
                    let public = key.public().clone();
                    self.keep(key);
                    return Ok(public);
                }
                Err(error) => refused = Some(error),
            }
        }
        Err(refused.map_or_else(|| Error::internal("there is no key directory"), |error| unavailable(&error)))
    }
}

/// Makes a key file. The first key of an algorithm has the algorithm's name; further ones have their ids.
fn make(dir: &Path, algorithm: Algorithm) -> Result<PrivateKey, KeyFileError> {
    let plain = dir.join(format!("signing-{}.pem", algorithm.as_str().to_lowercase()));
    if plain.symlink_metadata().is_err() {
        return key_file::read_or_create(&plain, algorithm);
    }
    key_file::make_named(dir, algorithm).map(|(_, key)| key)
}

/// Returns the key files of a directory, in the order of their names.
fn files(dir: &Path) -> Result<Vec<PathBuf>, KeyFileError> {
    let failed = |error| KeyFileError::Io { what: "read", path: dir.to_owned(), error };
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("signing-") && name.ends_with(".pem") && files.len() < FILES_MAX {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// Returns the error for a key whose private half is not here.
#[must_use]
pub fn not_held(key_id: &str) -> Error {
    let message = format!("this replica does not hold the signing key {key_id}; it writes nothing until it does");
    Error::new(Reason::SigningUnavailable, message).with("key_id", key_id)
}

fn unavailable(error: &KeyFileError) -> Error {
    // Paths are only for the operator's log.
    Error {
        internal: Some(error.to_string()),
        ..Error::new(Reason::SigningUnavailable, "the key directories of this replica can't be used")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::{KeySet, TYP_BUNDLE};

    #[test]
    fn keys_of_every_directory_sign_and_come_without_a_restart() {
        let [one, two] = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
        let dirs = KeyDirs::open(vec![one.path().into(), two.path().into()]).expect("no keys");
        assert!(dirs.look().expect("a look").is_empty());
        let first = dirs.make(Algorithm::EdDsa).expect("a key");
        let second = dirs.make(Algorithm::EdDsa).expect("another");
        assert!(one.path().join("signing-eddsa.pem").exists());
        assert!(one.path().join(format!("signing-{}.pem", second.key_id())).exists());

        let away = tempfile::tempdir().expect("a directory");
        let (path, third) = key_file::make_named(away.path(), Algorithm::Es256).expect("a key");
        assert!(!dirs.holds(third.public().key_id()));
        assert_eq!(
            dirs.sign(third.public().key_id(), TYP_BUNDLE, b"x").expect_err("away").reason,
            Reason::SigningUnavailable
        );
        // As a Secret changes: what the names lead to is swapped.
        std::os::unix::fs::symlink(&path, two.path().join("signing-next.pem")).expect("a link");
        assert_eq!(dirs.look().expect("a look").len(), 3);
        for key in [first, second, third.public().clone()] {
            let token = dirs.sign(key.key_id(), TYP_BUNDLE, b"x").expect("a token");
            assert!(jws::verify(&token, TYP_BUNDLE, &KeySet::from_keys(vec![key])).is_ok());
        }
    }

    #[test]
    fn a_file_that_can_not_be_used_costs_no_other() {
        let dir = tempfile::tempdir().expect("a directory");
        let dirs = KeyDirs::open(vec![dir.path().into()]).expect("no keys");
        let key = dirs.make(Algorithm::EdDsa).expect("a key");
        fs::write(dir.path().join("signing-aaa.pem"), "no key").expect("a file");
        assert_eq!(dirs.look().expect("a look"), std::slice::from_ref(&key));
        fs::remove_file(dir.path().join("signing-eddsa.pem")).expect("a file");
        assert!(dirs.look().is_ok() && dirs.holds(key.key_id()), "a Secret in the middle of its change");
        assert!(KeyDirs::open(vec![dir.path().into()]).is_err(), "at the start it is refused");
    }

    #[test]
    fn a_directory_that_takes_no_key_is_passed_over() {
        let [gone, dir] = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
        let dirs = KeyDirs::open(vec![gone.path().into(), dir.path().into()]).expect("no keys");
        drop(gone);
        dirs.make(Algorithm::EdDsa).expect("a key in the second");
        assert!(dir.path().join("signing-eddsa.pem").exists());
        assert_eq!(dirs.look().expect("a look").len(), 1);
    }
}
