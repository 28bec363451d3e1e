//! A cache of the roles that callers have in any namespace.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::access::{Grants, Permission};
use crate::domain::name::NamespaceId;
use crate::domain::time::Micros;
use crate::service::log::ROLES_RECHECK_INTERVAL;

/// Number of callers whose roles are cached. Beyond it, the cache is cleared and filled again by queries.
const CACHED_CALLERS_MAX: usize = 10_000;

/// The roles that callers have in any namespace. An entry expires after its interval, and when any bindings change at this replica.
#[derive(Debug, Default)]
pub(super) struct AdmissionCache(Mutex<HashMap<Vec<String>, RolesAnywhere>>);

#[derive(Debug)]
pub(super) struct RolesAnywhere {
    pub(super) grants: Grants,
    /// The namespace of these roles, when it is the only one.
    pub(super) only_namespace: Option<NamespaceId>,
    pub(super) read: Micros,
    /// The generation of `RoleCache` before they were read.
    pub(super) generation: u64,
}

impl AdmissionCache {
    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<Vec<String>, RolesAnywhere>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether a role permits the call; none when the roles have to be read again.
    pub(super) fn permit(
        &self,
        members: &[String],
        permission: Permission,
        generation: u64,
        now: Micros,
    ) -> Option<bool> {
        let callers = self.lock();
        let cached = callers.get(members).filter(|cached| cached.generation == generation)?;
        let fresh = (cached.read.0..cached.read.0.saturating_add(ROLES_RECHECK_INTERVAL.0)).contains(&now.0);
        fresh.then(|| cached.grants.permit(permission))
    }

    pub(super) fn insert(&self, members: Vec<String>, anywhere: RolesAnywhere) {
        let mut callers = self.lock();
        if callers.len() >= CACHED_CALLERS_MAX {
            callers.clear();
        }
        callers.insert(members, anywhere);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::access::Role;

    #[test]
    fn what_is_cached_holds_for_a_second_and_until_bindings_change() {
        let (admitted, members) = (AdmissionCache::default(), vec!["local:ann".to_owned()]);
        let grants: Grants = [Role::Author].into_iter().collect();
        admitted
            .insert(members.clone(), RolesAnywhere { grants, only_namespace: None, read: Micros(5), generation: 1 });
        let ask = |permission, generation, at| admitted.permit(&members, permission, generation, Micros(at));
        assert_eq!(ask(Permission::Author, 1, 5), Some(true));
        assert_eq!(ask(Permission::Publish, 1, 6), Some(false));
        assert_eq!(ask(Permission::Author, 2, 6), None, "bindings changed");
        assert_eq!(ask(Permission::Author, 1, 5 + ROLES_RECHECK_INTERVAL.0), None, "it is old");
        assert_eq!(ask(Permission::Author, 1, 4), None, "the clock went back");
    }

    #[test]
    fn the_cache_is_bounded() {
        let admitted = AdmissionCache::default();
        for number in 0..=CACHED_CALLERS_MAX {
            let anywhere =
                RolesAnywhere { grants: Grants::default(), only_namespace: None, read: Micros(0), generation: 0 };
            admitted.insert(vec![number.to_string()], anywhere);
            assert!(admitted.lock().len() <= CACHED_CALLERS_MAX);
        }
    }
}
