//! Requests about role bindings.

use super::collect_errors::collect_errors;
use super::fields::namespace;
use crate::api::filter::{ListQuery, parse_asked};
use crate::api::page::ListIdentity;
use crate::api::pb;
use crate::domain::access::Role;
use crate::domain::binding::{BindingName, RoleBinding, parse_member, parse_scope, scope};
use crate::domain::command::{CreateRoleBinding, DeleteRoleBinding, PageRequest};
use crate::domain::error::REQUIRED;
use crate::domain::filter::Filter;
use crate::domain::listing::{BINDINGS, DENIALS, DenialFilter};
use crate::domain::name::NamespaceId;
use crate::domain::{Error, Result};

fn role(from: i32) -> Result<Role> {
    match pb::Role::try_from(from) {
        Ok(pb::Role::Viewer) => Ok(Role::Viewer),
        Ok(pb::Role::Subscriber) => Ok(Role::Subscriber),
        Ok(pb::Role::Author) => Ok(Role::Author),
        Ok(pb::Role::Approver) => Ok(Role::Approver),
        Ok(pb::Role::Publisher) => Ok(Role::Publisher),
        Ok(pb::Role::Activator) => Ok(Role::Activator),
        Ok(pb::Role::Admin) => Ok(Role::Admin),
        Ok(pb::Role::GuardrailAdmin) => Ok(Role::GuardrailAdmin),
        Ok(pb::Role::Unspecified) => Err(Error::invalid("role_binding.role", REQUIRED)),
        Err(_) => Err(Error::invalid("role_binding.role", "must be one of the roles")),
    }
}

/// Reads a CreateRoleBinding request.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn create_role_binding(request: pb::CreateRoleBindingRequest) -> Result<CreateRoleBinding> {
    let given = request.role_binding.ok_or_else(|| Error::invalid("role_binding", "is required"))?;
    let scope = parse_scope("parent", &request.parent);
    let member = parse_member("role_binding.member", &given.member);
    let (namespace, (role, member)) = collect_errors(scope, collect_errors(role(given.role), member))?;
    Ok(CreateRoleBinding { namespace, role, member, reason: request.reason })
}

/// Reads a DeleteRoleBinding request.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn delete_role_binding(request: pb::DeleteRoleBindingRequest) -> Result<DeleteRoleBinding> {
    Ok(DeleteRoleBinding { name: BindingName::parse("name", &request.name)?, reason: request.reason })
}

/// Reads a ListDenials request.
///
/// # Errors
/// `INVALID_ARGUMENT`, `INVALID_PAGE_TOKEN`.
pub fn list_denials(
    request: &pb::ListDenialsRequest,
) -> Result<(NamespaceId, ListIdentity, PageRequest<String>, DenialFilter)> {
    let wanted = parse_asked(&DENIALS, None, &request.filter, &request.order_by);
    let (namespace, ListQuery { filter, key, .. }) = collect_errors(namespace("parent", &request.parent), wanted)?;
    let list = ListIdentity::new(["ListDenials", namespace.as_str(), &key]);
    let page = list.page(request.page_size, &request.page_token, |key| Some(key.to_owned()))?;
    Ok((namespace, list, page, DenialFilter::new(filter)))
}

/// Reads a ListRoleBindings request.
///
/// # Errors
/// `INVALID_ARGUMENT`, `INVALID_PAGE_TOKEN`.
pub fn list_role_bindings(
    request: &pb::ListRoleBindingsRequest,
) -> Result<(NamespaceId, ListIdentity, PageRequest<String>, Filter<RoleBinding>)> {
    let wanted = parse_asked(&BINDINGS, None, &request.filter, &request.order_by);
    let (namespace, ListQuery { filter, key, .. }) = collect_errors(parse_scope("parent", &request.parent), wanted)?;
    let list = ListIdentity::new(["ListRoleBindings", &scope(&namespace), &key]);
    let page = list.page(request.page_size, &request.page_token, |key| Some(key.to_owned()))?;
    Ok((namespace, list, page, filter))
}
