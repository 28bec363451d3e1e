//! Closed versions that this process authenticated: they are read once, and remembered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::event::Cursor;
use crate::domain::label::Label;
use crate::domain::name::PolicyName;

/// Policies and labels that are remembered, some 100 bytes each. When there are more, all are forgotten, and their rows read
/// again.
const REMEMBERED_MAX: usize = 200_000;

/// What this server proved of the first versions of each policy: that they are closed, and the labels of those published.
#[derive(Debug, Default)]
pub(in crate::store) struct ClosedVersions(Mutex<HashMap<PolicyName, Arc<Closed>>>);

#[derive(Debug, Clone)]
pub(in crate::store) struct Closed {
    /// The head of the log where it was authenticated. It counts in that epoch alone, since a log that lost its tail goes on in another; and
    /// not in a view of before, where what is closed by now is still open, or not there yet.
    pub(in crate::store) head: Cursor,
    /// Each number up to this one is closed.
    pub(in crate::store) through: i64,
    pub(in crate::store) labels: Vec<Label>,
}

impl ClosedVersions {
    fn policies(&self) -> MutexGuard<'_, HashMap<PolicyName, Arc<Closed>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known in a view of the log up to `head`.
    pub(in crate::store) fn of(&self, policy: &PolicyName, head: Cursor) -> Arc<Closed> {
        let is_of_view = |known: &Closed| known.head.epoch == head.epoch && known.head <= head;
        let known = self.policies().get(policy).filter(|known| is_of_view(known)).cloned();
        known.unwrap_or_else(|| Arc::new(Closed { head, through: 0, labels: Vec::new() }))
    }

    /// Remembers what was authenticated, unless a later view covered more.
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
