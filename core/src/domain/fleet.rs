//! The fleet: how many runtimes are live, and how many of them run with what each pointer points to.
//!
//! Pure: whoever asks has read the subscribers and the pointers.

use std::collections::{BTreeMap, BTreeSet};

use super::convergence::{Progress, progress};
use super::event::Cursor;
use super::name::PolicyId;
use super::subscriber::{Subscriber, SubscriberStatus};
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
    /// The progress of pointers.
    pub pointers: BTreeMap<PolicyId, PointerProgress>,
}

impl PointerProgress {
    fn add(&mut self, of_one: Progress) {
        match of_one {
            Progress::Applied => self.applied += 1,
            Progress::Rejected => self.rejected += 1,
            Progress::Pending => self.pending += 1,
        }
    }

    /// Returns how many it concerns.
    #[must_use]
    pub fn concerned(&self) -> usize {
        self.applied + self.rejected + self.pending
    }
}

impl FleetCounts {
    /// Counts the subscribers that are live at `now`. `pointers` has each policy with the event that moved its pointer last. The progress
    /// is that of the pointers of `shown`, and of those that somebody rejects.
    ///
    /// It takes the sum of subscribers and pointers, not their product, but for the policies that subscribers name one by one.
    pub fn count<'a>(
        subscribers: impl IntoIterator<Item = &'a Subscriber>,
        pointers: impl IntoIterator<Item = (&'a PolicyId, Cursor)>,
        shown: &BTreeSet<PolicyId>,
        offline: u64,
        now: Micros,
    ) -> Self {
        let pointers: BTreeMap<&PolicyId, Cursor> = pointers.into_iter().collect();
        let mut counts = Self { offline, ..Self::default() };
        let (mut of_all, mut of_some) = (StatusesOfAll::default(), BTreeMap::<&PolicyId, PointerProgress>::new());
        for subscriber in subscribers.into_iter().filter(|each| each.is_online(now)) {
            counts.live += 1;
            if subscriber.profile.policies.is_empty() {
                of_all.add(&subscriber.status);
            }
            for policy in &subscriber.profile.policies {
                if let Some((policy, moved)) = pointers.get_key_value(policy) {
                    of_some.entry(policy).or_default().add(progress(&subscriber.status, *moved));
                }
            }
        }
        of_all.sort();
        for (policy, moved) in pointers {
            let (all, some) = (of_all.progress(moved), of_some.get(policy).copied().unwrap_or_default());
            let progress = PointerProgress {
                applied: all.applied + some.applied,
                rejected: all.rejected + some.rejected,
                pending: all.pending + some.pending,
            };
            if progress.rejected > 0 || shown.contains(policy) {
                counts.pointers.insert(policy.clone(), progress);
            }
        }
        counts
    }
}

/// What subscribers that watch all policies say, so that the progress of a pointer is two searches.
#[derive(Debug, Default)]
struct StatusesOfAll {
    /// What each runs with; none for one that withdrew it.
    applied: Vec<Cursor>,
    /// The newest that each said anything about.
    said: Vec<Cursor>,
}

impl StatusesOfAll {
    fn add(&mut self, status: &SubscriberStatus) {
        // Somebody who rejected what it had applied does not run with it.
        let applied = if status.rejected == status.applied { Cursor::NONE } else { status.applied };
        self.applied.push(applied);
        self.said.push(status.rejected.max(applied));
    }

    fn sort(&mut self) {
        self.applied.sort_unstable();
        self.said.sort_unstable();
    }

    /// Returns the progress of a pointer that moved at a cursor. What was added is sorted.
    fn progress(&self, moved: Cursor) -> PointerProgress {
        let from = |cursors: &[Cursor]| cursors.len() - cursors.partition_point(|cursor| *cursor < moved);
        let (applied, said) = (from(&self.applied), from(&self.said));
        PointerProgress { applied, rejected: said - applied, pending: self.said.len() - said }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::subscriber::{Profile, SubscriberId};

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
        let (a, b, c) = (policy("a"), policy("b"), policy("c"));
        let pointers = [(&a, at(7)), (&b, at(2)), (&c, at(1))];
        let counts = FleetCounts::count(&fleet, pointers, &BTreeSet::from([b.clone()]), 1, Micros(5));
        assert_eq!((counts.live, counts.offline), (4, 1));
        assert_eq!(counts.pointers[&a], PointerProgress { applied: 1, rejected: 1, pending: 1 }, "it is rejected");
        assert_eq!(counts.pointers[&b], PointerProgress { applied: 2, rejected: 0, pending: 1 }, "it was asked for");
        assert_eq!(counts.pointers[&b].concerned(), 3);
        assert!(!counts.pointers.contains_key(&c));
    }

    /// Given every small status, the counts are those of [`progress`] one by one.
    #[test]
    fn counts_are_those_of_each_subscriber() {
        let mut fleet = Vec::new();
        for (number, watched) in [&[][..], &["a"], &["b", "c"]].iter().enumerate() {
            for applied in 0..5 {
                for rejected in 0..5 {
                    let mut each =
                        subscriber(&format!("s-{number}-{applied}-{rejected}"), applied, rejected, watched, 9);
                    each.status.applied = if applied == 0 { Cursor::NONE } else { at(applied) };
                    fleet.push(each);
                }
            }
        }
        let policies = ["a", "b", "c", "d"].map(policy);
        let pointers = policies.iter().zip([1, 2, 3, 4].map(at));
        let counts = FleetCounts::count(&fleet, pointers.clone(), &policies.iter().cloned().collect(), 0, Micros(5));
        for (policy, moved) in pointers {
            let mut expected = PointerProgress::default();
            let watches =
                |each: &&Subscriber| each.profile.policies.is_empty() || each.profile.policies.contains(policy);
            fleet.iter().filter(watches).for_each(|each| expected.add(progress(&each.status, moved)));
            assert_eq!(counts.pointers[policy], expected, "{policy}");
        }
    }
}
