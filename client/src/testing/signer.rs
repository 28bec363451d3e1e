//! The key of the testing hub, and everything that it signs.
//!
//! Boundary: makes tokens of what it is given, by the formats of `policyhub_core::signing`; the time is a parameter.

use policyhub_core::api::pb;
use policyhub_core::domain::digest::{ActiveSetRoot, Hash};
use policyhub_core::domain::event::{Cursor, EventKind, Head, PointerChange};
use policyhub_core::domain::key::{KeyState, SIGNING_KEYS};
use policyhub_core::domain::name::NamespaceId;
use policyhub_core::domain::version::Version;
use policyhub_core::domain::{Result, time::Micros};
use policyhub_core::signing::payload::{Checkpoint, Manifest, Statement, StatementChange};
use policyhub_core::signing::{
    Algorithm, KeySet, KeyStatement, PrivateKey, StatedKey, TYP_ACTIVATION, TYP_BUNDLE, TYP_CHECKPOINT, TYP_KEYS,
    digest_of, jws,
};

/// Sets who drafts, publishes and activates in a testing hub.
pub(super) const ACTOR: &str = "local:testing-hub";
/// Sets what is given as the reason of every activation.
const REASON: &str = "a test";

/// A store's one key.
#[derive(Debug)]
pub(super) struct TestSigner {
    key: PrivateKey,
    store: String,
    checkpoint_lifetime_seconds: i64,
    key_statement: String,
    prepared_seconds: i64,
}

impl TestSigner {
    /// Makes a key, and the statement that names it.
    pub(super) fn new(store: String, checkpoint_lifetime_seconds: i64, now_seconds: i64) -> Result<Self> {
        let key = PrivateKey::from_pem(&PrivateKey::generate_pem(Algorithm::EdDsa)?)?;
        let stated = StatedKey {
            key_id: key.public().key_id().to_owned(),
            state: KeyState::Active,
            key: Some(key.public().clone()),
            prepare_time: Some(now_seconds),
            activate_time: Some(now_seconds),
            retire_time: None,
            revoke_time: None,
        };
        let Cursor { epoch, revision: serial } = Self::KEY_CURSOR;
        let (store_id, keys) = (store.clone(), vec![stated]);
        let statement = KeyStatement { store: store_id, epoch, serial, keys, prev: None, iat: now_seconds };
        let key_statement = jws::sign(TYP_KEYS, &statement.to_bytes()?, &key)?;
        Ok(Self { key, store, checkpoint_lifetime_seconds, key_statement, prepared_seconds: now_seconds })
    }

    /// Sets where the one key statement stands: its epoch and serial.
    pub(super) const KEY_CURSOR: Cursor = Cursor { epoch: 1, revision: 1 };

    pub(super) fn keys(&self) -> KeySet {
        KeySet::from_keys(vec![self.key.public().clone()])
    }

    pub(super) fn store(&self) -> &str {
        &self.store
    }

    pub(super) fn key_statement(&self) -> &str {
        &self.key_statement
    }

    /// Describes the key as ListSigningKeys answers it.
    pub(super) fn signing_key(&self) -> pb::SigningKey {
        let public = self.key.public();
        let since = Some(prost_types::Timestamp { seconds: self.prepared_seconds, nanos: 0 });
        pb::SigningKey {
            name: format!("{SIGNING_KEYS}/{}", public.key_id()),
            algorithm: public.algorithm().as_str().to_owned(),
            purpose: pb::KeyPurpose::Bundle.into(),
            state: pb::KeyState::Active.into(),
            jwk: public.to_jwk().to_string(),
            prepare_time: since,
            activate_time: since,
            ..Default::default()
        }
    }

    /// Signs what a version is.
    pub(super) fn manifest(&self, version: &Version, size: u64, now: Micros) -> Result<String> {
        let manifest = Manifest {
            store: self.store.clone(),
            namespace: version.policy.namespace.clone(),
            policy: version.policy.policy.clone(),
            version: version.number,
            label: None,
            digest: version.digest.clone(),
            size,
            content_type: version.content_type.clone(),
            author: version.author.clone(),
            publisher: version.publisher.clone(),
            annotations: version.annotations.clone(),
            requires: version.requires.clone(),
            adopted: None,
            template: None,
            iat: now.seconds(),
            origin: None,
        };
        jws::sign(TYP_BUNDLE, &manifest.to_bytes()?, &self.key)
    }

    /// Signs which pointers move at a cursor, and the root of the set after it.
    pub(super) fn statement(
        &self,
        namespace: &NamespaceId,
        (kind, at, prev): (EventKind, Cursor, Hash),
        changes: &[PointerChange],
        root: ActiveSetRoot,
        now: Micros,
    ) -> Result<String> {
        let changes = changes.iter().cloned().map(|PointerChange { policy, version, digest, previous }| {
            StatementChange { policy, version, digest, previous }
        });
        let statement = Statement {
            store: self.store.clone(),
            namespace: namespace.clone(),
            epoch: at.epoch,
            revision: at.revision,
            kind: kind.as_str().to_owned(),
            changes: changes.collect(),
            actor: ACTOR.to_owned(),
            reason_digest: digest_of(REASON.as_bytes()),
            prev,
            active_set_root: Some(root),
            iat: now.seconds(),
        };
        jws::sign(TYP_ACTIVATION, &statement.to_bytes()?, &self.key)
    }

    /// Signs that a head is the newest one.
    pub(super) fn checkpoint(
        &self,
        namespace: &NamespaceId,
        head: Head,
        root: ActiveSetRoot,
        now_seconds: i64,
    ) -> Result<String> {
        let checkpoint = Checkpoint {
            store: self.store.clone(),
            namespace: namespace.clone(),
            epoch: head.cursor.epoch,
            revision: head.cursor.revision,
            head_hash: head.hash,
            active_set_root: root,
            iat: now_seconds,
            exp: now_seconds.saturating_add(self.checkpoint_lifetime_seconds),
        };
        jws::sign(TYP_CHECKPOINT, &checkpoint.to_bytes()?, &self.key)
    }
}
