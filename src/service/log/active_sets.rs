//! A cache of the tree of each active set that this replica writes to. The next event names the root of its tree.
//!
//! The database is an untrusted log: a tree is used only when its root is the one that the signed event at the head names. So a pointer
//! that was changed, reset to an older value or deleted stops the namespace before anything is signed over it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use crate::domain::bundle::ActiveEntry;
use crate::domain::digest::ActiveSetRoot;
use crate::domain::event::{Cursor, Event, Head, Payload, PointerChange};
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::{Error, Result};
use crate::service::proof::{SetMoves, Signer, apply_moves, leaf, moves_of, tree_of};
use crate::signing::ActiveSetTree;
use crate::store::ReadTx;
use crate::watch::Verify as _;

/// Number of policies and namespaces in all cached trees, a few hundred bytes each. Beyond it, the namespaces that were used least recently
/// lose theirs, and their next write reads their pointers again.
const CACHED_POLICIES_MAX: usize = 200_000;

/// The active set of each namespace, as of a head.
#[derive(Debug, Default)]
pub struct ActiveSetCache(Mutex<CachedSets>);

#[derive(Debug)]
struct CachedSets {
    by_namespace: LruCache<NamespaceId, ProvenActiveSet>,
    /// The size of all of them, in policies and namespaces.
    policies: usize,
}

impl Default for CachedSets {
    fn default() -> Self {
        Self { by_namespace: LruCache::unbounded(), policies: 0 }
    }
}

/// The active set of a namespace at a head, proven.
#[derive(Debug, Clone)]
pub struct ProvenActiveSet {
    head: Head,
    tree: ActiveSetTree,
}

impl ActiveSetCache {
    fn sets(&self) -> MutexGuard<'_, CachedSets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn cached(&self, namespace: &NamespaceId) -> Option<ProvenActiveSet> {
        self.sets().by_namespace.get(namespace).cloned()
    }

    /// Caches a set whose event was committed.
    pub fn keep(&self, namespace: &NamespaceId, set: ProvenActiveSet) {
        let mut all = self.sets();
        all.policies += set.cached_policies();
        let replaced = all.by_namespace.put(namespace.clone(), set);
        all.policies -= replaced.map_or(0, |replaced| replaced.cached_policies());
        // The set that was just written stays, whatever its size.
        while all.policies > CACHED_POLICIES_MAX && all.by_namespace.len() > 1 {
            let Some((_, oldest)) = all.by_namespace.pop_lru() else { break };
            all.policies -= oldest.cached_policies();
        }
    }

    /// Returns the set of a locked log at its head, proven.
    ///
    /// # Errors
    /// `DATA_LOSS` when the pointers do not make the root that the event at the head names.
    pub async fn read_at_head(
        &self,
        signer: &Signer,
        tx: &ReadTx,
        namespace: &NamespaceId,
        head: Head,
    ) -> Result<ProvenActiveSet> {
        let kept = self.cached(namespace);
        if let Some(kept) = kept.as_ref().filter(|kept| kept.head == head) {
            return Ok(kept.clone());
        }
        let Cursor { revision, .. } = head.cursor;
        let signed_root = match revision {
            0 => Some(ActiveSetRoot::default()),
            _ => signer.head(&tx.event(namespace, revision).await?, head)?.active_set_root,
        };
        // Another replica wrote since: reading the moved pointers is sufficient, unless the log was replaced by another history.
        if let Some(ProvenActiveSet { head: Head { cursor: known, .. }, mut tree }) = kept
            && known.revision <= revision
        {
            let since = read_entries(tx, namespace, known.revision, revision).await?;
            apply_moves(&mut tree, &since);
            if signed_root == Some(ActiveSetRoot(tree.root())) {
                return Ok(ProvenActiveSet { head, tree });
            }
        }
        Self::read_whole(tx, namespace, head, signed_root).await
    }

    /// Returns the set right after an older event, which is proven.
    ///
    /// # Errors
    /// `DATA_LOSS` when the pointers do not make the root that the event names.
    pub async fn read_at_event(tx: &ReadTx, event: &Event, payload: &Payload) -> Result<ProvenActiveSet> {
        Self::read_whole(tx, &event.namespace, event.head(), payload.active_set_root).await
    }

    /// Returns the pointers of the set right after an event, which is proven, in byte order of its policies.
    ///
    /// # Errors
    /// The same as `read_at_event`.
    pub async fn read_entries_at_event(
        tx: &ReadTx,
        event: &Event,
        payload: &Payload,
    ) -> Result<Vec<(PolicyId, ActiveEntry)>> {
        let revision = event.cursor.revision;
        let entries = read_entries(tx, &event.namespace, 0, revision).await?;
        check_root(&event.namespace, revision, payload.active_set_root, &tree_of(&entries))?;
        Ok(entries.into_iter().filter_map(|(policy, entry)| Some((policy, entry?))).collect())
    }

    async fn read_whole(
        tx: &ReadTx,
        namespace: &NamespaceId,
        head: Head,
        signed_root: Option<ActiveSetRoot>,
    ) -> Result<ProvenActiveSet> {
        let revision = head.cursor.revision;
        let tree = tree_of(&read_entries(tx, namespace, 0, revision).await?);
        check_root(namespace, revision, signed_root, &tree)?;
        Ok(ProvenActiveSet { head, tree })
    }
}

fn check_root(
    namespace: &NamespaceId,
    revision: i64,
    signed_root: Option<ActiveSetRoot>,
    tree: &ActiveSetTree,
) -> Result<()> {
    // Older events were written without a root; the next event has one.
    if signed_root.is_none_or(|signed_root| signed_root == ActiveSetRoot(tree.root())) {
        return Ok(());
    }
    Err(Error::data_loss(format!("{namespace}: its pointers do not make the root that event {revision} names")))
}

async fn read_entries(
    tx: &ReadTx,
    namespace: &NamespaceId,
    after: i64,
    revision: i64,
) -> Result<Vec<(PolicyId, Option<ActiveEntry>)>> {
    if after >= revision { Ok(Vec::new()) } else { tx.active_entries(namespace, after, revision).await }
}

impl ProvenActiveSet {
    /// Checks that policies point to the versions of this set: the decision read their pointers from rows.
    ///
    /// # Errors
    /// `DATA_LOSS`.
    pub fn check_pointed(&self, pointed: &SetMoves) -> Result<()> {
        let is_other = |(policy, entry): &&(PolicyId, Option<ActiveEntry>)| match entry {
            Some(entry) => !self.tree.holds(leaf(policy, entry)),
            None => self.tree.contains(policy),
        };
        match pointed.iter().find(is_other) {
            Some((policy, _)) => Err(Error::data_loss(format!("{policy}: its pointer is not where the log put it"))),
            None => Ok(()),
        }
    }

    /// Returns the set after an event at `cursor`.
    pub fn after(mut self, pointers: &[PointerChange], cursor: Cursor) -> Self {
        apply_moves(&mut self.tree, &moves_of(pointers, cursor));
        self
    }

    /// Returns the same set at the event that was written.
    pub fn at(self, head: Head) -> Self {
        Self { head, ..self }
    }

    /// Returns the root of its tree.
    pub fn root(&self) -> ActiveSetRoot {
        ActiveSetRoot(self.tree.root())
    }

    /// Returns what it counts for in the cache: its policies, and one for itself.
    fn cached_policies(&self) -> usize {
        self.tree.len() + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::digest::Digest;

    /// Returns a set of so many policies, all of one version.
    fn set_of(policies: usize) -> ProvenActiveSet {
        let entry = |number: usize| {
            let policy = PolicyId::parse("policy", &format!("p{number}")).expect("an id");
            let digest = Digest::from_sha256(&[0; 32]);
            (policy, Some(ActiveEntry { version: 1, digest, activation: Cursor::default() }))
        };
        let entries: Vec<_> = (0..policies).map(entry).collect();
        ProvenActiveSet { head: Head::EMPTY, tree: tree_of(&entries) }
    }

    /// Given more sets than the cache has room for, those that were used least recently go, and no more of them than have to.
    #[test]
    fn a_set_that_is_used_stays_however_many_come() {
        const POLICIES: usize = 999;
        let (cache, set) = (ActiveSetCache::default(), set_of(POLICIES));
        let named = |number: usize| NamespaceId::parse("namespace", &format!("n{number}")).expect("an id");
        let is_known = |number: usize| cache.cached(&named(number)).is_some();
        let most = CACHED_POLICIES_MAX / (POLICIES + 1);
        for number in 0..most {
            cache.keep(&named(number), set.clone());
        }
        assert!(is_known(0), "all fit");
        for number in most..2 * most - 1 {
            cache.keep(&named(number), set.clone());
            assert!(cache.sets().policies <= CACHED_POLICIES_MAX);
        }
        assert!(is_known(0), "it was used after the others of its time");
        assert!((1..most).all(|number| !is_known(number)) && (most..2 * most - 1).all(is_known));
        cache.keep(&named(0), set_of(0));
        assert_eq!(cache.sets().policies, CACHED_POLICIES_MAX - POLICIES, "a set that shrank makes room");
        let largest = ProvenActiveSet { head: Head::EMPTY, tree: tree_of(&[]) };
        cache.keep(&named(2 * most), largest);
        assert!((most..2 * most - 1).all(is_known), "for another one");
    }
}
