//! Streams are live: no stream is silent for long, and what was committed is delivered in time (docs/guarantees.md#g12).
//!
//! Only the time counts in which nothing that a stream depends on was disturbed: active faults, and a grace period after each, are
//! subtracted from every wait.

use std::collections::BTreeMap;
use std::time::Duration;

use super::CheckFindings;
use super::record::{RecordedEvent, RecordedHistory, RecordedStream, Trouble, What, Where};
use super::streams::{cursor_of, expected_message, name};

/// How much longer than a few heartbeats a stream may be silent on a busy machine with a debug build.
pub const SILENCE_SLACK: Duration = Duration::from_secs(2);
/// How long after its commit an activation may arrive: 2.5 s (docs/guarantees.md#g12), and a reserve for a busy machine with a debug build.
pub const DELIVERY_MAX: Duration = Duration::from_millis(4_500);
/// How long after a fault it still counts: clients reconnect, and a database that was away must be found.
pub const GRACE: Duration = Duration::from_secs(3);
/// Returns how long a fault counts after its end. A server that had no processor for a moment has nothing to repair.
fn grace(place: Where) -> Duration {
    if place == Where::Processor { Duration::ZERO } else { GRACE }
}

/// A stream whose reader waits longer than this between two messages is late because of its reader.
const PROMPT_PACE: Duration = Duration::from_millis(10);

/// Returns how much of the time from `from` to `until` was undisturbed at a replica; `counts` selects the faults that disturb.
pub fn undisturbed(
    troubles: &[Trouble],
    (from, until): (Duration, Duration),
    replica: usize,
    counts: impl Fn(Where) -> bool,
) -> Duration {
    let of_replica = |trouble: &&Trouble| trouble.replica.is_none_or(|other| other == replica) && counts(trouble.place);
    let disturbed = troubles.iter().filter(of_replica);
    let end = |trouble: &Trouble| trouble.until.saturating_add(grace(trouble.place)).min(until);
    let mut spans: Vec<_> = disturbed.map(|trouble| (trouble.from.max(from), end(trouble))).collect();
    spans.sort_unstable();
    let mut left = until.saturating_sub(from);
    let mut at = from;
    for (begin, end) in spans {
        left = left.saturating_sub(end.saturating_sub(begin.max(at)));
        at = at.max(end);
    }
    left
}

/// Returns whether a fault may silence a stream that has begun. An unreachable database may not (docs/guarantees.md#g17).
pub fn silences(place: Where) -> bool {
    place != Where::Database
}

/// Checks that between two messages of a stream, and between its last one and its end, it is not silent for longer than its heartbeats
/// permit.
pub fn check_silence(history: &RecordedHistory, findings: &mut CheckFindings) {
    for stream in &history.streams {
        let mut last_message = stream.opened;
        for (index, at) in stream.at.iter().copied().chain([stream.ended]).enumerate() {
            // A stream that begins may have to wait for the database.
            let counts = |place| index == 0 || silences(place);
            let silent = undisturbed(&history.troubles, (last_message, at), stream.replica, counts);
            findings.check(silent <= stream.silence_max, || {
                format!("{}: nothing came for {silent:?} after {last_message:?}, message {index}", name(stream))
            });
            last_message = at;
        }
    }
}

/// Returns when each event was known to be committed, because its writer got the answer.
fn commits(history: &RecordedHistory) -> BTreeMap<&str, Duration> {
    let received = history.operations.iter().filter_map(|operation| {
        let (acknowledged, _) = operation.acknowledgement()?;
        Some((operation.request_id.as_str(), acknowledged.end))
    });
    received.collect()
}

/// Returns how long each acknowledged activation took to each stream that was open and prompt, as undisturbed time; for one that never
/// came, up to the end of the stream.
pub fn deliveries(history: &RecordedHistory) -> Vec<(&RecordedStream, &RecordedEvent, Duration)> {
    let commits = commits(history);
    let mut found = Vec::new();
    for stream in history.streams.iter().filter(|stream| stream.pace <= PROMPT_PACE && !stream.at.is_empty()) {
        let mut next = 0;
        for event in history.log.iter().filter(|event| expected_message(event, &stream.filter).is_some()) {
            let Some(committed) = commits.get(event.request_id.as_str()) else { continue };
            if stream.resume.is_some_and(|resume| resume >= event.cursor) || *committed > stream.ended {
                continue;
            }
            let there = |what: &What| cursor_of(what).is_some_and(|place| place >= event.cursor);
            while stream.messages.get(next).is_some_and(|what| !there(what)) {
                next += 1;
            }
            let from = (*committed).max(stream.opened);
            let until = stream.at.get(next).copied().unwrap_or(stream.ended).max(from);
            let took = undisturbed(&history.troubles, (from, until), stream.replica, |_| true);
            found.push((stream, event, took));
        }
    }
    found
}

/// Checks that what was acknowledged reaches every open stream in time.
pub fn check_delivery(history: &RecordedHistory, findings: &mut CheckFindings) {
    for (stream, event, took) in deliveries(history) {
        findings.check(took <= DELIVERY_MAX, || {
            format!("{}: {:?} was not there {took:?} after it was acknowledged", name(stream), event.cursor)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::crafted::{history, violations};
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn trouble(from: u64, until: u64, place: Where) -> Trouble {
        Trouble { from: seconds(from), until: seconds(until), place, replica: Some(0) }
    }

    #[test]
    fn a_stream_that_falls_silent_is_seen_unless_its_server_is_in_trouble() {
        let good = history();
        assert_eq!(violations(check_silence, &good), Vec::<String>::new());
        let mut frozen = good.clone();
        frozen.streams[0].ended = seconds(20);
        assert_eq!(violations(check_silence, &frozen).len(), 1);
        assert!(violations(check_silence, &frozen)[0].contains("nothing came for"));
        frozen.troubles = vec![trouble(0, 15, Where::Server)];
        assert_eq!(violations(check_silence, &frozen), Vec::<String>::new(), "three seconds of grace leave two");
        frozen.troubles = vec![trouble(1, 15, Where::Database)];
        assert_eq!(violations(check_silence, &frozen).len(), 1, "heartbeats go on while the database is away");
        frozen.troubles = vec![trouble(1, 9, Where::Server)];
        assert_eq!(violations(check_silence, &frozen).len(), 1, "the fault was over long before");
        frozen.troubles = vec![Trouble { replica: Some(1), ..trouble(1, 15, Where::Server) }];
        assert_eq!(violations(check_silence, &frozen).len(), 1, "another server was in trouble");
    }

    #[test]
    fn a_stream_that_never_says_anything_is_seen() {
        let mut mute = history();
        mute.streams[1].messages.clear();
        mute.streams[1].at.clear();
        mute.streams[1].ended = seconds(20);
        assert_eq!(violations(check_silence, &mute).len(), 1);
        mute.troubles = vec![trouble(0, 15, Where::Database)];
        assert_eq!(violations(check_silence, &mute), Vec::<String>::new(), "its beginning needs the database");
    }

    #[test]
    fn what_comes_late_or_never_is_seen_on_prompt_streams() {
        let good = history();
        assert_eq!(violations(check_delivery, &good), Vec::<String>::new());
        let mut late = good.clone();
        // The last activation, and the heartbeat after it.
        for at in late.streams[0].at.iter_mut().rev().take(2) {
            *at = seconds(10);
        }
        late.streams[0].ended = seconds(10);
        assert!(violations(check_delivery, &late)[0].contains("was not there"));
        let mut slow = late.clone();
        slow.streams[0].pace = Duration::from_millis(250);
        assert_eq!(violations(check_delivery, &slow), Vec::<String>::new(), "its reader is slow");
        late.troubles = vec![trouble(0, 8, Where::Database)];
        assert_eq!(violations(check_delivery, &late), Vec::<String>::new());
        let mut never = good.clone();
        // Heartbeats continue, with the cursor of what was sent.
        never.streams[1].messages.pop();
        never.streams[1].at.pop();
        never.streams[1].ended = seconds(10);
        assert_eq!(violations(check_delivery, &never).len(), 1);
    }

    #[test]
    fn troubles_that_overlap_are_subtracted_once() {
        let troubles = [trouble(2, 4, Where::Server), trouble(3, 5, Where::Clients), trouble(1, 2, Where::Harness)];
        let left = undisturbed(&troubles, (seconds(0), seconds(12)), 0, |_| true);
        assert_eq!(left, seconds(1 + 12 - 8), "from 1 to 5, and the grace");
        let waited = [trouble(2, 4, Where::Processor)];
        assert_eq!(
            undisturbed(&waited, (seconds(0), seconds(12)), 0, |_| true),
            seconds(10),
            "it counts as long as it lasts"
        );
        assert_eq!(undisturbed(&[], (seconds(5), seconds(4)), 0, |_| true), Duration::ZERO);
    }
}
