//! The interface to the store's keys: verifies what was read, and signs checkpoints.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::bundle::{ActiveBundle, ActiveEntry};
use crate::domain::digest::{ActiveSetRoot, Digest};
use crate::domain::event::{Cursor, Event, Head, Payload};
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::time::Micros;
use crate::domain::version::Version;
use crate::domain::{Error, Result};
use crate::store::ActiveRow;

/// Verifies stored rows. The database is an untrusted log: everything that is served was verified by this.
pub trait Verify: Send + Sync + std::fmt::Debug {
    /// Verifies an event: the hash is that of the payload after `prev_hash`, the signature is of a known key, and the payload matches the
    /// row. Returns the payload.
    ///
    /// # Errors
    /// `DATA_LOSS`.
    fn event(&self, event: &Event) -> Result<Payload>;

    /// Verifies that the manifest is of a known key and names this version, and that the bytes are those it names. A revoked key is known:
    /// `trusted` decides whether what it signed may be served.
    ///
    /// # Errors
    /// `DATA_LOSS`.
    fn bundle(&self, version: &Version, content: &[u8]) -> Result<()>;

    /// Checks that no token is signed by a revoked key. Called whenever a token is about to be sent.
    ///
    /// # Errors
    /// `KEY_STATE_WRONG`.
    fn trusted(&self, tokens: &mut dyn Iterator<Item = &str>) -> Result<()>;

    /// Returns a number that is raised whenever the keys change: what was trusted before must be checked again. Never 0.
    fn keys_number(&self) -> u64;

    /// Returns the key statements that follow the one at this cursor, oldest first, and the cursor of the last.
    fn key_statements(&self, held: Cursor) -> (Vec<String>, Cursor);

    /// Returns active bundles, in the order of their rows, after everything about these is verified: also that each statement is of a known
    /// key and activates this version at this revision. A statement of several rows is verified once.
    ///
    /// # Errors
    /// `DATA_LOSS`.
    fn active_bundles(&self, rows: Vec<ActiveRow>) -> Result<Vec<ActiveBundle>>;

    /// Returns one active bundle, verified in the same way.
    ///
    /// # Errors
    /// `DATA_LOSS`.
    fn active_bundle(&self, row: ActiveRow) -> Result<ActiveBundle> {
        self.active_bundles(vec![row])?.pop().ok_or_else(|| Error::internal("a row without its bundle"))
    }

    /// Verifies an event, and that the namespace's row names it as the end of the log. Returns the payload.
    ///
    /// # Errors
    /// `DATA_LOSS`.
    fn head(&self, event: &Event, head: Head) -> Result<Payload> {
        let payload = self.event(event)?;
        if event.hash == head.hash && event.cursor == head.cursor {
            return Ok(payload);
        }
        Err(Error::data_loss(format!("{}: its head is not its last event", event.namespace)))
    }
}

/// Remembers that something was found trusted, and by which keys.
#[derive(Debug, Default)]
pub(super) struct Trusted(AtomicU64);

impl Trusted {
    /// Checks the same as `Verify::trusted`, once for each change of the keys.
    pub(super) fn check<'a>(&self, verify: &dyn Verify, mut tokens: impl Iterator<Item = &'a str>) -> Result<()> {
        // Read this before the check: a change of the keys meanwhile causes another check.
        let number = verify.keys_number();
        if self.0.load(Ordering::Relaxed) == number {
            return Ok(());
        }
        verify.trusted(&mut tokens)?;
        self.0.store(number, Ordering::Relaxed);
        Ok(())
    }
}

/// One entry of an active set's digest: policy, version, digest of its content.
pub type SetEntry<'a> = (&'a PolicyId, i64, &'a Digest);

/// The tree of an active set: its root, and proofs under it. Never changes.
pub trait SetTree: Send + Sync + std::fmt::Debug {
    /// Returns the root.
    fn root(&self) -> ActiveSetRoot;

    /// Returns the tree after these policies moved; none: to nothing.
    fn with(&self, moves: &[(PolicyId, Option<ActiveEntry>)]) -> Arc<dyn SetTree>;

    /// Proves the active versions of these policies.
    fn prove(&self, policies: &BTreeSet<PolicyId>) -> Vec<u8>;
}

/// Signs the state of a replica.
pub trait Attest: Send + Sync + std::fmt::Debug {
    /// Returns the digest of an active set, given in byte order of its policies.
    fn set_digest(&self, entries: &mut dyn Iterator<Item = SetEntry<'_>>) -> Digest;

    /// Returns the tree of an active set, given where each policy points: none for one that points to nothing.
    fn tree(&self, entries: &[(PolicyId, Option<ActiveEntry>)]) -> Arc<dyn SetTree>;

    /// Returns a checkpoint: as of `checked`, this is the head, with this root of its active set.
    ///
    /// # Errors
    /// `INTERNAL` when signing fails.
    fn checkpoint(&self, namespace: &NamespaceId, head: Head, root: ActiveSetRoot, checked: Micros) -> Result<String>;
}

/// Verifies and signs.
pub trait Proof: Verify + Attest {}

impl<T: Verify + Attest> Proof for T {}
