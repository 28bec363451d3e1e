//! What the server signs with: one key for bundles, statements and checkpoints, one for the seals of events.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::active_sets::tree_of;
use super::key_view::KeyView;
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
    active_set_digest, digest_of, not_held, sign_event_hash,
};
use crate::watch::{Attest, SetEntry, SetTree};

/// The keys, what the log says of them, and the id of the store they sign for.
#[derive(Debug)]
pub struct Signer {
    store: String,
    seal_key: PrivateKey,
    private: Arc<dyn KeyStore>,
    view: RwLock<Arc<KeyView>>,
    trust: RwLock<Arc<LogTrust>>,
    publish_micros: i64,
}

impl Signer {
    /// A signer that knows no signing key yet: the log is read later. A key is public for `publish_before_use` before it
    /// signs.
    #[must_use]
    pub fn new(store: String, seal_key: PrivateKey, private: Arc<dyn KeyStore>, publish_before_use: Duration) -> Self {
        let publish_micros = i64::try_from(publish_before_use.as_micros()).unwrap_or(i64::MAX);
        let seal_keys = KeySet::from_keys(vec![seal_key.public().clone()]);
        let trust = LogTrust { store: store.clone(), keys: KeySet::default(), seal_keys };
        let (view, trust) = (RwLock::default(), RwLock::new(Arc::new(trust)));
        Self { store, seal_key, private, view, trust, publish_micros }
    }

    /// How long a key is public before it signs, in microseconds.
    pub(super) fn publish_micros(&self) -> i64 {
        self.publish_micros
    }

    /// Id of the store.
    #[must_use]
    pub fn store(&self) -> &str {
        &self.store
    }

    /// The key that seals.
    #[must_use]
    pub fn sealing(&self) -> &PublicKey {
        self.seal_key.public()
    }

    /// What the log says of the signing keys, as far as it was read.
    pub(super) fn view(&self) -> Arc<KeyView> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes over what the log says now.
    pub(super) fn install(&self, view: KeyView) {
        let trust = LogTrust { keys: view.known().clone(), ..LogTrust::clone(&self.trust()) };
        *self.trust.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(trust);
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
    }

    /// Whom the logs of this store are believed: also keys that were revoked since, for the seals prove what they signed.
    pub(super) fn trust(&self) -> Arc<LogTrust> {
        Arc::clone(&self.trust.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where the private signing keys are.
    pub(super) fn private(&self) -> &Arc<dyn KeyStore> {
        &self.private
    }

    /// Whether this replica can sign: it holds the key that is active.
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

    fn sign(&self, typ: &str, payload: &[u8]) -> Result<String> {
        let view = self.view();
        let missing = || Error::new(Reason::SigningUnavailable, "the store has no active signing key");
        let active = view.active().ok_or_else(missing)?;
        self.private.sign(active.key_id(), typ, payload)
    }

    /// A manifest that says what one before it said, by the key that is active now.
    pub(super) fn sign_again(&self, manifest: &Manifest) -> Result<String> {
        self.sign(TYP_BUNDLE, &manifest.to_bytes()?)
    }

    /// The manifest of a version that is being published.
    pub(super) fn manifest(&self, version: &Version, publisher: &str, now: Micros) -> Result<String> {
        self.sign(TYP_BUNDLE, &self.describe(version, publisher, now).to_bytes()?)
    }

    /// The manifest of a version that another store published, by the publisher it names.
    pub(super) fn imported_manifest(&self, version: &Version, origin: Origin, now: Micros) -> Result<String> {
        let described = self.describe(version, &version.publisher, now);
        self.sign(TYP_BUNDLE, &Manifest { origin: Some(origin), ..described }.to_bytes()?)
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
            annotations: version.annotations.clone(),
            adopted: version.adopted.clone(),
            iat: now.seconds(),
            origin: None,
        }
    }

    /// The statement of an activation that will stand right after `head`.
    pub(super) fn statement(
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

    /// Seals an event's hash.
    pub(super) fn seal(&self, hash: &Hash) -> Result<Vec<u8>> {
        sign_event_hash(hash, &self.seal_key)
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
