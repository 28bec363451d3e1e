//! What the server signs with: one key for bundles, statements and checkpoints, one for the seals of events.

use crate::domain::Result;
use crate::domain::digest::{Digest, Hash};
use crate::domain::event::{Change, Head};
use crate::domain::limits::CHECKPOINT_TTL_SECONDS;
use crate::domain::name::NamespaceId;
use crate::domain::time::Micros;
use crate::domain::version::Version;
use crate::signing::payload::{Checkpoint, Manifest, Statement, StatementChange};
use crate::signing::{
    KeySet, PrivateKey, PublicKey, TYP_ACTIVATION, TYP_BUNDLE, TYP_CHECKPOINT, TYP_PREVIEW, active_set_digest,
    digest_of, jws, seal,
};
use crate::watch::{Attest, SetEntry};

/// The keys, and the id of the store they sign for.
#[derive(Debug)]
pub struct Signer {
    store: String,
    key: PrivateKey,
    seal_key: PrivateKey,
    keys: KeySet,
}

impl Signer {
    /// `public` are further keys that are public: prepared or retired. The active one is added.
    #[must_use]
    pub fn new(store: String, key: PrivateKey, seal_key: PrivateKey, public: Vec<PublicKey>) -> Self {
        let mut keys = vec![key.public().clone()];
        keys.extend(public.into_iter().filter(|other| other.key_id() != key.public().key_id()));
        Self { store, key, seal_key, keys: KeySet::from_keys(keys) }
    }

    /// Id of the store.
    #[must_use]
    pub fn store(&self) -> &str {
        &self.store
    }

    /// The key that signs.
    #[must_use]
    pub fn active(&self) -> &PublicKey {
        self.key.public()
    }

    /// The key that seals.
    #[must_use]
    pub fn sealing(&self) -> &PublicKey {
        self.seal_key.public()
    }

    /// Every public key that bundles are verified with.
    #[must_use]
    pub fn keys(&self) -> &KeySet {
        &self.keys
    }

    fn sign(&self, typ: &str, payload: &[u8]) -> Result<String> {
        jws::sign(typ, payload, &self.key)
    }

    /// The manifest of a version that is being published.
    pub(super) fn manifest(&self, version: &Version, publisher: &str, now: Micros) -> Result<String> {
        self.sign(TYP_BUNDLE, &self.describe(version, publisher, now).to_bytes()?)
    }

    /// The manifest of a draft served by fallback: its own `typ`, so that nobody takes it for a bundle.
    pub(super) fn preview(&self, version: &Version, asked_by: &str, now: Micros) -> Result<String> {
        self.sign(TYP_PREVIEW, &self.describe(version, asked_by, now).to_bytes()?)
    }

    fn describe(&self, version: &Version, publisher: &str, now: Micros) -> Manifest {
        Manifest {
            store: self.store.clone(),
            namespace: version.policy.namespace.clone(),
            policy: version.policy.policy.clone(),
            version: version.number,
            label: version.label.as_ref().map(ToString::to_string),
            digest: version.digest.clone(),
            size: version.size_bytes.unsigned_abs(),
            content_type: version.content_type.clone(),
            author: version.author.clone(),
            publisher: publisher.to_owned(),
            iat: now.seconds(),
        }
    }

    /// The statement of an activation that will stand right after `head`.
    pub(super) fn statement(
        &self,
        namespace: &NamespaceId,
        head: Head,
        change: &Change,
        actor: &str,
        now: Micros,
    ) -> Result<String> {
        let cursor = head.next();
        let statement = Statement {
            store: self.store.clone(),
            namespace: namespace.clone(),
            epoch: cursor.epoch,
            revision: cursor.revision,
            kind: change.kind.as_str().to_owned(),
            changes: change
                .pointers
                .iter()
                .map(|pointer| StatementChange {
                    policy: pointer.policy.clone(),
                    version: pointer.version,
                    digest: pointer.digest.clone(),
                    previous: pointer.previous,
                })
                .collect(),
            actor: actor.to_owned(),
            reason_digest: digest_of(change.reason.as_bytes()),
            prev: head.hash,
            iat: now.seconds(),
        };
        self.sign(TYP_ACTIVATION, &statement.to_bytes()?)
    }

    /// Seals an event's hash.
    pub(super) fn seal(&self, hash: &Hash) -> Result<Vec<u8>> {
        seal(hash, &self.seal_key)
    }
}

impl Attest for Signer {
    fn set_digest(&self, entries: &mut dyn Iterator<Item = SetEntry<'_>>) -> Digest {
        active_set_digest(entries)
    }

    fn checkpoint(&self, namespace: &NamespaceId, head: Head, set: &Digest, checked: Micros) -> Result<String> {
        let checkpoint = Checkpoint {
            store: self.store.clone(),
            namespace: namespace.clone(),
            epoch: head.cursor.epoch,
            revision: head.cursor.revision,
            head_hash: head.hash,
            active_set_digest: set.clone(),
            iat: checked.seconds(),
            exp: checked.seconds() + CHECKPOINT_TTL_SECONDS,
        };
        self.sign(TYP_CHECKPOINT, &checkpoint.to_bytes()?)
    }
}
