//! The state that the use cases of signing keys share.

use std::sync::Arc;

use crate::domain::Result;
use crate::domain::time::Micros;
use crate::service::fair_slots::FairSlots;
use crate::service::log::{KeyPoller, LogReader, LogWriter};
use crate::service::proof::Signer;

/// The use cases of signing keys.
#[derive(Debug)]
pub struct SigningKeys {
    pub(super) log: Arc<LogReader>,
    pub(super) writer: Arc<LogWriter>,
    pub(super) poller: Arc<KeyPoller>,
    /// The slot of a read of all that is active.
    pub(super) active_reads: FairSlots<()>,
}

impl SigningKeys {
    pub(in crate::service) fn new(log: &Arc<LogReader>, writer: &Arc<LogWriter>, poller: Arc<KeyPoller>) -> Self {
        Self { log: Arc::clone(log), writer: Arc::clone(writer), poller, active_reads: FairSlots::new(1, 1) }
    }

    /// Returns the signer of the server.
    #[must_use]
    pub fn signer(&self) -> &Signer {
        &self.log.signer
    }

    /// Returns the key checkpoint of what is known of the log of `system`; none when that may not be the log of this store.
    ///
    /// # Errors
    /// `INTERNAL` when it is too long.
    pub fn checkpoint(&self) -> Result<Option<String>> {
        // A view that was read in doubt has been replaced when the doubt is over, and one that is read in it now is not signed.
        let is_in_doubt = || self.log.store.suspected_loss().is_some();
        let (was_in_doubt, view) = (is_in_doubt(), self.log.signer.view());
        if was_in_doubt || is_in_doubt() {
            return Ok(None);
        }
        view.to_checkpoint(&self.log.signer).map(Some)
    }

    /// Reads the changes of keys in the log since the last poll, so that this replica knows those made by others.
    /// # Errors
    /// `DATABASE_UNAVAILABLE`; `STORE_IN_DOUBT` for a log that lost its tail, `DATA_LOSS` for one that does not verify: then the known
    /// keys stay.
    pub async fn follow_keys(&self, now: Micros) -> Result<()> {
        self.poller.follow_keys(now).await
    }
}
