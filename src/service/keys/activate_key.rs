//! ActivateSigningKey.

use super::change_key::record_key_change;
use super::use_cases::SigningKeys;
use crate::domain::command::ActivateKey;
use crate::domain::event::{Change, EventKind};
use crate::domain::key::KeyChange;
use crate::domain::lifecycle::check_note;
use crate::domain::name::NamespaceId;
use crate::domain::outcome::KeyChanged;
use crate::domain::{Error, Reason, Result};
use crate::service::context::Context;
use crate::service::proof::KeyView;

impl SigningKeys {
    /// Activates a prepared key, which signs from now on. The key before it is retired.
    ///
    /// # Errors
    /// `KEY_NOT_FOUND`, `KEY_STATE_WRONG`, `KEY_NOT_READY`, `INVALID_ARGUMENT`.
    pub async fn activate_key(&self, context: &Context, request: ActivateKey) -> Result<KeyChanged> {
        check_note("reason", &request.reason)?;
        let call = self.writer.call(context, "ActivateSigningKey", &request)?;
        if let Some(answer) = call.replayed(&self.log.store.read().await?).await? {
            return Ok(answer);
        }
        self.poller.follow_keys(context.now).await?;
        let view = self.log.signer.view();
        let check = |view: &KeyView| {
            view.ring().check_activate(&request.key_id, self.log.signer.publish_micros(), context.now)?;
            if self.log.signer.private().holds(&request.key_id) {
                return Ok(());
            }
            let message = format!("this replica does not hold key {}; give its file to every replica", request.key_id);
            Err(Error::new(Reason::KeyNotReady, message).with("key_id", &request.key_id))
        };
        check(&view)?;
        // Every replica has to know the key before it verifies its first signature.
        self.poller.wait_for_replicas(view.ring().get(&request.key_id)?.prepare_time, context.now).await;
        let changed = call
            .mutate_unsigned(&NamespaceId::system(), async |write| {
                let view = self.read_key_view(write).await?;
                check(&view)?;
                let mut change =
                    Change { reason: request.reason.clone(), ..Change::new(EventKind::ActivateSigningKey, None) };
                let known = KeyChange::of(&request.key_id);
                record_key_change(write, &self.log.signer, &view, &mut change, known).await
            })
            .await?;
        self.poller.follow_keys(context.now).await?;
        Ok(changed)
    }
}
