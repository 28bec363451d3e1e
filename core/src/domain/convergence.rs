//! How far an activation has come: each subscriber whose lease holds is counted once.
//!
//! Pure: whoever asks has read the subscribers.

use std::collections::{BTreeMap, BTreeSet};

use super::event::Cursor;
use super::limits::{CONVERGENCE_NAMED_MAX, CONVERGENCE_PRINCIPALS_MAX};
use super::name::PolicyId;
use super::subscriber::{Subscriber, SubscriberId, SubscriberStatus};
use super::time::Micros;

/// What a subscriber has made of an activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It runs with it, or with something newer.
    Applied,
    /// It keeps something older.
    Rejected,
    /// It said nothing about it, nor about anything newer.
    Pending,
}

/// The progress of an activation.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are those of the proto's GetConvergenceResponse")]
pub struct ConvergenceAnswer {
    pub cursor: Cursor,
    pub counts: Convergence,
    pub offline: u64,
    pub rejected: Vec<Subscriber>,
    pub pending: Vec<Subscriber>,
    pub gone: Vec<Subscriber>,
    /// The newest event that moved one of its policies away from the version that it put in force.
    pub superseded_by: Option<Cursor>,
    /// The time at which leases were compared.
    pub now: Micros,
}

/// Returns where a runtime stands with an activation. One that rejected something newer still runs with this one; one that
/// rejected the very place it had applied does not run with it any more.
#[must_use]
pub fn progress(status: &SubscriberStatus, activation: Cursor) -> Progress {
    let withdrawn = status.rejected == status.applied;
    if status.applied >= activation && !withdrawn {
        Progress::Applied
    } else if status.rejected >= activation {
        Progress::Rejected
    } else {
        Progress::Pending
    }
}

/// The counts of the subscribers of one principal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the proto's PrincipalProgress")]
pub struct PrincipalProgress {
    pub principal: String,
    pub applied: usize,
    pub rejected: usize,
    pub pending: usize,
    pub gone: usize,
}

impl PrincipalProgress {
    /// Returns how many do not run with it.
    fn missing(&self) -> usize {
        self.rejected + self.pending + self.gone
    }
}

/// The counts, and the first of those that need looking at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the proto's GetConvergenceResponse")]
pub struct Convergence {
    pub applied: usize,
    pub rejected: usize,
    pub pending: usize,
    pub diverged: usize,
    pub unconcerned: usize,
    pub gone: usize,
    pub rejected_ids: Vec<SubscriberId>,
    pub pending_ids: Vec<SubscriberId>,
    pub gone_ids: Vec<SubscriberId>,
    pub principals: Vec<PrincipalProgress>,
}

/// Returns the first `CONVERGENCE_PRINCIPALS_MAX`: those with most that is missing, then by name.
fn most_missing(principals: BTreeMap<&str, PrincipalProgress>) -> Vec<PrincipalProgress> {
    let named = principals.into_iter().map(|(name, counts)| PrincipalProgress { principal: name.to_owned(), ..counts });
    let mut all: Vec<PrincipalProgress> = named.collect();
    // The sort is stable: equal counts stay in order of their names.
    all.sort_by_key(|counts| std::cmp::Reverse(counts.missing()));
    all.truncate(CONVERGENCE_PRINCIPALS_MAX);
    all
}

impl Convergence {
    /// Counts the subscribers that are live at `now`, and those whose lease ended lately, in order of their ids. `moved` are
    /// the policies that the activation moved.
    pub fn count<'a>(
        recent: impl IntoIterator<Item = &'a Subscriber>,
        activation: Cursor,
        moved: &BTreeSet<PolicyId>,
        now: Micros,
    ) -> Self {
        let mut counts = Self::default();
        let mut principals: BTreeMap<&str, PrincipalProgress> = BTreeMap::new();
        for subscriber in recent {
            let watched = &subscriber.profile.policies;
            let is_online = subscriber.is_online(now);
            if !watched.is_empty() && watched.is_disjoint(moved) {
                counts.unconcerned += usize::from(is_online);
                continue;
            }
            let progress = progress(&subscriber.status, activation);
            if progress == Progress::Applied && !is_online {
                // A subscriber that had applied it before it ended is not missing.
                continue;
            }
            let own = principals.entry(&subscriber.owner).or_default();
            let named = match progress {
                Progress::Rejected | Progress::Pending if !is_online => {
                    own.gone += 1;
                    &mut counts.gone_ids
                }
                Progress::Applied => {
                    own.applied += 1;
                    counts.diverged += usize::from(subscriber.has_diverged());
                    continue;
                }
                Progress::Rejected => {
                    own.rejected += 1;
                    &mut counts.rejected_ids
                }
                Progress::Pending => {
                    own.pending += 1;
                    &mut counts.pending_ids
                }
            };
            if named.len() < CONVERGENCE_NAMED_MAX {
                named.push(subscriber.id.clone());
            }
        }
        let sum = |count: fn(&PrincipalProgress) -> usize| principals.values().map(count).sum();
        counts.applied = sum(|own| own.applied);
        counts.rejected = sum(|own| own.rejected);
        counts.pending = sum(|own| own.pending);
        counts.gone = sum(|own| own.gone);
        counts.principals = most_missing(principals);
        counts
    }

    /// Returns whether everybody concerned has spoken.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.pending == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::subscriber::Profile;

    /// Before the lease of every subscriber ends.
    const NOW: Micros = Micros(-1);

    fn at(revision: i64) -> Cursor {
        if revision == 0 { Cursor::NONE } else { Cursor { epoch: 1, revision } }
    }

    fn status(applied: i64, rejected: i64) -> SubscriberStatus {
        SubscriberStatus {
            applied: at(applied),
            applied_matches: true,
            rejected: at(rejected),
            ..SubscriberStatus::default()
        }
    }

    #[test]
    fn a_subscriber_is_where_its_newest_word_puts_it() {
        use Progress::{Applied, Pending, Rejected};
        for (applied, rejected, expected) in [
            (0, 0, Pending),
            (6, 0, Pending),
            (7, 0, Applied),
            (9, 0, Applied),
            (6, 7, Rejected),
            (0, 7, Rejected),
            // It rejected something older and has not reported since.
            (5, 6, Pending),
            // It never applied 7, and rejected what came after.
            (6, 9, Rejected),
            // It runs with 7 or newer, and rejected what came after that.
            (7, 9, Applied),
            (8, 9, Applied),
            // It took back what it had applied.
            (7, 7, Rejected),
            (9, 9, Rejected),
            (6, 6, Pending),
        ] {
            assert_eq!(progress(&status(applied, rejected), at(7)), expected, "{applied} {rejected}");
        }
    }

    #[test]
    fn an_older_epoch_is_older_whatever_its_revision() {
        let status = SubscriberStatus { applied: Cursor { epoch: 1, revision: 90 }, ..SubscriberStatus::default() };
        assert_eq!(progress(&status, Cursor { epoch: 2, revision: 7 }), Progress::Pending);
        assert_eq!(progress(&status, Cursor { epoch: 1, revision: 7 }), Progress::Applied);
    }

    fn subscriber(number: usize, applied: i64, rejected: i64, policies: &[&str]) -> Subscriber {
        let policy = |id: &&str| PolicyId::parse("policy", id).expect("an id");
        Subscriber {
            id: SubscriberId::parse("id", &format!("s{number:03}")).expect("an id"),
            owner: format!("local:{}", number % 25),
            profile: Profile { policies: policies.iter().map(policy).collect(), ..Profile::default() },
            status: status(applied, rejected),
            last_seen: Micros(0),
            lease_end: Micros(0),
        }
    }

    fn moved(policies: &[&str]) -> BTreeSet<PolicyId> {
        policies.iter().map(|id| PolicyId::parse("policy", id).expect("an id")).collect()
    }

    #[test]
    fn who_never_hears_of_it_is_not_waited_for() {
        let live = [subscriber(1, 0, 0, &["a"]), subscriber(2, 0, 0, &["a", "b"]), subscriber(3, 0, 0, &[])];
        let counts = Convergence::count(&live, at(7), &moved(&["b", "c"]), NOW);
        assert_eq!((counts.unconcerned, counts.pending), (1, 2));
    }

    #[test]
    fn a_part_of_a_set_does_not_diverge() {
        let mut live = [subscriber(1, 7, 0, &["a"]), subscriber(2, 7, 0, &[]), subscriber(3, 0, 0, &[])];
        live.iter_mut().for_each(|each| each.status.applied_matches = false);
        let counts = Convergence::count(&live, at(7), &moved(&["a"]), NOW);
        assert_eq!((counts.applied, counts.diverged, counts.pending), (2, 1, 1));
    }

    #[test]
    fn who_went_without_it_is_gone() {
        let recent =
            [subscriber(1, 7, 0, &[]), subscriber(2, 6, 0, &[]), subscriber(3, 6, 7, &[]), subscriber(4, 0, 0, &["b"])];
        let counts = Convergence::count(&recent, at(7), &moved(&["a"]), Micros(0));
        assert_eq!((counts.applied, counts.rejected, counts.pending, counts.unconcerned), (0, 0, 0, 0));
        let ids: Vec<&str> = counts.gone_ids.iter().map(SubscriberId::as_str).collect();
        assert_eq!((counts.gone, ids), (2, vec!["s002", "s003"]));
    }

    #[test]
    fn principals_with_most_that_is_missing_come_first() {
        let of = |owner: &str, number, applied| Subscriber {
            owner: owner.to_owned(),
            ..subscriber(number, applied, 0, &[])
        };
        let mut recent = vec![of("local:b", 1, 7), of("local:a", 2, 7), of("local:prod", 3, 7), of("local:prod", 4, 6)];
        recent.extend((5..9).map(|number| of("local:ghosts", number, 0)));
        let counts = Convergence::count(&recent, at(7), &moved(&["a"]), NOW);
        let received: Vec<(&str, usize, usize)> =
            counts.principals.iter().map(|own| (own.principal.as_str(), own.applied, own.pending)).collect();
        assert_eq!(received, [("local:ghosts", 0, 4), ("local:prod", 1, 1), ("local:a", 1, 0), ("local:b", 1, 0)]);
    }

    proptest! {
        #[test]
        fn each_is_counted_once(words in proptest::collection::vec((0..12_i64, 0..12_i64, any::<bool>()), 0..60)) {
            let live: Vec<Subscriber> = words.iter().enumerate()
                .map(|(number, (a, r, part))| subscriber(number, *a, *r, if *part { &["a"] } else { &[] })).collect();
            let counts = Convergence::count(&live, at(6), &moved(&["b"]), NOW);
            prop_assert_eq!(counts.applied + counts.rejected + counts.pending + counts.unconcerned, live.len());
            prop_assert_eq!(counts.unconcerned, words.iter().filter(|word| word.2).count());
            prop_assert_eq!(counts.pending_ids.len(), counts.pending.min(CONVERGENCE_NAMED_MAX));
            prop_assert_eq!(counts.rejected_ids.len(), counts.rejected.min(CONVERGENCE_NAMED_MAX));
            let received: usize = counts.principals.iter().map(|own| own.applied + own.rejected + own.pending).sum();
            prop_assert!(counts.principals.len() <= CONVERGENCE_PRINCIPALS_MAX);
            prop_assert!(received + counts.unconcerned == live.len() || counts.principals.len() == CONVERGENCE_PRINCIPALS_MAX);
        }
    }
}
