//! Caches the closed versions that this process authenticated, so that each is read once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use crate::domain::event::Cursor;
use crate::domain::label::Label;
use crate::domain::name::PolicyName;

/// Number of policies and labels in the cache, some 100 bytes each. Beyond it, the rows of policies that were used least recently are read
/// again.
const REMEMBERED_MAX: usize = 200_000;

/// What this server authenticated of the first versions of each policy: that they are closed, and the labels of those published.
#[derive(Debug, Default)]
pub(in crate::store) struct ClosedVersions(Mutex<Remembered>);

#[derive(Debug)]
struct Remembered {
    by_policy: LruCache<PolicyName, Arc<Closed>>,
    /// The size of all of them, in policies and labels.
    size: usize,
}

impl Default for Remembered {
    fn default() -> Self {
        Self { by_policy: LruCache::unbounded(), size: 0 }
    }
}

#[derive(Debug, Clone)]
pub(in crate::store) struct Closed {
    /// Head of the log at which it was authenticated. An entry is used in that epoch alone, since a log that lost its tail continues in
    /// another one. It is not used for an earlier view, in which a version that is closed now may be open or missing.
    pub(in crate::store) head: Cursor,
    /// Every number up to this one is closed.
    pub(in crate::store) through: i64,
    pub(in crate::store) labels: Vec<Label>,
}

impl Closed {
    /// Returns what it counts for in the cache: its labels, and one for the policy.
    fn size(&self) -> usize {
        self.labels.len() + 1
    }
}

impl ClosedVersions {
    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what is known for a view of the log up to `head`.
    pub(in crate::store) fn of(&self, policy: &PolicyName, head: Cursor) -> Arc<Closed> {
        let is_of_view = |known: &Closed| known.head.epoch == head.epoch && known.head <= head;
        let known = self.remembered().by_policy.get(policy).filter(|known| is_of_view(known)).cloned();
        known.unwrap_or_else(|| Arc::new(Closed { head, through: 0, labels: Vec::new() }))
    }

    /// Caches what was authenticated, unless a later view covered more.
    pub(in crate::store) fn learn(&self, policy: &PolicyName, closed: Closed) {
        let mut all = self.remembered();
        if all.by_policy.peek(policy).is_some_and(|known| known.head > closed.head) {
            return;
        }
        all.size += closed.size();
        let replaced = all.by_policy.put(policy.clone(), Arc::new(closed));
        all.size -= replaced.map_or(0, |replaced| replaced.size());
        // What was just authenticated stays, whatever its size.
        while all.size > REMEMBERED_MAX && all.by_policy.len() > 1 {
            let Some((_, oldest)) = all.by_policy.pop_lru() else { break };
            all.size -= oldest.size();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::name::{NamespaceId, PolicyId};

    fn named(policy: &str) -> PolicyName {
        PolicyName {
            namespace: NamespaceId::parse("namespace", "default").expect("a namespace"),
            policy: PolicyId::parse("policy", policy).expect("a policy"),
        }
    }

    /// Given more than the cache has room for, policies that were used least recently are read again, and no more of them than have to.
    #[test]
    fn what_is_used_stays_however_many_policies_come() {
        const LABELS: usize = 99;
        let (closed_versions, head) = (ClosedVersions::default(), Cursor { epoch: 1, revision: 1 });
        let labels = vec![Label::parse("label", "1.0.0").expect("a label"); LABELS];
        let learn =
            |policy: &str| closed_versions.learn(&named(policy), Closed { head, through: 1, labels: labels.clone() });
        let is_known = |policy: &str| closed_versions.of(&named(policy), head).through == 1;
        let most = REMEMBERED_MAX / (LABELS + 1);
        learn("used");
        for number in 0..2 * most {
            learn(&format!("p{number}"));
            assert!(closed_versions.remembered().size <= REMEMBERED_MAX);
            assert!(number % 1_000 != 0 || is_known("used"), "read again after {number} others");
        }
        assert!(is_known("used") && is_known(&format!("p{}", most + 1)));
        assert!(!is_known(&format!("p{most}")), "the one that was used least recently is gone");
        for _ in 0..2 {
            learn("used");
        }
        assert_eq!(closed_versions.remembered().size, most * (LABELS + 1), "what replaces itself counts once");
    }

    #[test]
    fn what_was_proven_later_is_nothing_to_an_earlier_view() {
        let (closed_versions, policy) = (ClosedVersions::default(), named("p"));
        let at = |epoch, revision| Cursor { epoch, revision };
        let closed = |head, through| Closed { head, through, labels: Vec::new() };
        let through = |head| closed_versions.of(&policy, head).through;
        closed_versions.learn(&policy, closed(at(1, 5), 2));
        assert_eq!((through(at(1, 4)), through(at(1, 5)), through(at(1, 6))), (0, 2, 2));
        assert_eq!((through(at(2, 6)), through(at(0, 9))), (0, 0), "another epoch");
        closed_versions.learn(&policy, closed(at(1, 4), 1));
        assert_eq!(through(at(1, 5)), 2, "an earlier view does not make it forgotten");
        closed_versions.learn(&policy, closed(at(2, 1), 1));
        assert_eq!((through(at(2, 1)), through(at(1, 9))), (1, 0));
    }
}
