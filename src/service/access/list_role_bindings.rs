//! ListRoleBindings.

use super::use_cases::Access;
use crate::domain::Result;
use crate::domain::binding::RoleBinding;
use crate::domain::command::{ListPage, PageRequest};
use crate::domain::filter::Filter;
use crate::domain::name::NamespaceId;
use crate::service::log::prove_chained_bindings;

impl Access {
    /// Returns a page of the bindings of a log, in order of their ids. All of them are read to prove them.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `DATA_LOSS`.
    pub async fn list_role_bindings(
        &self,
        namespace: &NamespaceId,
        page: &PageRequest<String>,
        wanted: &Filter<RoleBinding>,
    ) -> Result<ListPage<String, RoleBinding>> {
        let view = self.log.signer.view();
        let tx = self.log.store.read().await?;
        let state = tx.log_state(namespace).await?.ok_or_else(|| namespace.not_found())?;
        let bindings = prove_chained_bindings(&self.log.signer, &view, &tx, namespace, state).await?.into_iter();
        let is_next = |binding: &RoleBinding| page.after.as_ref().is_none_or(|after| binding.name.id > *after);
        let mut rest = bindings.filter(|binding| is_next(binding) && wanted.keeps(binding));
        let items: Vec<RoleBinding> = rest.by_ref().take(page.size as usize).collect();
        let reached = items.last().map(|last| last.name.id.clone());
        Ok(ListPage { items, reached, is_last: rest.next().is_none() })
    }
}
