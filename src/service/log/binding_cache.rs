//! A cache of proven role bindings, by namespace.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use lru::LruCache;
use tokio::sync::OwnedMutexGuard;

use crate::domain::access::{Permission, Role};
use crate::domain::binding::RoleBinding;
use crate::domain::name::NamespaceId;
use crate::domain::principal::Principal;
use crate::domain::time::Micros;
use crate::store::LogState;

/// How long cached bindings are used before the database is asked whether they changed. Longer: a role that was deleted at another replica
/// stays valid longer here. Shorter: more queries.
pub const ROLES_RECHECK_INTERVAL: Micros = Micros(1_000_000);
/// Number of namespaces whose bindings are cached. Beyond it, those that were used least recently are read again.
const CACHED_NAMESPACES_MAX: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();
/// Number of namespaces whose bindings are searched for a caller before the database is. More: a caller without a role costs more.
const RECENT_NAMESPACES: usize = 64;

type ReadLock = tokio::sync::Mutex<()>;

/// Bindings that were read and proven.
#[derive(Debug, Default)]
pub struct BindingCache {
    cached: Mutex<CachedBindings>,
    /// The locks of namespaces that are not cached, and read now.
    read_locks: Mutex<HashMap<NamespaceId, Weak<ReadLock>>>,
}

#[derive(Debug)]
struct CachedBindings {
    by_namespace: LruCache<NamespaceId, Arc<NamespaceRoles>>,
    /// Raised whenever bindings are invalidated: bindings that were read before may be older than the change.
    generation: u64,
}

impl Default for CachedBindings {
    fn default() -> Self {
        Self { by_namespace: LruCache::sparse(CACHED_NAMESPACES_MAX), generation: 0 }
    }
}

/// The roles that the bindings of one namespace give.
#[derive(Debug)]
pub struct NamespaceRoles {
    roles: BTreeMap<String, Vec<Role>>,
    pub(super) access_revision: i64,
    pub(super) epoch: i64,
    checked: AtomicI64,
}

impl NamespaceRoles {
    pub(super) fn new(bindings: Vec<RoleBinding>, state: LogState, now: Micros) -> Self {
        let mut roles: BTreeMap<String, Vec<Role>> = BTreeMap::new();
        for binding in bindings {
            roles.entry(binding.member).or_default().push(binding.role);
        }
        let (access_revision, epoch) = (state.access_revision, state.head.cursor.epoch);
        Self { roles, access_revision, epoch, checked: AtomicI64::new(now.0) }
    }

    /// Returns whether this call has to ask the database again: the interval has passed, and no other call asks.
    pub(super) fn claim_recheck(&self, now: Micros) -> bool {
        let checked = self.checked.load(Ordering::Relaxed);
        let fresh = (checked..checked.saturating_add(ROLES_RECHECK_INTERVAL.0)).contains(&now.0);
        !fresh && self.checked.compare_exchange(checked, now.0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Returns whether the bindings are those of this state of the log.
    pub(super) fn is_current(&self, state: LogState) -> bool {
        self.access_revision == state.access_revision && self.epoch == state.head.cursor.epoch
    }

    /// Returns whether they give any of these members a permission.
    fn permit(&self, members: &[String], permission: Permission) -> bool {
        members.iter().filter_map(|member| self.roles.get(member)).flatten().any(|role| role.permits(permission))
    }

    /// Returns the roles of a caller.
    pub(super) fn roles_of(&self, principal: &Principal) -> Vec<Role> {
        principal.members().filter_map(|member| self.roles.get(&member)).flatten().copied().collect()
    }
}

impl BindingCache {
    fn cached(&self) -> MutexGuard<'_, CachedBindings> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the cached bindings of a namespace. When there are none, one caller gets the lock to read them, and those that come
    /// meanwhile wait for its end: a storm of subscribers causes one read. If that read fails, each of them reads for itself.
    pub(super) async fn get_or_lock(
        &self,
        namespace: &NamespaceId,
    ) -> (Option<Arc<NamespaceRoles>>, Option<OwnedMutexGuard<()>>) {
        if let Some(cached) = self.get(namespace) {
            return (Some(cached), None);
        }
        let lock = self.read_lock(namespace);
        let held = Arc::clone(&lock).try_lock_owned().ok();
        if held.is_none() {
            drop(lock.lock().await);
        }
        (self.get(namespace), held)
    }

    fn read_lock(&self, namespace: &NamespaceId) -> Arc<ReadLock> {
        let mut locks = self.read_locks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(namespace).and_then(Weak::upgrade) {
            return lock;
        }
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::<ReadLock>::default();
        locks.insert(namespace.clone(), Arc::downgrade(&lock));
        lock
    }

    pub(super) fn get(&self, namespace: &NamespaceId) -> Option<Arc<NamespaceRoles>> {
        self.cached().by_namespace.get(namespace).cloned()
    }

    pub(super) fn contains(&self, namespace: &NamespaceId) -> bool {
        self.cached().by_namespace.contains(namespace)
    }

    /// Removes the bindings of a namespace, so that the next check reads them again.
    pub(super) fn invalidate(&self, namespace: &NamespaceId) {
        let mut all = self.cached();
        all.by_namespace.pop(namespace);
        all.generation += 1;
    }

    /// Returns whether the cached bindings of a namespace that was used recently give any of these members a permission, however old they are.
    pub(super) fn permit_recently(&self, members: &[String], permission: Permission) -> bool {
        // The most recently used come first.
        self.cached().by_namespace.iter().take(RECENT_NAMESPACES).any(|(_, roles)| roles.permit(members, permission))
    }

    /// Returns whether the cached bindings of any namespace give any of these members a permission.
    pub(super) fn permit_anywhere(&self, members: &[String], permission: Permission) -> bool {
        self.cached().by_namespace.iter().any(|(_, roles)| roles.permit(members, permission))
    }

    /// Returns the generation. Read it before the bindings are read.
    pub(super) fn generation(&self) -> u64 {
        self.cached().generation
    }

    /// Caches bindings that were read in a generation. If it is outdated, they are not cached, and only this call uses them: otherwise a
    /// role that was just deleted here would stay valid until the next recheck.
    pub(super) fn insert(
        &self,
        namespace: &NamespaceId,
        roles: NamespaceRoles,
        generation: u64,
    ) -> Arc<NamespaceRoles> {
        let roles = Arc::new(roles);
        let mut all = self.cached();
        if all.generation != generation {
            return roles;
        }
        all.by_namespace.put(namespace.clone(), Arc::clone(&roles));
        roles
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use futures_util::future::join_all;

    use super::*;
    use crate::domain::event::{Cursor, Head};

    /// Given more namespaces than the cache has room for, the bindings of one that is used stay, and can still be invalidated.
    #[test]
    fn what_is_used_stays_however_many_namespaces_come() {
        let (cache, most) = (BindingCache::default(), CACHED_NAMESPACES_MAX.get());
        let state = LogState { head: Head { cursor: Cursor::default(), hash: [0; 32] }, access_revision: 0 };
        let insert = |namespace: &NamespaceId| {
            drop(cache.insert(namespace, NamespaceRoles::new(Vec::new(), state, Micros(0)), cache.generation()));
        };
        let other = |number: usize| NamespaceId::parse("namespace", &format!("n{number}")).expect("an id");
        let used = NamespaceId::system();
        insert(&used);
        for number in 0..2 * most {
            insert(&other(number));
            assert!(cache.cached().by_namespace.len() <= most);
            assert!(number % 5_000 != 0 || cache.get(&used).is_some(), "read again after {number} others");
        }
        assert!(cache.get(&used).is_some() && cache.contains(&other(most + 1)));
        assert!(!cache.contains(&other(most)), "the one that was used least recently is gone");
        cache.invalidate(&used);
        assert!(cache.get(&used).is_none(), "a change counts at once");
    }

    /// Given many callers at once in a namespace that is not cached, one of them reads it, and the others wait for that.
    #[tokio::test]
    async fn callers_at_once_cause_one_read() {
        let (cache, namespace) = (BindingCache::default(), NamespaceId::system());
        let state = LogState { head: Head { cursor: Cursor::default(), hash: [0; 32] }, access_revision: 0 };
        let (cached, lock) = cache.get_or_lock(&namespace).await;
        assert!(cached.is_none() && lock.is_some(), "the first one reads");
        let mut others = join_all((0..100).map(|_| cache.get_or_lock(&namespace)));
        assert!((&mut others).now_or_never().is_none(), "the others wait");
        cache.insert(&namespace, NamespaceRoles::new(Vec::new(), state, Micros(0)), cache.generation());
        drop(lock);
        assert!(others.await.iter().all(|(cached, lock)| cached.is_some() && lock.is_none()));
        cache.invalidate(&namespace);
        let (_, failed) = cache.get_or_lock(&namespace).await;
        let mut others = join_all((0..100).map(|_| cache.get_or_lock(&namespace)));
        assert!((&mut others).now_or_never().is_none());
        drop(failed);
        assert!(others.await.iter().all(|(cached, lock)| cached.is_none() && lock.is_none()), "each tries by itself");
        assert_eq!(cache.read_locks.lock().expect("a lock").len(), 1, "locks that nobody holds go with the next one");
    }

    /// Given a read that began before a change and ends after it, its result is not cached.
    #[test]
    fn what_was_read_before_a_change_is_not_kept_after_it() {
        let (cache, namespace) = (BindingCache::default(), NamespaceId::system());
        let state = LogState { head: Head { cursor: Cursor::default(), hash: [0; 32] }, access_revision: 0 };
        let roles = || NamespaceRoles::new(Vec::new(), state, Micros(0));
        let before = cache.generation();
        cache.invalidate(&namespace);
        cache.insert(&namespace, roles(), before);
        assert!(cache.get(&namespace).is_none(), "it may hold the role that was taken away");
        cache.insert(&namespace, roles(), cache.generation());
        assert!(cache.get(&namespace).is_some());
    }
}
