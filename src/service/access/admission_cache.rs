//! A cache of the roles that callers have in any namespace.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::access::{Grants, Permission};
use crate::domain::name::NamespaceId;
use crate::domain::time::Micros;
use crate::service::log::ROLES_RECHECK_INTERVAL;

/// Callers whose roles are cached. When there are more, the cache is cleared and filled again by queries.
const ADMITTED_MAX_CALLERS: usize = 10_000;

/// The roles that callers have in any namespace. An entry ends with its interval, and when any bindings change at this replica.
#[derive(Debug, Default)]
pub(super) struct AdmissionCache(Mutex<HashMap<Vec<String>, RolesAnywhere>>);

#[derive(Debug)]
pub(super) struct RolesAnywhere {
    pub(super) grants: Grants,
    /// The namespace of these roles, when it is one alone.
    pub(super) only_place: Option<NamespaceId>,
    pub(super) read: Micros,
    /// The generation of `RoleCache` before they were read.
    pub(super) forgotten: u64,
}

impl AdmissionCache {
    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<Vec<String>, RolesAnywhere>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether a role permits it; none when the roles have to be read again.
    pub(super) fn permit(
        &self,
        members: &[String],
        permission: Permission,
        forgotten: u64,
        now: Micros,
    ) -> Option<bool> {
        let callers = self.lock();
        let known = callers.get(members).filter(|known| known.forgotten == forgotten)?;
        let fresh = (known.read.0..known.read.0.saturating_add(ROLES_RECHECK_INTERVAL.0)).contains(&now.0);
        fresh.then(|| known.grants.permit(permission))
    }

    pub(super) fn remember(&self, members: Vec<String>, somewhere: RolesAnywhere) {
        let mut callers = self.lock();
        if callers.len() >= ADMITTED_MAX_CALLERS {
            callers.clear();
        }
        callers.insert(members, somewhere);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::access::Role;

    #[test]
    fn what_is_remembered_holds_for_a_second_and_until_bindings_change() {
        let (admitted, members) = (AdmissionCache::default(), vec!["local:ann".to_owned()]);
        let grants: Grants = [Role::Author].into_iter().collect();
        admitted.remember(members.clone(), RolesAnywhere { grants, only_place: None, read: Micros(5), forgotten: 1 });
        let ask = |permission, forgotten, at| admitted.permit(&members, permission, forgotten, Micros(at));
        assert_eq!(ask(Permission::Author, 1, 5), Some(true));
        assert_eq!(ask(Permission::Publish, 1, 6), Some(false));
        assert_eq!(ask(Permission::Author, 2, 6), None, "bindings changed");
        assert_eq!(ask(Permission::Author, 1, 5 + ROLES_RECHECK_INTERVAL.0), None, "it is old");
        assert_eq!(ask(Permission::Author, 1, 4), None, "the clock went back");
    }

    #[test]
    fn the_memory_is_bounded() {
        let admitted = AdmissionCache::default();
        for number in 0..=ADMITTED_MAX_CALLERS {
            let somewhere =
                RolesAnywhere { grants: Grants::default(), only_place: None, read: Micros(0), forgotten: 0 };
            admitted.remember(vec![number.to_string()], somewhere);
            assert!(admitted.lock().len() <= ADMITTED_MAX_CALLERS);
        }
    }
}
