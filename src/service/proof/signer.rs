//! The signer of the server: one key for bundles, statements and checkpoints, and one for events and the key checkpoint.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::key_view::KeyView;
use super::set_tree::tree_of;
use crate::domain::bundle::ActiveEntry;
use crate::domain::digest::{ActiveSetRoot, Digest, Hash};
use crate::domain::event::{Change, Head};
use crate::domain::limits::CHECKPOINT_TTL_SECONDS;
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::time::Micros;
use crate::domain::version::Version;
use crate::domain::{Error, Reason, Result};
use crate::signing::chain::LogTrust;
use crate::signing::payload::{Checkpoint, Manifest, Origin, Statement, StatementChange};
use crate::signing::{
    KeySet, KeyStore, PrivateKey, PublicKey, TYP_ACTIVATION, TYP_BUNDLE, TYP_CHECKPOINT, TYP_PREVIEW,
    active_set_digest, digest_of, jws, not_held, sign_event_hash,
};
use crate::watch::{Attest, SetEntry, SetTree};

/// The keys, their state in the log, and the id of the store for which they sign.
#[derive(Debug)]
pub struct Signer {
    store: String,
    event_key: PrivateKey,
    private: Arc<dyn KeyStore>,
    view: RwLock<Arc<KeyView>>,
    trust: RwLock<Arc<LogTrust>>,
    publish_micros: i64,
}

impl Signer {
    /// Creates a signer that knows no signing key yet, because the log is read later. A key is public for `publish_before_use` before it
    /// signs.
    #[must_use]
    pub fn new(store: String, event_key: PrivateKey, private: Arc<dyn KeyStore>, publish_before_use: Duration) -> Self {
        let publish_micros = i64::try_from(publish_before_use.as_micros()).unwrap_or(i64::MAX);
        let seal_keys = KeySet::from_keys(vec![event_key.public().clone()]);
        let trust = LogTrust { store: store.clone(), keys: KeySet::default(), seal_keys };
        let (view, trust) = (RwLock::default(), RwLock::new(Arc::new(trust)));
        Self { store, event_key, private, view, trust, publish_micros }
    }

    /// Returns how long a key is public before it signs, in microseconds.
    pub fn publish_micros(&self) -> i64 {
        self.publish_micros
    }

    /// Returns the id of the store.
    #[must_use]
    pub fn store(&self) -> &str {
        &self.store
    }

    /// Returns the public key that verifies events.
    #[must_use]
    pub fn event_key(&self) -> &PublicKey {
        self.event_key.public()
    }

    /// Returns the signing keys in the log, as far as it was read.
    pub fn view(&self) -> Arc<KeyView> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the known signing keys.
    pub fn install(&self, view: KeyView) {
        let trust = LogTrust { keys: view.known().clone(), ..LogTrust::clone(&self.trust()) };
        *self.trust.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(trust);
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
    }

    /// Returns the keys that verify the logs of this store, including revoked ones: the signatures of events prove what they signed.
    pub fn trust(&self) -> Arc<LogTrust> {
        Arc::clone(&self.trust.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the store of the private signing keys.
    pub fn private(&self) -> &Arc<dyn KeyStore> {
        &self.private
    }

    /// Checks that this replica can sign: it holds the active key.
    ///
    /// # Errors
    /// `SIGNING_UNAVAILABLE`.
    pub fn check_holds_active(&self) -> Result<()> {
        let view = self.view();
        let Some(active) = view.active() else {
            return Err(Error::new(Reason::SigningUnavailable, "the store has no active signing key"));
        };
        if self.private.holds(active.key_id()) { Ok(()) } else { Err(not_held(active.key_id())) }
    }

    pub(super) fn sign(&self, typ: &str, payload: &[u8]) -> Result<String> {
        let view = self.view();
        let missing = || Error::new(Reason::SigningUnavailable, "the store has no active signing key");
        let active = view.active().ok_or_else(missing)?;
        self.private.sign(active.key_id(), typ, payload)
    }

    /// Signs a manifest again, with the active key.
    pub fn sign_again(&self, manifest: &Manifest) -> Result<String> {
        self.sign(TYP_BUNDLE, &manifest.to_bytes()?)
    }

    /// Signs the manifest of a version that is being published.
    pub fn manifest(&self, version: &Version, publisher: &str, now: Micros) -> Result<String> {
        self.sign(TYP_BUNDLE, &self.describe(version, publisher, now).to_bytes()?)
    }

    /// Signs the manifest of a version that another store published, with the publisher it names.
    pub fn imported_manifest(&self, version: &Version, origin: Origin, now: Micros) -> Result<String> {
        let described = self.describe(version, &version.publisher, now);
        self.sign(TYP_BUNDLE, &Manifest { origin: Some(origin), ..described }.to_bytes()?)
    }

    /// Signs the manifest of a draft served by fallback, with its own `typ`, so that no client accepts it as a bundle.
    pub fn preview(&self, version: &Version, asked_by: &str, now: Micros) -> Result<String> {
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
            annotations: version.annotations.clone(),
            requires: version.requires.clone(),
            adopted: version.adopted.clone(),
            template: version.template.clone(),
            iat: now.seconds(),
            origin: None,
        }
    }

    /// Signs the statement of an activation right after `head`.
    pub fn statement(
        &self,
        namespace: &NamespaceId,
        head: Head,
        change: &Change,
        root: ActiveSetRoot,
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
            active_set_root: Some(root),
            iat: now.seconds(),
        };
        self.sign(TYP_ACTIVATION, &statement.to_bytes()?)
    }

    /// Signs a token with the event key. It can't be taken for the signature of an event: that is over 32 bytes, and the input of a JWS is
    /// longer (RFC 7515, section 5.1).
    pub(super) fn sign_with_event_key(&self, typ: &str, payload: &[u8]) -> Result<String> {
        jws::sign(typ, payload, &self.event_key)
    }

    /// Signs the hash of an event.
    pub fn sign_event_hash(&self, hash: &Hash) -> Result<Vec<u8>> {
        sign_event_hash(hash, &self.event_key)
    }
}

impl Attest for Signer {
    fn set_digest(&self, entries: &mut dyn Iterator<Item = SetEntry<'_>>) -> Digest {
        active_set_digest(entries)
    }

    fn tree(&self, entries: &[(PolicyId, Option<ActiveEntry>)]) -> Arc<dyn SetTree> {
        Arc::new(tree_of(entries))
    }

    fn checkpoint(&self, namespace: &NamespaceId, head: Head, root: ActiveSetRoot, checked: Micros) -> Result<String> {
        let checkpoint = Checkpoint {
            store: self.store.clone(),
            namespace: namespace.clone(),
            epoch: head.cursor.epoch,
            revision: head.cursor.revision,
            head_hash: head.hash,
            active_set_root: root,
            iat: checked.seconds(),
            exp: checked.seconds() + CHECKPOINT_TTL_SECONDS,
        };
        self.sign(TYP_CHECKPOINT, &checkpoint.to_bytes()?)
    }
}
