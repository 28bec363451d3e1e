//! Admission: decides whether a call's body is read at all. It is checked for every call.
//!
//! It knows the caller and the RPC, not the target of the call, so it refuses only a caller who has no role for the RPC anywhere. Rows are
//! not proven here: an attacker who forges a row gets its body read, and is refused by [`super::authorize`].

use super::admission_cache::RolesAnywhere;
use super::authorize::check_permitted;
use super::use_cases::Access;
use crate::domain::access::{Grants, Permission, RequiredPermission, Rpc};
use crate::domain::name::NamespaceId;
use crate::domain::principal::Principal;
use crate::domain::time::Micros;
use crate::domain::{Error, Result};

impl Access {
    /// Counts a call against its caller's rate, and refuses a caller who has no role for it anywhere.
    ///
    /// # Errors
    /// `RATE_LIMITED`, `PERMISSION_DENIED`, and errors of the database.
    pub async fn admit(&self, principal: &Principal, rpc: Rpc, now: Micros) -> Result<()> {
        // First, so that refused calls count against the rate of their caller too.
        self.meter_caller(principal, rpc, now)?;
        let (permission, anywhere) = match rpc.required_permission() {
            RequiredPermission::Authenticated => return Ok(()),
            RequiredPermission::StoreWide(permission) => (permission, false),
            RequiredPermission::InNamespace(permission) => (permission, true),
        };
        let everywhere: Grants =
            self.roles.roles_of(principal, &NamespaceId::system(), now).await?.into_iter().collect();
        if anywhere && !everywhere.permit(permission) && self.permits_anywhere(principal, permission, now).await? {
            return Ok(());
        }
        let namespace = if anywhere && everywhere.is_empty() { self.only_namespace(principal) } else { None };
        let namespace = namespace.unwrap_or_else(NamespaceId::system);
        let permitted = check_permitted(everywhere, principal, permission).map(|_| ());
        permitted.inspect_err(|error| self.denials.note_refusal(&namespace, principal, rpc, error, now))
    }

    /// Returns the only namespace in which a caller has roles. The target of a refused call is in its body, which is not read: a caller of
    /// one namespace most likely meant that one.
    fn only_namespace(&self, principal: &Principal) -> Option<NamespaceId> {
        let members: Vec<String> = principal.members().collect();
        self.admitted.lock().get(&members).and_then(|cached| cached.only_namespace.clone())
    }

    async fn permits_anywhere(&self, principal: &Principal, permission: Permission, now: Micros) -> Result<bool> {
        let members: Vec<String> = principal.members().collect();
        // Read this before the roles, so that a change during the read causes another one.
        let generation = self.roles.generation();
        if let Some(permits) = self.admitted.permit(&members, permission, generation, now) {
            return Ok(permits);
        }
        // Otherwise a storm of callers with a token each would ask the database once for each of them.
        if self.roles.permit_recently(&members, permission) {
            return Ok(true);
        }
        let found: Result<_, Error> = self.log.store.roles_of(&members).await;
        let (roles, only_namespace) = found.as_ref().cloned().unwrap_or_default();
        let grants: Grants = roles.into_iter().collect();
        let permits = grants.permit(permission);
        if found.is_ok() {
            self.admitted.insert(members.clone(), RolesAnywhere { grants, only_namespace, claimed: now, generation });
        }
        // In an outage, or when rows were deleted by hand, use the roles that were proven last, as authorization does.
        match found {
            Ok(_) if permits => Ok(true),
            _ if self.roles.permit_anywhere(&members, permission) => Ok(true),
            Ok(_) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
