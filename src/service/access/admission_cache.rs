//! A cache of the roles that callers have in any namespace.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use crate::domain::access::{Grants, Permission};
use crate::domain::name::NamespaceId;
use crate::domain::time::Micros;
use crate::service::log::ROLES_RECHECK_INTERVAL;

/// Number of callers whose roles are cached. Beyond it, those of the caller who called least recently are read again when it calls.
const CACHED_CALLERS_MAX: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// The roles that callers have in any namespace. An entry expires after its interval, and when any bindings change at this replica.
#[derive(Debug)]
pub(super) struct AdmissionCache(Mutex<LruCache<Vec<String>, RolesAnywhere>>);

impl Default for AdmissionCache {
    fn default() -> Self {
        Self(Mutex::new(LruCache::sparse(CACHED_CALLERS_MAX)))
    }
}

#[derive(Debug)]
pub(super) struct RolesAnywhere {
    pub(super) grants: Grants,
    /// The namespace of these roles, when it is the only one.
    pub(super) only_namespace: Option<NamespaceId>,
    /// When they were read, or when a call last went to read them again.
    pub(super) claimed: Micros,
    /// The generation of `RoleCache` before they were read.
    pub(super) generation: u64,
}

impl AdmissionCache {
    pub(super) fn lock(&self) -> MutexGuard<'_, LruCache<Vec<String>, RolesAnywhere>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether a role permits the call; none when the roles have to be read again. Once they are old, one call is told so, and the
    /// others use them for another interval.
    pub(super) fn permit(
        &self,
        members: &[String],
        permission: Permission,
        generation: u64,
        now: Micros,
    ) -> Option<bool> {
        let mut callers = self.lock();
        let cached = callers.get_mut(members).filter(|cached| cached.generation == generation)?;
        let fresh = (cached.claimed.0..cached.claimed.0.saturating_add(ROLES_RECHECK_INTERVAL.0)).contains(&now.0);
        if !fresh {
            cached.claimed = now;
            return None;
        }
        Some(cached.grants.permit(permission))
    }

    pub(super) fn insert(&self, members: Vec<String>, anywhere: RolesAnywhere) {
        self.lock().put(members, anywhere);
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
            .insert(members.clone(), RolesAnywhere { grants, only_namespace: None, claimed: Micros(5), generation: 1 });
        let ask = |permission, generation, at| admitted.permit(&members, permission, generation, Micros(at));
        assert_eq!(ask(Permission::Author, 1, 5), Some(true));
        assert_eq!(ask(Permission::Publish, 1, 6), Some(false));
        assert_eq!(ask(Permission::Author, 2, 6), None, "bindings changed");
        let old = 5 + ROLES_RECHECK_INTERVAL.0;
        assert_eq!(ask(Permission::Author, 1, old), None, "it is old");
        assert_eq!(ask(Permission::Author, 1, old), Some(true), "one call reads it again");
        assert_eq!(ask(Permission::Author, 1, old - 1), None, "the clock went back");
    }

    /// Given more callers than the cache has room for, the roles of one who calls are not read again.
    #[test]
    fn a_caller_who_calls_stays_however_many_come() {
        let (admitted, most) = (AdmissionCache::default(), CACHED_CALLERS_MAX.get());
        let insert = |caller: &str| {
            let anywhere =
                RolesAnywhere { grants: Grants::default(), only_namespace: None, claimed: Micros(0), generation: 0 };
            admitted.insert(vec![caller.to_owned()], anywhere);
        };
        let is_known = |caller: &str| admitted.permit(&[caller.to_owned()], Permission::Author, 0, Micros(1)).is_some();
        insert("ann");
        for number in 0..2 * most {
            insert(&number.to_string());
            assert!(admitted.lock().len() <= most);
            assert!(number % 5_000 != 0 || is_known("ann"), "read again after {number} others");
        }
        assert!(is_known("ann") && is_known(&(most + 1).to_string()));
        assert!(!is_known(&most.to_string()), "who called least recently is not known");
    }
}
