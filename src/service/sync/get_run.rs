//! GetRun.

use std::collections::BTreeSet;

use super::use_cases::Sync;
use crate::domain::name::NamespaceId;
use crate::domain::run::{Run, RunId};
use crate::domain::{Error, Reason, Result};
use crate::watch::Verify as _;

impl Sync {
    /// Returns a recorded run, compared with the log.
    ///
    /// # Errors
    /// `RUN_NOT_FOUND`, `NAMESPACE_NOT_FOUND`, `DATA_LOSS` when it does not match the log.
    pub async fn get_run(&self, namespace: &NamespaceId, id: &RunId) -> Result<Run> {
        let (tx, found) = self.log.read_current(namespace).await?;
        let recorded = tx.run(namespace, id).await?.ok_or_else(|| id.not_found(namespace))?;
        let named = recorded.policies.iter().map(|each| each.policy.clone());
        let asked = if recorded.is_whole_set { BTreeSet::new() } else { named.collect() };
        let proven = self.run_policies_at(&tx, &found, &asked, recorded.cursor).await;
        let event = tx.event(namespace, recorded.cursor.revision).await?;
        self.log.signer.event(&event)?;
        match proven {
            Ok(proven) if proven == recorded.policies && event.cursor == recorded.cursor => Ok(recorded),
            Err(error) if error.reason != Reason::NoActiveVersion => Err(error),
            _ => Err(Error::data_loss(format!("{}: the log says something else", id.name(namespace)))),
        }
    }
}
