//! Requests of `AdminService`.

use super::both::both;
use super::fields::{etag, namespace};
use crate::api::page::List;
use crate::api::pb;
use crate::domain::command::{CreateNamespace, Page, UpdateNamespace};
use crate::domain::name::NamespaceId;
use crate::domain::{Error, Result};

/// CreateNamespace.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn create_namespace(request: pb::CreateNamespaceRequest) -> Result<CreateNamespace> {
    let namespace = NamespaceId::parse("namespace_id", &request.namespace_id)?;
    Ok(CreateNamespace { namespace, description: request.namespace.unwrap_or_default().description })
}

/// UpdateNamespace. The one path of the mask is `description`; an empty mask takes all.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn update_namespace(request: pb::UpdateNamespaceRequest) -> Result<UpdateNamespace> {
    let given = request.namespace.ok_or_else(|| Error::invalid("namespace", "is required"))?;
    if let Some(other) = request.update_mask.unwrap_or_default().paths.iter().find(|path| *path != "description") {
        return Err(Error::invalid("update_mask", format!("path {other:?} can't be changed")));
    }
    let (namespace, etag) = both(namespace("namespace.name", &given.name), etag(&given.etag))?;
    Ok(UpdateNamespace { namespace, description: Some(given.description), etag })
}

/// ListNamespaces.
///
/// # Errors
/// `INVALID_ARGUMENT`, `INVALID_PAGE_TOKEN`.
pub fn list_namespaces(request: &pb::ListNamespacesRequest) -> Result<(List, Page<NamespaceId>)> {
    let list = List::new(&["ListNamespaces"]);
    let page = list.page(request.page_size, &request.page_token, |key| NamespaceId::parse("key", key).ok())?;
    Ok((list, page))
}
