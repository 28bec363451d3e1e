//! RevokeSigningKey: ends trust in a key; what it signed is listed, and signed again on request.
//!
//! As much as fits into one call is signed again first: the active set, then the rest. So subscribers hold nothing signed by the key when
//! they learn that it is revoked, and nothing signed by it can be activated meanwhile.

use super::change_key::record_key_change;
use super::use_cases::SigningKeys;
use crate::domain::Result;
use crate::domain::command::RevokeKey;
use crate::domain::event::{Change, EventKind};
use crate::domain::key::{KeyChange, KeyState};
use crate::domain::lifecycle::check_reason;
use crate::domain::name::NamespaceId;
use crate::domain::outcome::{KeyChanged, KeyRevoked};
use crate::service::context::Context;
use crate::service::log::IdempotentCall;
use crate::service::proof::public;
use crate::signing::PublicKey;

impl SigningKeys {
    /// Revokes a key.
    ///
    /// # Errors
    /// `KEY_NOT_FOUND`, `KEY_STATE_WRONG`, `INVALID_ARGUMENT`. After an interruption, the same call continues where it ended.
    pub async fn revoke_key(&self, context: &Context, request: RevokeKey) -> Result<KeyRevoked> {
        check_reason(&request.reason)?;
        let call = self.writer.call(context, "RevokeSigningKey", &request)?;
        let mut answer = match call.replayed(&self.log.store.read().await?).await? {
            Some(answer) => answer,
            None => self.revoke(context, &request, &call).await?,
        };
        // From here on no replica signs with the key: it will sign nothing more.
        let key = self.public_key(&request.key_id)?;
        answer.remaining_count = if request.resign {
            self.resign(context, &key, &request.reason).await?
        } else {
            self.signed_by(&key).await?.1
        };
        Ok(answer)
    }

    fn public_key(&self, key_id: &str) -> Result<PublicKey> {
        public(self.log.signer.view().ring().get(key_id)?)
    }

    async fn revoke(&self, context: &Context, request: &RevokeKey, call: &IdempotentCall<'_>) -> Result<KeyRevoked> {
        self.poller.follow_keys(context.now).await?;
        let record = self.log.signer.view().ring().get(&request.key_id)?.clone();
        let key = self.public_key(&request.key_id)?;
        if record.state == KeyState::Revoked && request.resign {
            let (versions, version_count) = self.signed_by(&key).await?;
            let tx = self.log.store.read().await?;
            let cursor = self
                .log
                .read_positions(&tx, &NamespaceId::system(), &[record.revision])
                .await?
                .remove(&record.revision);
            return Ok(KeyRevoked { key: record, cursor, versions, version_count, remaining_count: version_count });
        }
        self.log.signer.view().ring().check_revoke(&request.key_id)?;
        if let Some(retired) = record.retire_time {
            self.poller.wait_for_replicas(retired, context.now).await;
        }
        let (versions, version_count) = self.signed_by(&key).await?;
        if request.resign {
            // Otherwise a version that is activated meanwhile could be signed by this key.
            self.resign(context, &key, &request.reason).await?;
        }
        let answer = call
            .mutate_unsigned(&NamespaceId::system(), async |write| {
                let view = self.read_key_view(write).await?;
                view.ring().check_revoke(&request.key_id)?;
                let mut change =
                    Change { reason: request.reason.clone(), ..Change::new(EventKind::RevokeSigningKey, None) };
                let known = KeyChange::of(&request.key_id);
                let KeyChanged { key, cursor } =
                    record_key_change(write, &self.log.signer, &view, &mut change, known).await?;
                Ok(KeyRevoked { key, cursor, versions, version_count, remaining_count: version_count })
            })
            .await?;
        self.poller.follow_keys(context.now).await?;
        Ok(answer)
    }
}
