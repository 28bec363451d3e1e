//! Caches the closed versions that this process authenticated, so that each is read once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::event::Cursor;
use crate::domain::label::Label;
use crate::domain::name::PolicyName;

/// Number of policies and labels in the cache, some 100 bytes each. Beyond it, the cache is cleared and rows are read again.
const REMEMBERED_MAX: usize = 200_000;

/// What this server authenticated of the first versions of each policy: that they are closed, and the labels of those published.
#[derive(Debug, Default)]
pub(in crate::store) struct ClosedVersions(Mutex<HashMap<PolicyName, Arc<Closed>>>);

#[derive(Debug, Clone)]
pub(in crate::store) struct Closed {
    /// Head of the log at which it was authenticated. An entry is used in that epoch alone, since a log that lost its tail continues in
    /// another one. It is not used for an earlier view, in which a version that is closed now may be open or missing.
    pub(in crate::store) head: Cursor,
    /// Every number up to this one is closed.
    pub(in crate::store) through: i64,
    pub(in crate::store) labels: Vec<Label>,
}

impl ClosedVersions {
    fn policies(&self) -> MutexGuard<'_, HashMap<PolicyName, Arc<Closed>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what is known for a view of the log up to `head`.
    pub(in crate::store) fn of(&self, policy: &PolicyName, head: Cursor) -> Arc<Closed> {
        let is_of_view = |known: &Closed| known.head.epoch == head.epoch && known.head <= head;
        let known = self.policies().get(policy).filter(|known| is_of_view(known)).cloned();
        known.unwrap_or_else(|| Arc::new(Closed { head, through: 0, labels: Vec::new() }))
    }

    /// Caches what was authenticated, unless a later view covered more.
    pub(in crate::store) fn learn(&self, policy: &PolicyName, closed: Closed) {
        let mut policies = self.policies();
        if policies.get(policy).is_some_and(|known| known.head > closed.head) {
            return;
        }
        if policies.values().map(|known| known.labels.len() + 1).sum::<usize>() >= REMEMBERED_MAX {
            policies.clear();
        }
        policies.insert(policy.clone(), Arc::new(closed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::name::NamespaceId;

    #[test]
    fn what_was_proven_later_is_nothing_to_an_earlier_view() {
        let closed_versions = ClosedVersions::default();
        let policy = PolicyName {
            namespace: NamespaceId::parse("namespace", "default").expect("a namespace"),
            policy: crate::domain::name::PolicyId::parse("policy", "p").expect("a policy"),
        };
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
