//! The log, read back. An event that does not verify is never served.

use super::Service;
use crate::domain::Result;
use crate::domain::command::{EventFilter, Page};
use crate::domain::event::{Event, Payload};
use crate::domain::name::{NamespaceId, PolicyName};
use crate::watch::Verify as _;

impl Service {
    /// A page of the log, each event with what it says.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `POLICY_NOT_FOUND`, `DATA_LOSS`.
    pub async fn list_events(
        &self,
        namespace: &NamespaceId,
        page: &Page<i64>,
        filter: &EventFilter,
    ) -> Result<Vec<(Event, Payload)>> {
        let tx = self.store.read().await?;
        match &filter.policy {
            Some(policy) => {
                tx.policy(&PolicyName { namespace: namespace.clone(), policy: policy.clone() }).await?;
            }
            None => {
                tx.namespace(namespace).await?;
            }
        }
        let events = tx.events(namespace, page, filter).await?;
        events.into_iter().map(|event| self.signer.event(&event).map(|payload| (event, payload))).collect()
    }
}
