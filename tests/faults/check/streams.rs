//! The watch validators: each stream compared with the log at the end (docs/guarantees.md#g9 to #g13).

use std::collections::BTreeSet;

use super::CheckFindings;
use super::branches::Logs;
use super::live::GRACE;
use super::log::filtered;
use super::record::{
    Cursor, Pointers, RecordedEvent, RecordedHistory, RecordedStream, StreamEnd, Trouble, What, Where,
};

pub fn name(stream: &RecordedStream) -> String {
    let mode = if stream.latest { "LATEST" } else { "ALL" };
    format!("watcher {} on replica {} ({mode}, resumed at {:?})", stream.watcher, stream.replica, stream.resume)
}

/// Returns the cursor of a message.
pub fn cursor_of(what: &What) -> Option<Cursor> {
    match what {
        What::Snapshot { cursor, .. } | What::Activation { cursor, .. } => Some(*cursor),
        What::Heartbeat { cursor, .. } => *cursor,
        What::Reconnect => None,
    }
}

/// Checks that activations strictly increase, that no message has a cursor before an earlier one, and that only the first message of mode
/// ALL is a snapshot, when nothing was resumed. A snapshot may also replace activations that no subscriber accepts: those of a version
/// before the roots.
pub fn check_order(history: &RecordedHistory, findings: &mut CheckFindings) {
    let logs = Logs::of(history);
    for stream in &history.streams {
        let mut at = stream.resume;
        for (index, message) in stream.messages.iter().enumerate() {
            let Some(next) = cursor_of(message) else { continue };
            let strictly = matches!(message, What::Activation { .. });
            let ordered = at.is_none_or(|at| if strictly { next > at } else { next >= at });
            findings.check(ordered, || format!("{}: {next:?} came after {at:?}", name(stream)));
            let same_epoch = at.is_none_or(|at| at.epoch == next.epoch);
            if matches!(message, What::Snapshot { .. }) && !stream.latest && same_epoch {
                let from = at.map_or(0, |at| at.revision);
                let is_in_place = telling(logs.log(next), stream, from, next.revision).any(|event| !event.has_root);
                findings.check((index == 0 && stream.resume.is_none()) || is_in_place, || {
                    format!("{}: message {index} is a snapshot", name(stream))
                });
            }
            at = at.max(Some(next));
        }
    }
}

/// Returns what an event changes for a filter: new pointers and removed policies; `None` when it changes nothing.
pub fn expected_message(event: &RecordedEvent, filter: &BTreeSet<String>) -> Option<(Pointers, BTreeSet<String>)> {
    let wanted = event.moved.iter().filter(|moved| filter.is_empty() || filter.contains(&moved.policy));
    let (gone, there): (Vec<_>, Vec<_>) = wanted.partition(|moved| moved.version == 0);
    let changed: Pointers =
        there.iter().map(|moved| (moved.policy.clone(), (moved.version, moved.digest.clone()))).collect();
    let removed: BTreeSet<String> = gone.iter().map(|moved| moved.policy.clone()).collect();
    (!changed.is_empty() || !removed.is_empty()).then_some((changed, removed))
}

/// Checks mode ALL: after its beginning, a stream has every activation of the log that its filter selects, complete and in one message
/// each. Mode LATEST may leave some out.
pub fn check_complete(history: &RecordedHistory, findings: &mut CheckFindings) {
    let logs = Logs::of(history);
    for stream in &history.streams {
        let mut at = stream.resume.map(|resume| resume.revision);
        for message in &stream.messages {
            match message {
                What::Snapshot { cursor, .. } => at = Some(cursor.revision),
                What::Activation { cursor, changed, removed } => {
                    findings.check(at.is_some(), || format!("{}: began with an activation", name(stream)));
                    let from = at.unwrap_or(cursor.revision - 1);
                    let left_out = between(logs.log(*cursor), stream, from, cursor.revision - 1);
                    findings.check(stream.latest || left_out.is_empty(), || {
                        format!("{}: {left_out:?} were left out before {}", name(stream), cursor.revision)
                    });
                    let event = logs.event(*cursor);
                    let expected = event.and_then(|event| expected_message(event, &stream.filter));
                    let sent = Some((changed.clone(), removed.clone()));
                    findings.check(expected == sent, || {
                        format!("{}: {cursor:?} said {sent:?}, the log says {expected:?}", name(stream))
                    });
                    at = Some(cursor.revision);
                }
                What::Heartbeat { .. } | What::Reconnect => {}
            }
        }
    }
}

/// Returns the revisions after `from` and up to `to` that change something for a stream.
fn between(log: &[RecordedEvent], stream: &RecordedStream, from: i64, to: i64) -> Vec<i64> {
    telling(log, stream, from, to).map(|event| event.cursor.revision).collect()
}

/// Returns the events after one revision, up to another, that change something for a stream's filter.
fn telling<'a>(
    log: &'a [RecordedEvent],
    stream: &'a RecordedStream,
    from: i64,
    to: i64,
) -> impl Iterator<Item = &'a RecordedEvent> {
    let inside = log.iter().filter(move |event| event.cursor.revision > from && event.cursor.revision <= to);
    inside.filter(|event| expected_message(event, &stream.filter).is_some())
}

/// Checks mode ALL: the cursor of a heartbeat or a reconnect is in the log, and everything up to it was sent before.
pub fn check_bookmarks(history: &RecordedHistory, findings: &mut CheckFindings) {
    let logs = Logs::of(history);
    for stream in &history.streams {
        let mut sent = stream.resume.map_or(0, |resume| resume.revision);
        for message in &stream.messages {
            match message {
                What::Snapshot { cursor, .. } | What::Activation { cursor, .. } => sent = cursor.revision,
                What::Heartbeat { cursor: Some(cursor), .. } => {
                    let log = logs.log(*cursor);
                    let head = log.last().map_or(0, |event| event.cursor.revision);
                    let ahead = between(log, stream, sent, cursor.revision);
                    findings.check(stream.latest || ahead.is_empty(), || {
                        format!("{}: named {} with {ahead:?} not sent", name(stream), cursor.revision)
                    });
                    // A resume ahead of the head is not repeated as a cursor.
                    findings.check(cursor.revision <= head, || {
                        format!("{}: named {}, the log ends at {head}", name(stream), cursor.revision)
                    });
                }
                What::Heartbeat { cursor: None, .. } | What::Reconnect => {}
            }
        }
    }
}

/// Checks that a snapshot is the state of the log at its cursor; in mode LATEST, so is what is held after every message.
pub fn check_states(history: &RecordedHistory, findings: &mut CheckFindings) {
    let logs = Logs::of(history);
    for stream in &history.streams {
        let state = |cursor: Cursor| logs.at(cursor).map(|state| filtered(state, &stream.filter));
        let mut held = stream.resume.and_then(state);
        for message in &stream.messages {
            match message {
                What::Snapshot { pointers, .. } => held = Some(pointers.clone()),
                What::Activation { changed, removed, .. } => {
                    if let Some(held) = &mut held {
                        held.extend(changed.clone());
                        held.retain(|policy, _| !removed.contains(policy));
                    }
                }
                What::Heartbeat { .. } | What::Reconnect => {}
            }
            let compared = stream.latest || matches!(message, What::Snapshot { .. });
            if let Some(cursor) = cursor_of(message).filter(|_| compared && held.is_some()) {
                let expected = state(cursor);
                findings.check(held == expected, || {
                    format!("{}: held {held:?} at {cursor:?}, the log says {expected:?}", name(stream))
                });
            }
        }
    }
}

/// What the verifier reports for a checkpoint with a wrong clock.
const BY_ANOTHER_CLOCK: [&str; 2] = ["checkpoint has expired", "checkpoint comes from the future"];

/// Checks that the verifier refused no message, except checkpoints while a clock had jumped, which it must refuse.
pub fn check_signed(history: &RecordedHistory, findings: &mut CheckFindings) {
    for stream in &history.streams {
        let jumped = |trouble: &Trouble| {
            trouble.place == Where::Clock
                && trouble.replica == Some(stream.replica)
                && (trouble.from..=trouble.until.saturating_add(GRACE)).contains(&stream.ended)
        };
        let holds = match &stream.end {
            StreamEnd::Refused(why) => {
                BY_ANOTHER_CLOCK.iter().any(|known| why.contains(known)) && history.troubles.iter().any(jumped)
            }
            StreamEnd::Left | StreamEnd::Ended(_) => true,
        };
        findings.check(holds, || format!("{}: {:?} after {:?}", name(stream), stream.end, stream.messages.last()));
        findings.checks += stream.messages.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::crafted::{activation, at, history, violations};
    use super::*;

    #[test]
    fn what_comes_again_or_goes_back_is_seen() {
        let good = history();
        assert_eq!(violations(check_order, &good), Vec::<String>::new());
        let mut twice = good.clone();
        let again = twice.streams[0].messages[1].clone();
        twice.streams[0].messages.insert(2, again);
        assert_eq!(violations(check_order, &twice).len(), 1);
        let mut back = good.clone();
        back.streams[0].messages.push(What::Heartbeat { cursor: Some(at(3)), degraded: false });
        assert_eq!(violations(check_order, &back).len(), 1);
        let mut snapshot = good.clone();
        snapshot.streams[0].messages.push(What::Snapshot { cursor: at(6), pointers: Pointers::new() });
        assert_eq!(violations(check_order, &snapshot).len(), 1);
        let mut resumed = good.clone();
        resumed.streams[1].messages.insert(0, activation(&good.log[2]));
        assert!(violations(check_order, &resumed)[0].contains("came after"), "resume at 3 must not deliver 3 again");
    }

    #[test]
    fn a_gap_a_part_and_a_stranger_are_seen() {
        let good = history();
        assert_eq!(violations(check_complete, &good), Vec::<String>::new());
        let mut gap = good.clone();
        gap.streams[0].messages.remove(2);
        assert!(violations(check_complete, &gap)[0].contains("[4] were left out before 5"));
        let mut resumed = good.clone();
        resumed.streams[1].messages.remove(0);
        assert!(violations(check_complete, &resumed)[0].contains("[4] were left out before 5"), "resume off by one");
        let mut part = good.clone();
        let What::Activation { changed, .. } = &mut part.streams[0].messages[2] else { panic!("not an activation") };
        changed.remove("b");
        assert_eq!(violations(check_complete, &part).len(), 1);
        let mut filter = good.clone();
        filter.streams[0].filter = BTreeSet::from(["a".to_owned()]);
        assert_eq!(
            violations(check_complete, &filter).len(),
            2,
            "4 and 5 say too much: {:?}",
            filter.streams[0].filter
        );
        let mut latest = good.clone();
        latest.streams[0].messages.remove(1);
        latest.streams[0].latest = true;
        assert_eq!(violations(check_complete, &latest), Vec::<String>::new());
    }

    #[test]
    fn a_heartbeat_ahead_of_its_events_is_seen() {
        let good = history();
        assert_eq!(violations(check_bookmarks, &good), Vec::<String>::new());
        let mut ahead = good.clone();
        ahead.streams[0].messages.insert(2, What::Heartbeat { cursor: Some(at(4)), degraded: false });
        assert!(violations(check_bookmarks, &ahead)[0].contains("named 4 with [4] not sent"));
        let mut beyond = good.clone();
        beyond.streams[0].messages.push(What::Heartbeat { cursor: Some(at(9)), degraded: false });
        assert_eq!(violations(check_bookmarks, &beyond).len(), 1);
    }

    #[test]
    fn a_snapshot_and_a_latest_state_that_never_was_are_seen() {
        let good = history();
        assert_eq!(violations(check_states, &good), Vec::<String>::new());
        let mut snapshot = good.clone();
        snapshot.streams[0].messages[0] = What::Snapshot { cursor: at(3), pointers: Pointers::new() };
        assert_eq!(violations(check_states, &snapshot).len(), 1);
        let mut latest = good.clone();
        latest.streams[0].latest = true;
        assert_eq!(violations(check_states, &latest), Vec::<String>::new());
        latest.streams[0].messages.remove(2);
        assert!(!violations(check_states, &latest).is_empty(), "4 was skipped, and the state does not show it");
    }

    #[test]
    fn a_refusal_is_seen() {
        let mut bad = history();
        assert_eq!(violations(check_signed, &bad), Vec::<String>::new());
        bad.streams[0].end = StreamEnd::Refused("statement does not verify".to_owned());
        assert_eq!(violations(check_signed, &bad).len(), 1);
        bad.streams[0].end = StreamEnd::Refused("checkpoint has expired".to_owned());
        assert_eq!(violations(check_signed, &bad).len(), 1, "no clock jumped");
        let (from, until) = (Duration::ZERO, Duration::from_secs(1));
        bad.troubles = vec![Trouble { from, until, place: Where::Clock, replica: Some(0) }];
        assert_eq!(violations(check_signed, &bad), Vec::<String>::new());
        bad.streams[0].end = StreamEnd::Refused("statement does not verify".to_owned());
        assert_eq!(violations(check_signed, &bad).len(), 1, "no clock is an excuse for that");
    }
}
