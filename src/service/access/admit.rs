//! Admission: whether a call may be read at all. Asked of every call, before its body.
//!
//! It knows who asks and which RPC, not what the call is about: so it refuses only who has no role for the RPC anywhere.
//! Rows are not proven here: whoever writes one by hand has a body read, and is refused by [`super::authorize`].

use super::admission_cache::Somewhere;
use super::authorize::permitted;
use super::use_cases::Access;
use crate::domain::access::{Grants, Needs, Permission, Rpc};
use crate::domain::name::NamespaceId;
use crate::domain::principal::Principal;
use crate::domain::time::Micros;
use crate::domain::{Error, Result};

impl Access {
    /// Counts a call against its caller's rate, and refuses a caller who has no role for it anywhere.
    ///
    /// # Errors
    /// `RATE_LIMITED`, `PERMISSION_DENIED`, and what keeps the database from answering.
    pub async fn admit(&self, principal: &Principal, rpc: Rpc, now: Micros) -> Result<()> {
        // First: who asks for what is not theirs is metered too.
        self.meter_caller(principal, rpc, now)?;
        let (permission, somewhere) = match rpc.needs() {
            Needs::Authenticated => return Ok(()),
            Needs::StoreWide(permission) => (permission, false),
            Needs::InNamespace(permission) => (permission, true),
        };
        let everywhere: Grants =
            self.roles.roles_of(principal, &NamespaceId::system(), now).await?.into_iter().collect();
        if somewhere && !everywhere.permit(permission) && self.permits_somewhere(principal, permission, now).await? {
            return Ok(());
        }
        let place = if somewhere && everywhere.is_empty() { self.only_place(principal) } else { None };
        let place = place.unwrap_or_else(NamespaceId::system);
        let permitted = permitted(everywhere, principal, permission).map(|_| ());
        permitted.inspect_err(|error| self.denials.note_refusal(&place, principal, rpc, error, now))
    }

    /// The one namespace in which a caller has roles. What a refused call was about stands in its body, which nobody reads: a caller
    /// of one namespace most likely meant that one.
    fn only_place(&self, principal: &Principal) -> Option<NamespaceId> {
        let members: Vec<String> = principal.members().collect();
        self.admitted.lock().get(&members).and_then(|known| known.only_place.clone())
    }

    async fn permits_somewhere(&self, principal: &Principal, permission: Permission, now: Micros) -> Result<bool> {
        let members: Vec<String> = principal.members().collect();
        // Before they are read: a change that comes in between makes them be read again.
        let forgotten = self.roles.generation();
        if let Some(permits) = self.admitted.permit(&members, permission, forgotten, now) {
            return Ok(permits);
        }
        let found: Result<_, Error> = self.log.store.roles_of(&members).await;
        let (roles, only_place) = found.as_ref().cloned().unwrap_or_default();
        let grants: Grants = roles.into_iter().collect();
        let permits = grants.permit(permission);
        if found.is_ok() {
            self.admitted.remember(members, Somewhere { grants, only_place, read: now, forgotten });
        }
        // In an outage, and when rows were taken away by hand: the roles that were proven last, as in authorization.
        match found {
            Ok(_) if permits => Ok(true),
            _ if self.roles.permit_anywhere(principal, permission) => Ok(true),
            Ok(_) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
