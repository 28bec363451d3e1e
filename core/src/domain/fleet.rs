//! The fleet: how many runtimes are live, and how many of them run with what each pointer points to.
//!
//! Pure: whoever asks has read the subscribers and the pointers.

use std::collections::BTreeMap;

use super::convergence::{Progress, progress};
use super::event::Cursor;
use super::name::PolicyId;
use super::subscriber::Subscriber;
use super::time::Micros;

/// How far the last move of a pointer has come among the live runtimes that watch its policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PointerProgress {
    /// They run with it, or with something newer.
    pub applied: usize,
    /// They keep something older.
    pub rejected: usize,
    /// They said nothing about it yet.
    pub pending: usize,
}

/// The counts of a fleet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FleetCounts {
    /// Subscribers whose lease holds.
    pub live: usize,
    /// Subscribers whose lease has ended, as far as they are still known.
    pub offline: u64,
    /// The progress of each pointer.
    pub pointers: BTreeMap<PolicyId, PointerProgress>,
}

impl PointerProgress {
    /// Returns how many it concerns.
    #[must_use]
    pub fn concerned(&self) -> usize {
        self.applied + self.rejected + self.pending
    }
}

impl FleetCounts {
    /// Counts the subscribers that are live at `now`. `pointers` has the event that moved each pointer last.
    pub fn count<'a>(
        subscribers: impl IntoIterator<Item = &'a Subscriber>,
        pointers: &BTreeMap<PolicyId, Cursor>,
        offline: u64,
        now: Micros,
    ) -> Self {
        let mut counts = Self { offline, ..Self::default() };
        counts.pointers.extend(pointers.keys().map(|policy| (policy.clone(), PointerProgress::default())));
        for subscriber in subscribers.into_iter().filter(|each| each.is_online(now)) {
            counts.live += 1;
            let watched = &subscriber.profile.policies;
            for (policy, own) in &mut counts.pointers {
                let Some(moved) = pointers.get(policy) else { continue };
                if !watched.is_empty() && !watched.contains(policy) {
                    continue;
                }
                match progress(&subscriber.status, *moved) {
                    Progress::Applied => own.applied += 1,
                    Progress::Rejected => own.rejected += 1,
                    Progress::Pending => own.pending += 1,
                }
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::subscriber::{Profile, SubscriberId, SubscriberStatus};

    fn at(revision: i64) -> Cursor {
        Cursor { epoch: 1, revision }
    }

    fn subscriber(id: &str, applied: i64, rejected: i64, policies: &[&str], lease_end: i64) -> Subscriber {
        let rejected = if rejected == 0 { Cursor::NONE } else { at(rejected) };
        Subscriber {
            id: SubscriberId::parse("id", id).expect("an id"),
            owner: "local:a".to_owned(),
            profile: Profile { policies: policies.iter().map(|id| policy(id)).collect(), ..Profile::default() },
            status: SubscriberStatus { applied: at(applied), rejected, ..SubscriberStatus::default() },
            last_seen: Micros(0),
            lease_end: Micros(lease_end),
        }
    }

    fn policy(id: &str) -> PolicyId {
        PolicyId::parse("policy", id).expect("an id")
    }

    #[test]
    fn each_pointer_is_counted_among_those_whom_it_concerns() {
        let fleet = [
            subscriber("all", 7, 0, &[], 9),
            subscriber("behind", 3, 0, &[], 9),
            subscriber("rejects", 3, 7, &["a"], 9),
            subscriber("other", 0, 0, &["b"], 9),
            subscriber("gone", 7, 0, &[], 1),
        ];
        let pointers = BTreeMap::from([(policy("a"), at(7)), (policy("b"), at(2))]);
        let counts = FleetCounts::count(&fleet, &pointers, 1, Micros(5));
        assert_eq!((counts.live, counts.offline), (4, 1));
        assert_eq!(counts.pointers[&policy("a")], PointerProgress { applied: 1, rejected: 1, pending: 1 });
        assert_eq!(counts.pointers[&policy("b")], PointerProgress { applied: 2, rejected: 0, pending: 1 });
        assert_eq!(counts.pointers[&policy("b")].concerned(), 3);
    }
}
