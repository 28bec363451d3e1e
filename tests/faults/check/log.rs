//! The log itself: contiguous, chained, and consistent when replayed.

use std::collections::BTreeSet;

use policyhub::client::signing::event_hash;

use super::CheckFindings;
use super::record::{Pointers, RecordedEvent, RecordedHistory};

/// Checks that revisions are 1, 2, 3… without a gap, that epochs never decrease, that each hash covers the one before, and that each
/// pointer moves from where the log had put it.
pub fn check(history: &RecordedHistory, findings: &mut CheckFindings) {
    check_chain(&history.log, findings);
}

/// Checks the same for any log.
pub fn check_chain(log: &[RecordedEvent], findings: &mut CheckFindings) {
    let mut before: Option<&RecordedEvent> = None;
    let mut state = Pointers::new();
    for event in log {
        let at = event.cursor;
        let (revision, epoch) = before.map_or((0, at.epoch), |event| (event.cursor.revision, event.cursor.epoch));
        findings.check(at.revision == revision + 1, || format!("event {} comes after {revision}", at.revision));
        findings.check(at.epoch >= epoch, || format!("epoch {} of event {} is below {epoch}", at.epoch, at.revision));
        let expected = before.map_or(&[0; 32][..], |event| &event.hash);
        findings.check(event.prev_hash == expected, || format!("event {} is not chained to {revision}", at.revision));
        let hash = <[u8; 32]>::try_from(event.prev_hash.as_slice()).map(|prev| event_hash(&prev, &event.payload));
        findings.check(hash.is_ok_and(|hash| hash[..] == event.hash), || {
            format!("event {} has not the hash of its payload", at.revision)
        });
        for moved in &event.moved {
            let was = state.get(&moved.policy).map_or(0, |(version, _)| *version);
            findings.check(moved.previous == was, || {
                format!("event {} moves {} from {}, it was at {was}", at.revision, moved.policy, moved.previous)
            });
        }
        apply(&mut state, event);
        before = Some(event);
    }
}

/// Applies the moves of an event.
fn apply(state: &mut Pointers, event: &RecordedEvent) {
    for moved in &event.moved {
        if moved.version == 0 {
            state.remove(&moved.policy);
        } else {
            state.insert(moved.policy.clone(), (moved.version, moved.digest.clone()));
        }
    }
}

/// What was in force after each revision: index 0 is before the first.
pub struct LogReplay(Vec<Pointers>);

impl LogReplay {
    /// Replays a log.
    pub fn of(log: &[RecordedEvent]) -> Self {
        let mut states = vec![Pointers::new()];
        for event in log {
            let mut state = states.last().cloned().unwrap_or_default();
            apply(&mut state, event);
            states.push(state);
        }
        Self(states)
    }

    /// Returns what was in force after a revision; `None` beyond the end of the log.
    pub fn at(&self, revision: i64) -> Option<&Pointers> {
        self.0.get(usize::try_from(revision).ok()?)
    }

    /// Returns the revision of the last event.
    pub fn head(&self) -> i64 {
        i64::try_from(self.0.len()).unwrap_or(i64::MAX) - 1
    }
}

/// Returns the part of a state that a filter selects.
pub fn filtered(pointers: &Pointers, filter: &BTreeSet<String>) -> Pointers {
    let wanted = |policy: &String| filter.is_empty() || filter.contains(policy);
    pointers.iter().filter(|(policy, _)| wanted(policy)).map(|(policy, at)| (policy.clone(), at.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::crafted::{history, violations};
    use super::*;

    #[test]
    fn a_gap_a_broken_chain_a_changed_payload_and_a_wrong_move_are_seen() {
        let good = history();
        assert_eq!(violations(check, &good), Vec::<String>::new());
        let mut gap = good.clone();
        gap.log.remove(2);
        assert!(violations(check, &gap)[0].contains("event 4 comes after 2"));
        let mut swapped = good.clone();
        swapped.log.swap(1, 2);
        assert!(!violations(check, &swapped).is_empty());
        let mut changed = good.clone();
        changed.log[1].payload.push(b' ');
        assert_eq!(violations(check, &changed), ["event 2 has not the hash of its payload"]);
        let mut unchained = good.clone();
        unchained.log[3].prev_hash = vec![9; 32];
        assert!(violations(check, &unchained).contains(&"event 4 is not chained to 3".to_owned()));
        let mut moved = good.clone();
        moved.log[3].moved[0].previous = 7;
        assert_eq!(violations(check, &moved).len(), 1);
        let mut fallen = good.clone();
        fallen.log[3].cursor.epoch = 0;
        assert_eq!(violations(check, &fallen).len(), 1);
    }

    #[test]
    fn a_replay_is_the_state_after_each_event() {
        let good = history();
        let replay = LogReplay::of(&good.log);
        assert_eq!(replay.head(), 6);
        assert_eq!(replay.at(0).map(Pointers::len), Some(0));
        assert_eq!(replay.at(3).map(|state| state["a"].0), Some(1));
        assert_eq!(replay.at(6).map(|state| (state.get("a").is_some(), state["b"].0)), Some((false, 2)));
        assert!(replay.at(7).is_none());
    }
}
