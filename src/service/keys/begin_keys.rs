//! The first key of a store.

use super::change_key::{change_key, introduced};
use super::use_cases::SigningKeys;
use crate::domain::Result;
use crate::domain::event::{Change, EventKind};
use crate::domain::name::NamespaceId;
use crate::domain::time::Micros;
use crate::service::context::Context;
use crate::service::log::Conclusion;
use crate::signing::{Algorithm, KeyStore, PublicKey};

impl SigningKeys {
    /// At the start: reads what the log says of the keys, and records the first key of a store that has none.
    ///
    /// # Errors
    /// As `follow_keys`.
    pub async fn begin_keys(&self, algorithm: Algorithm, now: Micros) -> Result<()> {
        self.poller.follow_keys(now).await?;
        if !self.log.signer.view().ring().is_empty() {
            return Ok(());
        }
        let key = self.poller.apart(move |private| first_key(private, algorithm)).await?;
        let context = Context::of_server(now);
        let call = self.writer.call(&context, "ActivateSigningKey", &())?;
        call.try_mutate_unsigned(&NamespaceId::system(), async |write| {
            let view = self.key_view(write).await?;
            if !view.ring().is_empty() {
                // Another replica was first.
                return Ok(Conclusion::RollBack(()));
            }
            let reason = "the first key of the store".to_owned();
            let mut change = Change { reason, ..Change::new(EventKind::ActivateSigningKey, None) };
            change_key(write, &self.log.signer, &view, &mut change, introduced(&key)).await.map(Conclusion::Commit)
        })
        .await?;
        self.poller.follow_keys(now).await
    }
}

/// The first key of a store: one that is there, else a new one.
fn first_key(private: &dyn KeyStore, algorithm: Algorithm) -> Result<PublicKey> {
    let mut held = private.look()?.into_iter();
    held.find(|key| key.algorithm() == algorithm).map_or_else(|| private.make(algorithm), Ok)
}
