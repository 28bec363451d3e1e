//! Namespaces: made, changed, read. Their changes stand in the log of `system`.

use super::write::Begun;
use super::{Context, Service};
use crate::domain::command::{CreateNamespace, Page, UpdateNamespace};
use crate::domain::event::{Change, EventKind};
use crate::domain::lifecycle::{check_etag, check_note};
use crate::domain::name::NamespaceId;
use crate::domain::outcome::{Namespace, NamespaceChanged};
use crate::domain::{Error, Reason, Result};

pub(super) fn check_description(description: &str) -> Result<()> {
    check_note("description", description)
}

fn change(kind: EventKind, namespace: &Namespace) -> Change {
    let settings = serde_json::json!({"namespace": namespace.id, "description": namespace.description});
    Change { settings: Some(settings), ..Change::new(kind, None) }
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
        write.tx.insert_namespace(&request.namespace, &request.description, context.now).await?;
        let namespace = write.tx.read().namespace(&request.namespace).await?;
        let recorded = write.record(change(EventKind::CreateNamespace, &namespace)).await?;
        write.finish(NamespaceChanged { namespace, revision: recorded.revision() }).await
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
        check_etag(request.etag, namespace.etag, &namespace.id.name())?;
        if let Some(description) = request.description {
            check_description(&description)?;
            namespace.description = description;
        }
        namespace.etag += 1;
        write.tx.update_namespace(&namespace).await?;
        let recorded = write.record(change(EventKind::UpdateNamespace, &namespace)).await?;
        write.finish(NamespaceChanged { namespace, revision: recorded.revision() }).await
    }

    /// A namespace.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`.
    pub async fn get_namespace(&self, id: &NamespaceId) -> Result<Namespace> {
        self.store.read().await?.namespace(id).await
    }

    /// A page of namespaces.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn list_namespaces(&self, page: &Page<NamespaceId>) -> Result<Vec<Namespace>> {
        self.store.read().await?.namespaces(page).await
    }
}
