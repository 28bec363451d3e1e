//! Logs that an operator gave up: what a database held before an older copy replaced it (docs/guarantees.md#g1b, #g26).
//!
//! A history has one current log, and one more for each restore: the log at the moment after which nobody could read more of it. A cursor
//! belongs to the current log when that has it, otherwise to one that was given up.

use std::collections::BTreeMap;
use std::time::Duration;

use super::CheckFindings;
use super::log::{LogReplay, check_chain};
use super::record::{Branch, Cursor, Effect, Pointers, RecordedEvent, RecordedHistory, RecordedOperation};

/// All logs of a history, replayed.
pub struct Logs<'a> {
    standing: (&'a [RecordedEvent], LogReplay),
    given_up: Vec<(&'a Branch, LogReplay)>,
}

impl<'a> Logs<'a> {
    /// Replays all logs of a history.
    pub fn of(history: &'a RecordedHistory) -> Self {
        let given_up = history.branches.iter().map(|branch| (branch, LogReplay::of(&branch.log))).collect();
        Self { standing: (&history.log, LogReplay::of(&history.log)), given_up }
    }

    /// Returns the log that a cursor belongs to, with its replay; the current one for a cursor that no log has.
    fn with(&self, cursor: Cursor) -> (&'a [RecordedEvent], &LogReplay) {
        let in_standing = has(self.standing.0, cursor);
        let other = self.given_up.iter().find(|(branch, _)| !in_standing && has(&branch.log, cursor));
        other.map_or((self.standing.0, &self.standing.1), |(branch, replay)| (&branch.log, replay))
    }

    /// Returns the replay of the log that a cursor belongs to.
    pub fn replay(&self, cursor: Cursor) -> &LogReplay {
        self.with(cursor).1
    }

    /// Returns the events of the log that a cursor belongs to.
    pub fn log(&self, cursor: Cursor) -> &'a [RecordedEvent] {
        self.with(cursor).0
    }

    /// Returns what was in force at a cursor; `None` when no log has it.
    pub fn at(&self, cursor: Cursor) -> Option<&Pointers> {
        let (log, replay) = self.with(cursor);
        if cursor.revision > 0 && !has(log, cursor) {
            return None;
        }
        replay.at(cursor.revision)
    }

    /// Returns the event at a cursor.
    pub fn event(&self, cursor: Cursor) -> Option<&'a RecordedEvent> {
        event_at(self.log(cursor), cursor.revision).filter(|event| event.cursor == cursor)
    }

    /// Returns the event that a write was answered with: of the current log, or of one that was given up.
    pub fn event_of(&self, operation: &RecordedOperation, effect: &Effect) -> Option<&'a RecordedEvent> {
        let logs = [self.standing.0].into_iter().chain(self.given_up.iter().map(|(branch, _)| branch.log.as_slice()));
        let there = logs.filter_map(|log| event_at(log, effect.revision));
        there.into_iter().find(|event| event.request_id == operation.request_id)
    }
}

fn event_at(log: &[RecordedEvent], revision: i64) -> Option<&RecordedEvent> {
    log.get(usize::try_from(revision.checked_sub(1)?).ok()?)
}

fn has(log: &[RecordedEvent], cursor: Cursor) -> bool {
    event_at(log, cursor.revision).is_some_and(|event| event.cursor == cursor)
}

/// Returns whether an acknowledgement is about the tail that an operator gave up: its event was in that log, and it was sent after the copy
/// was made and before the copy replaced the log.
pub fn was_given_up(history: &RecordedHistory, operation: &RecordedOperation, effect: &Effect) -> bool {
    let Some((acknowledged, _)) = operation.acknowledgement() else { return false };
    history.branches.iter().any(|branch| {
        let there =
            event_at(&branch.log, effect.revision).is_some_and(|event| event.request_id == operation.request_id);
        there && acknowledged.end > branch.copied && acknowledged.start < branch.replaced
    })
}

/// How long a server may take to notice that data loss is no longer suspected: it polls every second.
const NOTICED_AFTER: Duration = Duration::from_secs(2);

/// Returns whether a time span overlaps the time from the replacement of the log to the end of suspected data loss.
pub fn in_doubt(history: &RecordedHistory, (start, end): (Duration, Duration)) -> bool {
    history.branches.iter().any(|branch| start <= branch.raised + NOTICED_AFTER && end >= branch.replaced)
}

/// Checks that logs that were given up are chained like any other, that no (epoch, revision) has two contents, and that every bump raised
/// the epoch.
pub fn check(history: &RecordedHistory, findings: &mut CheckFindings) {
    let mut named: BTreeMap<Cursor, &[u8]> = BTreeMap::new();
    for branch in &history.branches {
        check_chain(&branch.log, findings);
    }
    for event in history.branches.iter().flat_map(|branch| &branch.log).chain(&history.log) {
        let before = named.insert(event.cursor, &event.hash);
        findings.check(before.is_none_or(|before| before == event.hash), || {
            format!("{:?} names two events, the later one by {:?}", event.cursor, event.request_id)
        });
    }
    for branch in &history.branches {
        let lost = branch.log.iter().find(|event| !has(&history.log, event.cursor));
        let raised =
            history.log.last().map(|event| event.cursor.epoch) > branch.log.last().map(|event| event.cursor.epoch);
        findings.check(lost.is_none() || raised, || {
            format!("the log lost {:?} and what follows, and its epoch was not raised", lost.map(|event| event.cursor))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::crafted::{history, restored, violations};
    use super::*;

    #[test]
    fn a_place_with_two_contents_and_a_loss_without_a_bump_are_seen() {
        assert_eq!(violations(check, &history()), Vec::<String>::new());
        let good = restored();
        assert_eq!(violations(check, &good), Vec::<String>::new());
        let mut twice = good.clone();
        let at = twice.branches[0].log[5].cursor;
        twice.log[5].cursor = at;
        assert!(violations(check, &twice)[0].contains("names two events"));
        let mut silent = good.clone();
        silent.log.truncate(5);
        assert!(violations(check, &silent)[0].contains("was not raised"));
        let mut broken = good.clone();
        broken.branches[0].log.remove(2);
        assert!(!violations(check, &broken).is_empty());
    }

    #[test]
    fn only_what_was_said_between_copy_and_replacement_is_given_up() {
        let good = restored();
        let effect = |index: usize| good.operations[index].acknowledgement().unwrap().1.clone();
        assert!(was_given_up(&good, &good.operations[5], &effect(5)));
        let mut before = good.clone();
        before.branches[0].copied = Duration::from_secs(1);
        assert!(!was_given_up(&before, &good.operations[5], &effect(5)), "the copy was made after it");
        let mut other = good.clone();
        other.branches[0].log[5].request_id = "another".to_owned();
        assert!(!was_given_up(&other, &good.operations[5], &effect(5)));
    }

    #[test]
    fn places_are_looked_up_in_the_log_that_has_them() {
        let good = restored();
        let logs = Logs::of(&good);
        let old = good.branches[0].log[5].cursor;
        assert_eq!(logs.event(old).map(|event| event.request_id.as_str()), Some("id-6"));
        assert_eq!(logs.event(good.log[5].cursor).map(|event| event.request_id.as_str()), Some(""));
        assert_ne!(logs.at(old), logs.at(good.log[5].cursor));
        assert!(logs.at(Cursor { epoch: 3, revision: 6 }).is_none());
    }
}
