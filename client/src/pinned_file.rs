//! A file of pinned keys, read again while it is in use.
//!
//! Invariant: what is in force was a whole key set with at least one key when it was read; a file that is half written, empty
//! or gone changes nothing, and a warning says so once.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::time::Instant;

use super::durable;
use policyhub_core::signing::{JWKS_MAX_BYTES, KeySet};

/// Between two looks at the file while nothing asks for a key that it lacks. Longer: a key that was taken out is trusted for
/// longer. Shorter: a file system in the network is asked more often.
pub const PINNED_FILE_INTERVAL: Duration = Duration::from_secs(5);

/// A file of keys, a JWK Set.
#[derive(Debug)]
pub struct PinnedFile {
    path: PathBuf,
    strict: bool,
    keys: KeySet,
    /// Holds what the file held at the last look, usable or not.
    seen: Vec<u8>,
    looked: Instant,
    problem: Option<String>,
}

impl PinnedFile {
    /// Reads the keys to begin with. `strict`: the file alone says which keys are trusted; else key statements that one of them
    /// signed add to it.
    ///
    /// # Errors
    /// Fails when the file can't be read or holds no key set.
    pub fn open(path: &Path, strict: bool) -> io::Result<Self> {
        let seen = durable::read_bounded(path, JWKS_MAX_BYTES as u64)?.to_vec();
        let keys = parse(&seen).map_err(|problem| io::Error::new(io::ErrorKind::InvalidData, problem))?;
        Ok(Self { path: path.to_owned(), strict, keys, seen, looked: Instant::now(), problem: None })
    }

    /// Returns the keys of the file as it was last usable.
    #[must_use]
    pub fn keys(&self) -> &KeySet {
        &self.keys
    }

    /// Returns whether key statements are left aside.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        self.strict
    }

    /// Returns why the newest state of the file is not used; none: it is.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Looks at the file when it is time, or `at_once`. Answers the keys when they are others than before. Dropped while it
    /// waits, it changes nothing.
    pub(super) async fn look(&mut self, at_once: bool) -> Option<KeySet> {
        if !at_once && self.looked.elapsed() < PINNED_FILE_INTERVAL {
            return None;
        }
        let read = read_bounded(&self.path).await;
        self.looked = Instant::now();
        let path = self.path.display();
        let unusable = match read {
            Ok(bytes) if bytes == self.seen => return None,
            Ok(bytes) => {
                let parsed = parse(&bytes);
                self.seen = bytes;
                match parsed {
                    Ok(keys) => {
                        self.problem = None;
                        if keys == self.keys {
                            return None;
                        }
                        tracing::info!(file = %path, keys = keys.keys().len(), "the pinned keys changed");
                        self.keys = keys.clone();
                        return Some(keys);
                    }
                    Err(problem) => problem,
                }
            }
            Err(error) => error.to_string(),
        };
        let problem = format!("the keys of {path} are not used: {unusable}; those read before stand");
        if self.problem.as_ref() != Some(&problem) {
            tracing::warn!("{problem}");
            self.problem = Some(problem);
        }
        None
    }
}

fn parse(bytes: &[u8]) -> Result<KeySet, String> {
    let keys = KeySet::parse_jwks(bytes).map_err(|error| error.to_string())?;
    if keys.keys().len() == 0 { Err("it has no keys".to_owned()) } else { Ok(keys) }
}

async fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    if !tokio::fs::metadata(path).await?.is_file() {
        // Opening a pipe without a writer would block for ever.
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no regular file"));
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(JWKS_MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    tokio::fs::File::open(path).await?.take(limit).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    const OTHER: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURs"}]}"#;

    #[tokio::test]
    async fn a_file_that_is_no_use_changes_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keys.json");
        let write = |text: &str| std::fs::write(&path, text).expect("written");
        write(ONE);
        let mut file = PinnedFile::open(&path, false).expect("keys");
        let first = file.keys().clone();
        assert_eq!(file.look(true).await, None, "nothing changed");
        for bad in ["", &ONE[..40], r#"{"keys":[]}"#, "\u{0}"] {
            write(bad);
            assert_eq!(file.look(true).await, None, "{bad}");
            assert!(file.problem().is_some_and(|problem| problem.contains("keys.json")), "{:?}", file.problem());
            assert_eq!(file.keys(), &first);
        }
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(file.look(true).await, None);
        write(OTHER);
        assert_eq!(file.look(false).await, None, "it is not time yet");
        let second = file.look(true).await.expect("other keys");
        assert!(second != first && file.problem().is_none());
        std::fs::remove_file(&path).expect("removed");
        let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo runs");
        assert!(made.success());
        assert_eq!(file.look(true).await, None);
        assert!(file.problem().is_some_and(|problem| problem.contains("no regular file")), "{:?}", file.problem());
        assert!(PinnedFile::open(&path, false).is_err(), "nobody writes to the pipe");
        assert!(PinnedFile::open(&directory.path().join("absent"), false).is_err());
    }
}
