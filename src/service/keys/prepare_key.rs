//! PrepareSigningKey.

use super::change_key::{new_key_change, record_key_change};
use super::use_cases::SigningKeys;
use crate::domain::command::PrepareKey;
use crate::domain::event::{Change, EventKind};
use crate::domain::name::NamespaceId;
use crate::domain::outcome::KeyChanged;
use crate::domain::{Error, Reason, Result};
use crate::service::context::Context;
use crate::service::proof::KeyView;
use crate::signing::{Algorithm, KeyStore, PublicKey};

impl SigningKeys {
    /// Publishes a key that will sign later: one whose file exists and that no event names, or a new one.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `LIMIT_EXCEEDED`, `SIGNING_UNAVAILABLE`.
    pub async fn prepare_key(&self, context: &Context, request: PrepareKey) -> Result<KeyChanged> {
        let algorithm = Algorithm::parse(&request.algorithm)
            .map_err(|_| Error::invalid_text("algorithm", &request.algorithm, "must be \"EdDSA\" or \"ES256\""))?;
        let call = self.writer.call(context, "PrepareSigningKey", &request)?;
        if let Some(answer) = call.replayed(&self.log.store.read().await?).await? {
            return Ok(answer);
        }
        self.poller.follow_keys(context.now).await?;
        let view = self.log.signer.view();
        view.ring().check_room()?;
        let key = self.poller.run_blocking(move |private| find_or_make_key(private, algorithm, &view)).await?;
        let changed = call
            .mutate_unsigned(&NamespaceId::system(), async |write| {
                let view = self.read_key_view(write).await?;
                view.ring().check_room()?;
                if view.ring().get(key.key_id()).is_ok() {
                    return Err(Error::new(Reason::ConcurrentChange, "another call prepared this key; try again"));
                }
                let mut change = Change::new(EventKind::PrepareSigningKey, None);
                record_key_change(write, &self.log.signer, &view, &mut change, new_key_change(&key)).await
            })
            .await?;
        self.poller.follow_keys(context.now).await?;
        Ok(changed)
    }
}

/// Returns a key that no event names: one whose file exists, otherwise a new one.
fn find_or_make_key(private: &dyn KeyStore, algorithm: Algorithm, view: &KeyView) -> Result<PublicKey> {
    let mut held = private.look()?.into_iter();
    let found = held.find(|key| key.algorithm() == algorithm && view.ring().get(key.key_id()).is_err());
    found.map_or_else(|| private.make(algorithm), Ok)
}
