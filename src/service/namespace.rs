//! Namespaces: made, changed, read. Their changes stand in the log of `system`.

use super::page_reader::PageReader;
use super::write::Begun;
use super::{Context, Service};
use crate::domain::access::{Permission, Rpc};
use crate::domain::command::{CreateNamespace, ListPage, PageRequest, QuotasPatch, UpdateNamespace};
use crate::domain::event::{Change, EventKind};
use crate::domain::filter::Filter;
use crate::domain::lifecycle::{check_etag, check_note};
use crate::domain::limits::ITEMS_SCANNED_MAX;
use crate::domain::name::NamespaceId;
use crate::domain::outcome::{Namespace, NamespaceChanged};
use crate::domain::quota::Quotas;
use crate::domain::{Error, Reason, Result};
use crate::store::ReadTx;

pub(super) fn check_description(description: &str) -> Result<()> {
    check_note("description", description)
}

fn change(kind: EventKind, namespace: &Namespace) -> Change {
    let settings = serde_json::json!({
        "namespace": namespace.id, "description": namespace.description, "quotas": namespace.quotas,
    });
    Change { settings: Some(settings), ..Change::new(kind, None) }
}

fn patch(quotas: &mut Quotas, patch: QuotasPatch) {
    let QuotasPatch { max_policies, max_versions, max_content_bytes, max_streams, writes_per_second, reads_per_second } =
        patch;
    quotas.max_policies = max_policies.unwrap_or(quotas.max_policies);
    quotas.max_versions = max_versions.unwrap_or(quotas.max_versions);
    quotas.max_content_bytes = max_content_bytes.unwrap_or(quotas.max_content_bytes);
    quotas.max_streams = max_streams.unwrap_or(quotas.max_streams);
    quotas.writes_per_second = writes_per_second.unwrap_or(quotas.writes_per_second);
    quotas.reads_per_second = reads_per_second.unwrap_or(quotas.reads_per_second);
}

impl Service {
    /// Makes a namespace.
    ///
    /// # Errors
    /// `NAMESPACE_EXISTS`, `INVALID_ARGUMENT`.
    pub async fn create_namespace(&self, context: &Context, request: CreateNamespace) -> Result<NamespaceChanged> {
        check_description(&request.description)?;
        let call = self.call(context, "CreateNamespace", &request)?;
        let mut write = match call.begin(&NamespaceId::system()).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        let name = request.namespace.name();
        if write.tx.read().find_namespace(&request.namespace).await?.is_some() {
            return Err(Error::new(Reason::NamespaceExists, format!("{name} exists already")).about(name));
        }
        write.tx.insert_namespace(&request.namespace, &request.description, request.quotas, write.time()).await?;
        let namespace = write.tx.read().namespace(&request.namespace).await?;
        let recorded = write.record(change(EventKind::CreateNamespace, &namespace)).await?;
        let done = write.finish(NamespaceChanged { namespace, cursor: recorded.cursor }).await?;
        if done.cursor.is_some() {
            self.meters.granted(&done.namespace);
        }
        Ok(done)
    }

    /// Changes a namespace.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `ETAG_MISMATCH`, `INVALID_ARGUMENT`.
    pub async fn update_namespace(&self, context: &Context, request: UpdateNamespace) -> Result<NamespaceChanged> {
        let call = self.call(context, "UpdateNamespace", &request)?;
        let mut write = match call.begin(&NamespaceId::system()).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        let mut namespace = write.tx.read().namespace(&request.namespace).await?;
        check_etag(request.etag.as_ref(), &namespace.etag(), &namespace.id.name())?;
        if let Some(description) = request.description {
            check_description(&description)?;
            namespace.description = description;
        }
        patch(&mut namespace.quotas, request.quotas);
        namespace.edits += 1;
        write.tx.update_namespace(&namespace).await?;
        let recorded = write.record(change(EventKind::UpdateNamespace, &namespace)).await?;
        let done = write.finish(NamespaceChanged { namespace, cursor: recorded.cursor }).await?;
        if done.cursor.is_some() {
            self.meters.granted(&done.namespace);
        }
        Ok(done)
    }

    /// A namespace.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`.
    pub async fn get_namespace(&self, id: &NamespaceId) -> Result<Namespace> {
        self.store.read().await?.namespace(id).await
    }

    /// A page of the namespaces that the caller may read.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn list_namespaces(
        &self,
        context: &Context,
        page: &PageRequest<NamespaceId>,
        wanted: &Filter<Namespace>,
    ) -> Result<ListPage<NamespaceId, Namespace>> {
        let tx = self.store.read().await?;
        let reads_all = context.grants.permit(Permission::Read);
        // Somebody's own namespaces are named by rows that prove nothing, so that some may be left out.
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

    /// The next namespaces in which rows give the caller a role; each is there only when the caller may read it.
    async fn own_namespaces(
        &self,
        context: &Context,
        tx: &ReadTx,
        page: &PageRequest<NamespaceId>,
    ) -> Result<Vec<(NamespaceId, Option<Namespace>)>> {
        let members: Vec<String> = context.principal.members().collect();
        let mut found = Vec::new();
        for id in tx.namespaces_of(&members, page).await? {
            // The row alone gives nobody a role.
            let name = id.name();
            let may = self.authorize(&context.principal, Rpc::GetNamespace, ("name", &name), context.now).await;
            let namespace = if may.is_ok() { Some(tx.namespace(&id).await?) } else { None };
            found.push((id, namespace));
        }
        Ok(found)
    }
}
