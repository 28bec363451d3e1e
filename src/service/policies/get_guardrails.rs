//! GetGuardrails.

use super::use_cases::Policies;
use crate::domain::Result;
use crate::domain::name::NamespaceId;
use crate::domain::outcome::FoundGuardrails;

impl Policies {
    /// Returns the guardrails of a namespace with those of the store, or of the store alone for `system`.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`.
    pub async fn get_guardrails(&self, namespace: &NamespaceId) -> Result<FoundGuardrails> {
        let tx = self.log.store.read().await?;
        tx.namespace(namespace).await?;
        let [of_store, own] = tx.guardrails(namespace).await?;
        Ok(FoundGuardrails { own, of_store: (!namespace.is_system()).then_some(of_store) })
    }
}
