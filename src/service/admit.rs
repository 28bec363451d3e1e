//! Admission: whether a call may be read at all. Asked of every call, before its body.
//!
//! It knows who asks and which RPC, not what the call is about: so it refuses only who has no role for the RPC anywhere.
//! Rows are not proven here: whoever writes one by hand has a body read, and is refused by [`super::access`].

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Service;
use super::access::{CHECK_INTERVAL, permitted};
use crate::domain::access::{Grants, Permission, RequiredPermission, Rpc};
use crate::domain::name::NamespaceId;
use crate::domain::principal::Principal;
use crate::domain::time::Micros;
use crate::domain::{Error, Result};

/// Callers whose roles are remembered. When there are more, all are forgotten and asked for once again.
const ADMITTED_MAX_CALLERS: usize = 10_000;

/// The roles that callers have somewhere, as of a moment ago. One is forgotten when any bindings change at this replica.
#[derive(Debug, Default)]
pub(super) struct Admitted(Mutex<HashMap<Vec<String>, Somewhere>>);

#[derive(Debug)]
struct Somewhere {
    grants: Grants,
    /// Where they are, when that is one namespace.
    only_place: Option<NamespaceId>,
    read: Micros,
    /// How often bindings had been forgotten before they were read.
    forgotten: u64,
}

impl Admitted {
    fn lock(&self) -> MutexGuard<'_, HashMap<Vec<String>, Somewhere>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one of the roles permits it; none when they are to be read again.
    fn permit(&self, members: &[String], permission: Permission, forgotten: u64, now: Micros) -> Option<bool> {
        let callers = self.lock();
        let known = callers.get(members).filter(|known| known.forgotten == forgotten)?;
        let fresh = (known.read.0..known.read.0.saturating_add(CHECK_INTERVAL.0)).contains(&now.0);
        fresh.then(|| known.grants.permit(permission))
    }

    fn remember(&self, members: Vec<String>, somewhere: Somewhere) {
        let mut callers = self.lock();
        if callers.len() >= ADMITTED_MAX_CALLERS {
            callers.clear();
        }
        callers.insert(members, somewhere);
    }
}

impl Service {
    /// Counts a call against its caller's rate, and refuses a caller who has no role for it anywhere.
    ///
    /// # Errors
    /// `RATE_LIMITED`, `PERMISSION_DENIED`, and what keeps the database from answering.
    pub async fn admit(&self, principal: &Principal, rpc: Rpc, now: Micros) -> Result<()> {
        // First: who asks for what is not theirs is metered too.
        self.meter_caller(principal, rpc, now)?;
        let (permission, somewhere) = match rpc.required_permission() {
            RequiredPermission::Authenticated => return Ok(()),
            RequiredPermission::StoreWide(permission) => (permission, false),
            RequiredPermission::InNamespace(permission) => (permission, true),
        };
        let everywhere: Grants = self.roles(principal, &NamespaceId::system(), now).await?.into_iter().collect();
        if somewhere && !everywhere.permit(permission) && self.permits_somewhere(principal, permission, now).await? {
            return Ok(());
        }
        let place = if somewhere && everywhere.is_empty() { self.only_place(principal) } else { None };
        let place = place.unwrap_or_else(NamespaceId::system);
        let permitted = permitted(everywhere, principal, permission).map(|_| ());
        permitted.inspect_err(|error| self.note_denial(&place, principal, rpc, error, now))
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
        let forgotten = self.access.forgotten();
        if let Some(permits) = self.admitted.permit(&members, permission, forgotten, now) {
            return Ok(permits);
        }
        let found: Result<_, Error> = self.store.roles_of(&members).await;
        let (roles, only_place) = found.as_ref().cloned().unwrap_or_default();
        let grants: Grants = roles.into_iter().collect();
        let permits = grants.permit(permission);
        if found.is_ok() {
            self.admitted.remember(members, Somewhere { grants, only_place, read: now, forgotten });
        }
        // In an outage, and when rows were taken away by hand: the roles that were proven last, as in authorization.
        match found {
            Ok(_) if permits => Ok(true),
            _ if self.access.proved_somewhere(principal, permission) => Ok(true),
            Ok(_) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::access::Role;

    #[test]
    fn what_is_remembered_holds_for_a_second_and_until_bindings_change() {
        let (admitted, members) = (Admitted::default(), vec!["local:ann".to_owned()]);
        let grants: Grants = [Role::Author].into_iter().collect();
        admitted.remember(members.clone(), Somewhere { grants, only_place: None, read: Micros(5), forgotten: 1 });
        let ask = |permission, forgotten, at| admitted.permit(&members, permission, forgotten, Micros(at));
        assert_eq!(ask(Permission::Author, 1, 5), Some(true));
        assert_eq!(ask(Permission::Publish, 1, 6), Some(false));
        assert_eq!(ask(Permission::Author, 2, 6), None, "bindings changed");
        assert_eq!(ask(Permission::Author, 1, 5 + CHECK_INTERVAL.0), None, "it is old");
        assert_eq!(ask(Permission::Author, 1, 4), None, "the clock went back");
    }

    #[test]
    fn the_memory_is_bounded() {
        let admitted = Admitted::default();
        for number in 0..=ADMITTED_MAX_CALLERS {
            let somewhere = Somewhere { grants: Grants::default(), only_place: None, read: Micros(0), forgotten: 0 };
            admitted.remember(vec![number.to_string()], somewhere);
            assert!(admitted.lock().len() <= ADMITTED_MAX_CALLERS);
        }
    }
}
