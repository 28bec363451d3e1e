//! GetNamespace and ListNamespaces.

use super::use_cases::Access;
use crate::domain::Result;
use crate::domain::access::{Permission, Rpc};
use crate::domain::command::{ListPage, PageRequest};
use crate::domain::filter::Filter;
use crate::domain::limits::ITEMS_SCANNED_MAX;
use crate::domain::name::NamespaceId;
use crate::domain::outcome::Namespace;
use crate::service::context::Context;
use crate::service::page_reader::PageReader;
use crate::store::ReadTx;

impl Access {
    /// Returns a namespace.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`.
    pub async fn get_namespace(&self, id: &NamespaceId) -> Result<Namespace> {
        self.log.store.read().await?.namespace(id).await
    }

    /// Returns a page of the namespaces that the caller may read.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn list_namespaces(
        &self,
        context: &Context,
        page: &PageRequest<NamespaceId>,
        wanted: &Filter<Namespace>,
    ) -> Result<ListPage<NamespaceId, Namespace>> {
        let tx = self.log.store.read().await?;
        let reads_all = context.grants.permit(Permission::Read);
        // Rows only name the namespaces of a caller and prove nothing, so some of them may be left out.
        let mut reader = PageReader::searching(page, !reads_all || !wanted.is_empty(), ITEMS_SCANNED_MAX);
        while let Some(asked) = reader.next() {
            let found = if reads_all {
                let all = tx.namespaces(&asked).await?;
                all.into_iter().map(|namespace| (namespace.id.clone(), Some(namespace))).collect()
            } else {
                self.own_namespaces(context, &tx, &asked).await?
            };
            let is_wanted = |(_, namespace): &(NamespaceId, Option<Namespace>)| {
                namespace.as_ref().is_some_and(|namespace| wanted.keeps(namespace))
            };
            let measure = |(id, namespace): &(NamespaceId, Option<Namespace>)| {
                (id.clone(), namespace.as_ref().map_or(0, |namespace| namespace.description.len()))
            };
            reader.add(&asked, found, measure, is_wanted);
        }
        let ListPage { items, reached, is_last } = reader.done();
        Ok(ListPage { items: items.into_iter().filter_map(|(_, namespace)| namespace).collect(), reached, is_last })
    }

    /// Reads the next namespaces in which rows give the caller a role, each with its value only if the caller may read it.
    async fn own_namespaces(
        &self,
        context: &Context,
        tx: &ReadTx,
        page: &PageRequest<NamespaceId>,
    ) -> Result<Vec<(NamespaceId, Option<Namespace>)>> {
        let members: Vec<String> = context.principal.members().collect();
        let mut found = Vec::new();
        for id in tx.namespaces_of(&members, page).await? {
            // The row alone is no proof of a role.
            let name = id.name();
            let may = self.authorize(&context.principal, Rpc::GetNamespace, ("name", &name), context.now).await;
            let namespace = if may.is_ok() { Some(tx.namespace(&id).await?) } else { None };
            found.push((id, namespace));
        }
        Ok(found)
    }
}
