//! The last known good set of a runtime on its disk, and the newest cursor it verified.
//!
//! A directory: `active.json` (what is in force, with every proof), `contents/` (by digest), `mark.json` (the store and the
//! newest cursor), `pins.json` (pinned keys and key statements), `lock`. Invariant: `active.json` is replaced whole, after every content it names; what is read back is not believed but
//! verified by the set it is given to.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::bundle::ActivePolicy;
use super::durable::{read_bounded, replace_file};
use super::evidence::{Evidence, ProofDocument};
use policyhub_core::api::pb;
use policyhub_core::domain::digest::Digest;
use policyhub_core::domain::event::{Cursor, Fingerprint, Position};
use policyhub_core::domain::limits::CONTENT_MAX_BYTES;
use policyhub_core::domain::name::{NamespaceId, PolicyId};
use policyhub_core::signing::{KeySet, SavedPins};

/// The format of this version.
const FORMAT: u32 = 2;
/// Largest `active.json`: 10,000 policies with ordinary manifests and statements are a tenth of it.
const SAVED_MAX_BYTES: u64 = 256 * 1024 * 1024;

/// The directory, held by this process alone.
#[derive(Debug)]
pub(super) struct Cache {
    root: PathBuf,
    /// Held open: the lock ends with it.
    _lock: File,
}

/// Holds what was in force.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Saved {
    format: u32,
    /// The store it is of.
    pub store: String,
    /// The namespace it is of.
    pub namespace: NamespaceId,
    /// The policies that were asked for; empty: all.
    pub wanted: BTreeSet<PolicyId>,
    /// Its cursor.
    pub cursor: Cursor,
    /// Says which event the server said stands there; 0: not known.
    #[serde(default)]
    fingerprint: u64,
    /// Holds what proves it.
    pub document: ProofDocument,
    /// Proves it under the root of the document, base64; empty when all policies were asked for.
    set_proof: String,
    /// The keys it was verified with, a JWK Set.
    pub jwks: Value,
    policies: Vec<SavedPolicy>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedPolicy {
    policy: PolicyId,
    version: i64,
    label: String,
    digest: Digest,
    size: i64,
    content_type: String,
    activated: Cursor,
    manifest: String,
}

/// A set that is to be saved, but for its policies.
#[derive(Debug, Clone, Copy)]
pub(super) struct SavedSet<'a> {
    /// The store it is of.
    pub store: &'a str,
    /// The namespace it is of.
    pub namespace: &'a NamespaceId,
    /// The policies that were asked for; empty: all.
    pub wanted: &'a BTreeSet<PolicyId>,
    /// Its cursor.
    pub at: Position,
    /// Holds what proves it.
    pub evidence: &'a Evidence,
    /// The keys it was verified with.
    pub keys: &'a KeySet,
}

/// The newest cursor that was verified, and of which store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// The store it is of. It outlives the set: another store is refused though the set can't be used any more.
    #[serde(default)]
    pub store: Option<String>,
    /// The cursor.
    pub newest: Cursor,
    /// Says which event the server said stands there; 0: not known.
    #[serde(default)]
    fingerprint: u64,
    /// Says whether the set in force is the one there: not so when it was rejected.
    pub same_set: bool,
}

impl Cache {
    /// Takes a directory, and makes it when it is not there.
    pub fn open(root: &Path) -> io::Result<Self> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(root.join("contents"))?;
        let lock = File::options().create(true).truncate(false).write(true).open(root.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { root: root.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                let what = format!("{} is in use, by this process or another one", root.display());
                Err(io::Error::new(io::ErrorKind::ResourceBusy, what))
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Returns what was saved last; none: nothing was.
    pub fn saved(&self) -> io::Result<Option<Saved>> {
        let saved: Option<Saved> = read_json(&self.root.join("active.json"))?;
        match saved {
            Some(saved) if saved.format != FORMAT => Err(invalid(format!("it has format {}", saved.format))),
            saved => Ok(saved),
        }
    }

    /// Returns the newest cursor; none: it was never said.
    pub fn mark(&self) -> io::Result<Option<Mark>> {
        read_json(&self.root.join("mark.json"))
    }

    /// Returns the pinned keys and the key statements that were taken; none: nothing was kept.
    pub fn pins(&self) -> io::Result<Option<SavedPins>> {
        read_json(&self.root.join("pins.json"))
    }

    /// Keeps pinned keys and key statements.
    pub fn set_pins(&self, pins: &SavedPins) -> io::Result<()> {
        replace_file(&self.root.join("pins.json"), &serde_json::to_vec(pins)?)
    }

    /// Says what the newest cursor is.
    pub fn set_mark(&self, mark: &Mark) -> io::Result<()> {
        replace_file(&self.root.join("mark.json"), &serde_json::to_vec(mark)?)
    }

    /// Returns what was saved, as a server would send it.
    pub fn snapshot(&self, saved: Saved) -> io::Result<pb::Snapshot> {
        let at = saved.position();
        let bundles = saved.policies.into_iter().map(|policy| {
            Ok(pb::Bundle {
                name: format!("{}/policies/{}/versions/{}", saved.namespace.name(), policy.policy, policy.version),
                version: policy.version,
                label: policy.label,
                digest: policy.digest.to_string(),
                size_bytes: policy.size,
                content_type: policy.content_type,
                content: read_bounded(&self.content_path(&policy.digest), CONTENT_MAX_BYTES as u64)?,
                manifest: policy.manifest,
                activation: Some(policy.activated.into()),
                preview: false,
            })
        });
        Ok(pb::Snapshot {
            bundles: bundles.collect::<io::Result<_>>()?,
            complete: true,
            cursor: Some(at.into()),
            ..Default::default()
        })
    }

    /// Saves what is in force now in place of what was.
    pub fn save<'a>(&self, header: Saved, policies: impl Iterator<Item = &'a ActivePolicy>) -> io::Result<()> {
        let mut saved = header;
        let mut named = BTreeSet::new();
        for active in policies {
            let content =
                active.content.as_ref().ok_or_else(|| invalid(format!("{} has no content", active.policy)))?;
            let path = self.content_path(&active.digest);
            // A file of that name is whole, because it was renamed. Damage since then is found when it is read.
            let is_there = fs::metadata(&path).is_ok_and(|found| found.len() == content.len() as u64);
            if !is_there {
                replace_file(&path, content)?;
            }
            named.insert(path);
            saved.policies.push(SavedPolicy {
                policy: active.policy.clone(),
                version: active.version,
                label: active.label.clone(),
                digest: active.digest.clone(),
                size: i64::try_from(content.len()).unwrap_or(i64::MAX),
                content_type: active.content_type.clone(),
                activated: active.activated,
                manifest: active.manifest.clone(),
            });
        }
        let text = serde_json::to_vec(&saved)?;
        if text.len() as u64 > SAVED_MAX_BYTES {
            return Err(invalid(format!("the set takes {} bytes without its contents", text.len())));
        }
        replace_file(&self.root.join("active.json"), &text)?;
        self.keep_contents(&named)
    }

    /// Removes contents that nothing names.
    fn keep_contents(&self, named: &BTreeSet<PathBuf>) -> io::Result<()> {
        for entry in fs::read_dir(self.root.join("contents"))? {
            let path = entry?.path();
            if !named.contains(&path) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Removes all contents: what was saved does not verify, and the next set is written anew.
    pub fn discard_contents(&self) -> io::Result<()> {
        self.keep_contents(&BTreeSet::new())
    }

    fn content_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("contents").join(digest.as_str().trim_start_matches("sha256:"))
    }
}

impl Mark {
    pub fn new(store: Option<&str>, Position { cursor, event }: Position, same_set: bool) -> Self {
        let store = store.map(str::to_owned);
        Self { store, newest: cursor, fingerprint: event.map(Fingerprint::number).unwrap_or_default(), same_set }
    }

    /// Returns the newest cursor, and the event there.
    pub fn position(&self) -> Position {
        Position { cursor: self.newest, event: Fingerprint::from_number(self.fingerprint) }
    }
}

impl Saved {
    /// Returns its cursor, and the event there.
    pub fn position(&self) -> Position {
        Position { cursor: self.cursor, event: Fingerprint::from_number(self.fingerprint) }
    }

    /// Returns what proves it.
    ///
    /// # Errors
    /// Fails when the proof can't be read.
    pub fn evidence(&self) -> io::Result<Evidence> {
        let set_proof = STANDARD.decode(&self.set_proof).map_err(|error| invalid(format!("its proof: {error}")))?;
        Ok(Evidence { document: self.document.clone(), set_proof: set_proof.into() })
    }

    /// Returns a set without its policies.
    pub fn of(set: SavedSet<'_>) -> Self {
        let SavedSet { store, namespace, wanted, at, evidence, keys } = set;
        Self {
            format: FORMAT,
            store: store.to_owned(),
            namespace: namespace.clone(),
            wanted: wanted.clone(),
            cursor: at.cursor,
            fingerprint: at.event.map(Fingerprint::number).unwrap_or_default(),
            document: evidence.document.clone(),
            set_proof: STANDARD.encode(&evidence.set_proof),
            jwks: keys.to_jwks(),
            policies: Vec::new(),
        }
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match read_bounded(path, SAVED_MAX_BYTES) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
