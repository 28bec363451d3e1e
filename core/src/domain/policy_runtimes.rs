//! The live runtimes that a change of one policy concerns, and what they say of themselves.
//!
//! Pure: whoever asks has read the subscribers.

use std::collections::BTreeMap;

use super::name::PolicyId;
use super::subscriber::Subscriber;
use super::time::Micros;

/// Most attribute values that are named.
const VALUES_MAX: usize = 6;

/// The live runtimes that watch a policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyRuntimes {
    /// How many there are.
    pub live: usize,
    /// Of how many of them the attributes were read.
    pub described: usize,
    /// The most frequent values of those attributes, the most frequent first.
    pub attributes: Vec<AttributeCount>,
    /// How many of them run which version, as far as they said what they applied.
    pub running: BTreeMap<i64, usize>,
}

/// How many runtimes have a value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributeCount {
    /// The name of the attribute.
    pub name: String,
    /// The value.
    pub value: String,
    /// The number of runtimes.
    pub runtimes: usize,
}

/// Returns whether a subscriber is live at `now` and watches a policy.
#[must_use]
pub fn is_concerned(subscriber: &Subscriber, policy: &PolicyId, now: Micros) -> bool {
    let watched = &subscriber.profile.policies;
    subscriber.is_online(now) && (watched.is_empty() || watched.contains(policy))
}

impl PolicyRuntimes {
    /// Counts the attributes of runtimes, which are all of the `live` ones or the first of them. An attribute of which each of several
    /// runtimes has a value of its own, such as a host name, is left out.
    #[must_use]
    pub fn of(live: usize, described: &[Subscriber]) -> Self {
        let mut counts: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
        for (name, value) in described.iter().flat_map(|each| &each.profile.attributes) {
            *counts.entry(name).or_default().entry(value).or_default() += 1;
        }
        counts.retain(|_, values| described.len() == 1 || values.values().any(|count| *count > 1));
        let each =
            counts.iter().flat_map(|(name, values)| values.iter().map(move |(value, count)| (name, value, count)));
        let mut attributes: Vec<AttributeCount> = each
            .map(|(name, value, count)| AttributeCount {
                name: (*name).to_owned(),
                value: (*value).to_owned(),
                runtimes: *count,
            })
            .collect();
        attributes.sort_by_key(|each| std::cmp::Reverse(each.runtimes));
        attributes.truncate(VALUES_MAX);
        Self { live, described: described.len(), attributes, running: BTreeMap::new() }
    }
}

/// Counts which version runtimes run. `moves` are the newest moves of the pointer, in the order of the log: the revision of each, and the
/// version since. A runtime is not counted when it applied nothing since the first of them, or in another epoch than this, or when it
/// rejects what it had applied.
#[must_use]
pub fn count_running<'a>(
    runtimes: impl IntoIterator<Item = &'a Subscriber>,
    moves: &[(i64, i64)],
    epoch: i64,
) -> BTreeMap<i64, usize> {
    let mut running = BTreeMap::new();
    for status in runtimes.into_iter().map(|each| &each.status) {
        let applied = status.applied;
        let last = moves.iter().rev().find(|(revision, _)| *revision <= applied.revision);
        match last {
            Some((_, version)) if applied.epoch == epoch && status.rejected != applied => {
                *running.entry(*version).or_default() += 1;
            }
            _ => {}
        }
    }
    running
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Cursor;
    use crate::domain::subscriber::{Profile, SubscriberId, SubscriberStatus};

    fn runtime(id: &str, attributes: &[(&str, &str)], policies: &[&str], lease_end: i64) -> Subscriber {
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Subscriber {
            id: SubscriberId::parse("id", id).expect("an id"),
            owner: "local:a".to_owned(),
            profile: Profile { attributes, policies: policies.iter().map(|id| policy(id)).collect() },
            status: SubscriberStatus::default(),
            last_seen: Micros(0),
            lease_end: Micros(lease_end),
        }
    }

    fn policy(id: &str) -> PolicyId {
        PolicyId::parse("policy", id).expect("an id")
    }

    #[test]
    fn a_runtime_runs_what_the_pointer_named_where_it_stands() {
        let moves = [(3, 1), (5, 0), (7, 2)];
        let at = |applied: i64, rejected: i64| {
            let mut each = runtime("r", &[], &[], 9);
            each.status.applied = Cursor { epoch: 1, revision: applied };
            each.status.rejected = if rejected == 0 { Cursor::NONE } else { Cursor { epoch: 1, revision: rejected } };
            each
        };
        let fleet = [at(2, 0), at(3, 0), at(4, 7), at(6, 0), at(7, 0), at(9, 0), at(9, 9)];
        assert_eq!(count_running(&fleet, &moves, 1), BTreeMap::from([(1, 2), (0, 1), (2, 2)]));
        assert_eq!(count_running(&fleet, &moves, 2), BTreeMap::new(), "of another epoch");
    }

    #[test]
    fn runtimes_are_counted_by_the_values_that_they_share() {
        let fleet = [
            runtime("a", &[("env", "prod"), ("host", "h1")], &[], 9),
            runtime("b", &[("env", "prod"), ("host", "h2")], &["shop"], 9),
            runtime("c", &[("env", "test"), ("host", "h3")], &["shop", "other"], 9),
            runtime("elsewhere", &[("env", "prod")], &["other"], 9),
            runtime("gone", &[("env", "prod")], &[], 1),
        ];
        let concerned: Vec<Subscriber> =
            fleet.into_iter().filter(|each| is_concerned(each, &policy("shop"), Micros(5))).collect();
        let found = PolicyRuntimes::of(concerned.len(), &concerned);
        let said: Vec<String> =
            found.attributes.iter().map(|each| format!("{}={} {}", each.name, each.value, each.runtimes)).collect();
        assert_eq!((found.live, said), (3, vec!["env=prod 2".to_owned(), "env=test 1".to_owned()]));
        assert_eq!(PolicyRuntimes::of(1, &concerned[..1]).attributes.len(), 2, "of one, everything is said");
        let many: Vec<Subscriber> = (0..40)
            .map(|number| runtime(&format!("r{number}"), &[("zone", &format!("z{}", number / 2))], &[], 9))
            .collect();
        assert_eq!(PolicyRuntimes::of(90, &many).attributes.len(), VALUES_MAX);
    }
}
