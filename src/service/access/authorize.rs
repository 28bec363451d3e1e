//! Authorization: what a caller may do in the namespace of a request, checked before anything else of the request.

use super::use_cases::Access;
use crate::domain::access::{Grants, Permission, RequiredPermission, Rpc};
use crate::domain::binding::ALL_NAMESPACES;
use crate::domain::command::PageRequest;
use crate::domain::name::NamespaceId;
use crate::domain::principal::Principal;
use crate::domain::time::Micros;
use crate::domain::{Error, Result};
use crate::service::context::denied;

impl Access {
    /// Returns the caller's grants in the namespace of `scope`, which is the name in `field` exactly as it was sent.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` for a caller who has a role there, but none for this RPC; `NAMESPACE_NOT_FOUND` for one who has none, whether
    /// the namespace exists or not; `INVALID_ARGUMENT` for a name that can't be in any namespace.
    pub async fn authorize(
        &self,
        principal: &Principal,
        rpc: Rpc,
        (field, scope): (&str, &str),
        now: Micros,
    ) -> Result<Grants> {
        let authorized = self.find_grants(principal, rpc, (field, scope), now).await;
        if let Err(error) = &authorized {
            let is_about_store = matches!(rpc.required_permission(), RequiredPermission::StoreWide(_));
            let namespace = namespace_of(scope).filter(|_| !is_about_store).unwrap_or_else(NamespaceId::system);
            self.denials.note_refusal(&namespace, principal, rpc, error, now);
        }
        authorized
    }

    async fn find_grants(
        &self,
        principal: &Principal,
        rpc: Rpc,
        (field, scope): (&str, &str),
        now: Micros,
    ) -> Result<Grants> {
        let everywhere = self.roles.roles_of(principal, &NamespaceId::system(), now).await?;
        let everywhere: Grants = everywhere.into_iter().collect();
        let permission = match rpc.required_permission() {
            RequiredPermission::Authenticated => return Ok(everywhere),
            RequiredPermission::StoreWide(permission) => return check_permitted(everywhere, principal, permission),
            RequiredPermission::InNamespace(permission) => permission,
        };
        let Some(namespace) = namespace_of(scope) else {
            return if everywhere.permit(permission) {
                Ok(everywhere)
            } else if self.has_any_role(principal, &everywhere).await? {
                Err(Error::invalid_text(field, scope, "must begin with namespaces/{namespace}/, or be it"))
            } else {
                Err(denied(principal, permission))
            };
        };
        if namespace.is_system() {
            return check_permitted(everywhere, principal, permission);
        }
        let here = self.roles.roles_of(principal, &namespace, now).await?;
        let grants: Grants = here.into_iter().chain(everywhere.roles()).collect();
        if grants.is_empty() {
            return Err(namespace.not_found());
        }
        check_permitted(grants, principal, permission)
    }

    async fn has_any_role(&self, principal: &Principal, everywhere: &Grants) -> Result<bool> {
        let members: Vec<String> = principal.members().collect();
        let first = PageRequest { size: 1, after: None };
        Ok(!everywhere.is_empty() || !self.log.store.read().await?.namespaces_of(&members, &first).await?.is_empty())
    }
}

/// Returns the grants, if they include the permission.
pub(super) fn check_permitted(grants: Grants, principal: &Principal, permission: Permission) -> Result<Grants> {
    if grants.permit(permission) { Ok(grants) } else { Err(denied(principal, permission)) }
}

/// Returns the namespace whose log decides about a name: its own, or `system` for a name that is global.
fn namespace_of(scope: &str) -> Option<NamespaceId> {
    let mut parts = scope.split('/');
    match (parts.next(), parts.next()) {
        (Some("namespaces"), Some(ALL_NAMESPACES)) => Some(NamespaceId::system()),
        (Some("namespaces"), Some(id)) => NamespaceId::parse("namespace", id).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_belongs_to_one_log() {
        for (scope, namespace) in [
            ("namespaces/a", Some("a")),
            ("namespaces/a/policies/p/versions/active", Some("a")),
            ("namespaces/a/roleBindings/1", Some("a")),
            ("namespaces/-/roleBindings/1", Some("system")),
            ("namespaces/-", Some("system")),
            ("roleBindings/1", None),
            ("*", None),
            ("namespaces/A", None),
            ("namespaces", None),
            ("namespace/a", None),
            ("/namespaces/a", None),
            ("", None),
        ] {
            let found = namespace_of(scope);
            assert_eq!(found.as_ref().map(NamespaceId::as_str), namespace, "{scope}");
        }
    }
}
