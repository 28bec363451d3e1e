//! The first key of a store, recorded at the start of a server.

use super::change_key::{new_key_change, record_key_change};
use super::use_cases::SigningKeys;
use crate::domain::Result;
use crate::domain::event::{Change, EventKind};
use crate::domain::name::NamespaceId;
use crate::domain::time::Micros;
use crate::service::context::Context;
use crate::service::log::Conclusion;
use crate::signing::{Algorithm, KeyStore, PublicKey};

impl SigningKeys {
    /// Reads the keys from the log, from the key checkpoint on when it is valid, and records the first key of a store that has none.
    ///
    /// # Errors
    /// The same as `follow_keys`.
    pub async fn begin_keys(&self, checkpoint: Option<&str>, algorithm: Algorithm, now: Micros) -> Result<()> {
        if let Some(checkpoint) = checkpoint {
            self.poller.resume(checkpoint).await?;
        }
        self.poller.follow_keys(now).await?;
        if !self.log.signer.view().ring().is_empty() {
            return Ok(());
        }
        let key = self.poller.run_blocking(move |private| find_or_make_first_key(private, algorithm)).await?;
        let context = Context::of_server(now);
        let call = self.writer.call(&context, "ActivateSigningKey", &())?;
        call.try_mutate_unsigned(&NamespaceId::system(), async |write| {
            let view = self.read_key_view(write).await?;
            if !view.ring().is_empty() {
                // Another replica was first.
                return Ok(Conclusion::RollBack(()));
            }
            let reason = "the first key of the store".to_owned();
            let mut change = Change { reason, ..Change::new(EventKind::ActivateSigningKey, None) };
            record_key_change(write, &self.log.signer, &view, &mut change, new_key_change(&key))
                .await
                .map(Conclusion::Commit)
        })
        .await?;
        self.poller.follow_keys(now).await
    }
}

/// Returns the first key of a store: one whose file exists, otherwise a new one.
fn find_or_make_first_key(private: &dyn KeyStore, algorithm: Algorithm) -> Result<PublicKey> {
    let mut held = private.look()?.into_iter();
    held.find(|key| key.algorithm() == algorithm).map_or_else(|| private.make(algorithm), Ok)
}
