//! Signing keys: the public ones for verifiers, and PrepareSigningKey and ActivateSigningKey.

use super::key_view::KeyView;
use super::signer::Signer;
use super::write::Write;
use super::{Context, Service};
use crate::domain::command::{ActivateKey, PrepareKey};
use crate::domain::event::{Change, Cursor, EventKind};
use crate::domain::filter::Filter;
use crate::domain::key::{KeyChange, KeyInfo, KeyPurpose, KeyRecord, KeyState};
use crate::domain::lifecycle::check_note;
use crate::domain::name::NamespaceId;
use crate::domain::outcome::KeyChanged;
use crate::domain::time::Micros;
use crate::domain::{Error, Reason, Result};
use crate::signing::{Algorithm, KeyStore, PublicKey};

/// What an event says of a key that is new.
pub(super) fn introduced(key: &PublicKey) -> KeyChange {
    KeyChange {
        key_id: key.key_id().to_owned(),
        algorithm: Some(key.algorithm().as_str().to_owned()),
        jwk: Some(key.to_jwk().to_string()),
        statement: None,
    }
}

impl Service {
    /// The public keys that a filter keeps, those that sign first and those that were revoked last.
    #[must_use]
    pub fn keys(&self, wanted: &Filter<KeyInfo>) -> Vec<KeyInfo> {
        let view = self.signer.view();
        let mut keys: Vec<KeyInfo> = view.ring().records().map(|record| self.key_info(record.clone())).collect();
        keys.push(KeyInfo { record: self.seal_record(), purpose: KeyPurpose::Seal, ready_time: None });
        keys.retain(|key| wanted.keeps(key));
        keys.sort_by_key(|info| (info.record.state == KeyState::Revoked, info.record.state != KeyState::Active));
        keys
    }

    /// A signing key as it is told.
    #[must_use]
    pub fn key_info(&self, record: KeyRecord) -> KeyInfo {
        let is_prepared = record.state == KeyState::Prepared;
        let ready_time = is_prepared.then(|| record.ready_time(self.signer.publish_micros()));
        KeyInfo { record, purpose: KeyPurpose::Bundle, ready_time }
    }

    fn seal_record(&self) -> KeyRecord {
        let key = self.signer.sealing();
        KeyRecord {
            key_id: key.key_id().to_owned(),
            algorithm: key.algorithm().as_str().to_owned(),
            jwk: key.to_jwk().to_string(),
            state: KeyState::Active,
            prepare_time: Micros::default(),
            activate_time: None,
            retire_time: None,
            revoke_time: None,
            revision: 0,
        }
    }

    /// The keys that bundles are verified with, as JWKS (RFC 7517 §5).
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        self.signer.view().trusted().to_jwks()
    }

    /// The key statements that lead from older keys to those of now, oldest first.
    #[must_use]
    pub fn key_statements(&self) -> Vec<String> {
        self.signer.view().statements_after(Cursor::NONE).map(str::to_owned).collect()
    }

    /// Makes a key public that will sign later: one whose file is there and unknown, or a new one.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `LIMIT_EXCEEDED`, `SIGNING_UNAVAILABLE`.
    pub async fn prepare_key(&self, context: &Context, request: PrepareKey) -> Result<KeyChanged> {
        let algorithm = Algorithm::parse(&request.algorithm)
            .map_err(|_| Error::invalid_text("algorithm", &request.algorithm, "must be \"EdDSA\" or \"ES256\""))?;
        let call = self.call(context, "PrepareSigningKey", &request)?;
        if let Some(answer) = call.replayed(&self.store.read().await?).await? {
            return Ok(answer);
        }
        self.follow_keys(context.now).await?;
        let view = self.signer.view();
        view.ring().check_room()?;
        let key = self.apart(move |private| unknown_key(private, algorithm, &view)).await?;
        let changed = call
            .mutate_unsigned(&NamespaceId::system(), async |write| {
                let view = self.key_view(write).await?;
                view.ring().check_room()?;
                if view.ring().get(key.key_id()).is_ok() {
                    return Err(Error::new(Reason::ConcurrentChange, "somebody else prepared this key; try again"));
                }
                let mut change = Change::new(EventKind::PrepareSigningKey, None);
                change_key(write, &self.signer, &view, &mut change, introduced(&key)).await
            })
            .await?;
        self.follow_keys(context.now).await?;
        Ok(changed)
    }

    /// Makes a prepared key the one that signs. The one before is retired.
    ///
    /// # Errors
    /// `KEY_NOT_FOUND`, `KEY_STATE_WRONG`, `KEY_NOT_READY`, `INVALID_ARGUMENT`.
    pub async fn activate_key(&self, context: &Context, request: ActivateKey) -> Result<KeyChanged> {
        check_note("reason", &request.reason)?;
        let call = self.call(context, "ActivateSigningKey", &request)?;
        if let Some(answer) = call.replayed(&self.store.read().await?).await? {
            return Ok(answer);
        }
        self.follow_keys(context.now).await?;
        let view = self.signer.view();
        let check = |view: &KeyView| {
            view.ring().check_activate(&request.key_id, self.signer.publish_micros(), context.now)?;
            if self.signer.private().holds(&request.key_id) {
                return Ok(());
            }
            let message = format!("this replica does not hold key {}; give its file to every replica", request.key_id);
            Err(Error::new(Reason::KeyNotReady, message).with("key_id", &request.key_id))
        };
        check(&view)?;
        // Whoever meets its first signature shall know it.
        self.wait_for_replicas(view.ring().get(&request.key_id)?.prepare_time, context.now).await;
        let changed = call
            .mutate_unsigned(&NamespaceId::system(), async |write| {
                let view = self.key_view(write).await?;
                check(&view)?;
                let mut change =
                    Change { reason: request.reason.clone(), ..Change::new(EventKind::ActivateSigningKey, None) };
                let known = KeyChange::of(&request.key_id);
                change_key(write, &self.signer, &view, &mut change, known).await
            })
            .await?;
        self.follow_keys(context.now).await?;
        Ok(changed)
    }
}

/// Records what becomes of a key, and writes the rows of all that it changes.
pub(super) async fn change_key(
    write: &mut Write<'_>,
    signer: &Signer,
    view: &KeyView,
    change: &mut Change,
    key: KeyChange,
) -> Result<KeyChanged> {
    let (next, now) = (write.tx.head().next(), write.time());
    let revision = next.revision;
    let mut ring = view.ring().clone();
    ring.take(change.kind, &key, now, revision)?;
    let key = KeyChange { statement: signer.state_keys(view, &ring, next, now)?, ..key };
    change.settings = Some(serde_json::to_value(&key).map_err(|error| Error::internal(error.to_string()))?);
    for record in ring.records().filter(|record| record.revision == revision) {
        write.tx.put_signing_key(record).await?;
    }
    let key = ring.get(&key.key_id)?.clone();
    let recorded = write.record(change.clone()).await?;
    Ok(KeyChanged { key, cursor: recorded.cursor })
}

/// A key that no event names: one whose file is there, else a new one.
fn unknown_key(private: &dyn KeyStore, algorithm: Algorithm, view: &KeyView) -> Result<PublicKey> {
    let mut held = private.look()?.into_iter();
    let found = held.find(|key| key.algorithm() == algorithm && view.ring().get(key.key_id()).is_err());
    found.map_or_else(|| private.make(algorithm), Ok)
}
