//! After faults have stopped, everything reaches the same state (docs/guarantees.md#g9, #g13, #g17).

use super::CheckFindings;
use super::log::{LogReplay, filtered};
use super::record::RecordedHistory;

/// Checks that every replica answers the same, and that it is the end of the log.
pub fn check_replicas(history: &RecordedHistory, findings: &mut CheckFindings) {
    let replay = LogReplay::of(&history.log);
    let end = replay.at(replay.head());
    for (number, replica) in history.replicas.iter().enumerate() {
        findings.check(history.replicas.first() == Some(replica), || {
            format!("replica {number} says {replica:?}, replica 0 {:?}", history.replicas.first())
        });
        findings.check(replica.cursor.revision == replay.head() && Some(&replica.pointers) == end, || {
            format!("replica {number} says {replica:?}, the log ends at {} with {end:?}", replay.head())
        });
    }
}

/// Checks that every watcher holds what is in force, as far as its filter selects it.
pub fn check_watchers(history: &RecordedHistory, findings: &mut CheckFindings) {
    let replay = LogReplay::of(&history.log);
    for holder in &history.holders {
        let expected = replay.at(replay.head()).map(|state| filtered(state, &holder.filter));
        findings.check(Some(&holder.pointers) == expected.as_ref(), || {
            format!(
                "watcher {} holds {:?} at {:?}, in force is {expected:?}",
                holder.watcher, holder.pointers, holder.cursor
            )
        });
        findings.check(holder.cursor.is_some_and(|cursor| cursor.revision == replay.head()), || {
            format!("watcher {} is at {:?}, the log ends at {}", holder.watcher, holder.cursor, replay.head())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::crafted::{at, history, violations};
    use super::*;

    #[test]
    fn replicas_that_differ_or_lag_are_seen() {
        let good = history();
        assert_eq!(violations(check_replicas, &good), Vec::<String>::new());
        let mut differ = good.clone();
        differ.replicas[1].set_digest = "sha256:other".to_owned();
        assert_eq!(violations(check_replicas, &differ).len(), 1);
        let mut lag = good.clone();
        for replica in &mut lag.replicas {
            replica.cursor = at(5);
        }
        assert_eq!(violations(check_replicas, &lag).len(), 2);
    }

    #[test]
    fn a_watcher_that_lags_or_holds_something_else_is_seen() {
        let good = history();
        assert_eq!(violations(check_watchers, &good), Vec::<String>::new());
        let mut lag = good.clone();
        lag.holders[0].cursor = Some(at(5));
        assert_eq!(violations(check_watchers, &lag).len(), 1);
        let mut other = good.clone();
        other.holders[0].pointers.clear();
        assert_eq!(violations(check_watchers, &other).len(), 1);
    }
}
