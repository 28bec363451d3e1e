//! Compare-and-set: a write with `expected_active` happens only if that version is active, and is refused only if it is not
//! (docs/guarantees.md#g5).

use std::time::Duration;

use super::CheckFindings;
use super::branches::Logs;
use super::log::LogReplay;
use super::record::{Fate, Intent, OperationOutcome, RecordedHistory, RecordedOperation};

/// The reason with which the server refuses an expected version that is not in force.
pub const MISMATCH: &str = "EXPECTED_ACTIVE_MISMATCH";

/// Checks for acknowledged writes that each expected version was in force just before the revision, and for writes refused for that reason
/// that one of them was not at some revision between call and return.
pub fn check(history: &RecordedHistory, findings: &mut CheckFindings) {
    let (replay, logs) = (LogReplay::of(&history.log), Logs::of(history));
    let known = KnownPointers::of(history);
    for operation in &history.operations {
        let expected = expected(operation);
        if expected.is_empty() {
            continue;
        }
        let id = &operation.request_id;
        if let Fate::Acknowledged(effect) = operation.fate() {
            let event = logs.event_of(operation, effect);
            let replay = event.map_or(&replay, |event| logs.replay(event.cursor));
            for (policy, version) in &expected {
                let was = version_at(replay, effect.revision - 1, policy);
                findings.check(was == Some(*version), || {
                    format!("{id} expected {policy} at {version}; before {} it was at {was:?}", effect.revision)
                });
            }
        }
        for each in &operation.tries {
            // What was in force before a restore is not in the current log.
            if each.outcome != OperationOutcome::Refused(MISMATCH.to_owned()) || !history.branches.is_empty() {
                continue;
            }
            let span = known.below(each.start)..=known.above(each.end, replay.head());
            let differs = |revision: i64| {
                expected.iter().any(|(policy, version)| version_at(&replay, revision, policy) != Some(*version))
            };
            findings.check(span.clone().any(differs), || {
                format!("{id} was refused, though {expected:?} were in force all through {span:?}")
            });
        }
    }
}

fn version_at(replay: &LogReplay, revision: i64, policy: &str) -> Option<i64> {
    replay.at(revision).map(|state| state.get(policy).map_or(0, |(version, _)| *version))
}

fn expected(operation: &RecordedOperation) -> Vec<(&str, i64)> {
    match &operation.intent {
        Intent::Activate { targets } => {
            targets.iter().filter_map(|(policy, _, expected)| Some((policy.as_str(), (*expected)?))).collect()
        }
        Intent::Deactivate { policy, expected: Some(expected) } => vec![(policy, *expected)],
        _ => Vec::new(),
    }
}

/// The revisions that were certainly committed at a time.
struct KnownPointers {
    /// First call, return and revision of each acknowledged write.
    spans: Vec<(Duration, Duration, i64)>,
}

impl KnownPointers {
    fn of(history: &RecordedHistory) -> Self {
        let span = |operation: &RecordedOperation| {
            let (last, effect) = operation.acknowledgement()?;
            Some((operation.start(), last.end, effect.revision))
        };
        Self { spans: history.operations.iter().filter_map(span).collect() }
    }

    /// Returns the highest revision known to be committed at `time`.
    fn below(&self, time: Duration) -> i64 {
        let before = self.spans.iter().filter(|(_, end, _)| *end < time);
        before.map(|(_, _, revision)| *revision).max().unwrap_or(0)
    }

    /// Returns the highest revision that may have been committed at `time`.
    fn above(&self, time: Duration, head: i64) -> i64 {
        let after = self.spans.iter().filter(|(start, _, _)| *start > time);
        after.map(|(_, _, revision)| *revision - 1).min().unwrap_or(head).min(head)
    }
}

#[cfg(test)]
mod tests {
    use super::super::crafted::{history, violations};
    use super::super::record::Try;
    use super::*;

    #[test]
    fn a_write_over_another_and_a_refusal_without_cause_are_seen() {
        let good = history();
        assert_eq!(violations(check, &good), Vec::<String>::new());
        let mut over = good.clone();
        let Intent::Activate { targets } = &mut over.operations[3].intent else { panic!("not an activation") };
        targets[0].2 = Some(2);
        assert!(violations(check, &over)[0].contains("expected a at 2"));
        let mut refused = good.clone();
        let at = Duration::from_millis(37);
        refused.operations.push(RecordedOperation {
            request_id: "refused".to_owned(),
            intent: Intent::Activate { targets: vec![("a".to_owned(), 2, Some(1))] },
            tries: vec![Try {
                replica: 0,
                start: at,
                end: at,
                outcome: OperationOutcome::Refused(MISMATCH.to_owned()),
            }],
        });
        assert!(violations(check, &refused)[0].starts_with("refused was refused"), "a was at 1 there");
        let Intent::Activate { targets } = &mut refused.operations[6].intent else { panic!("not an activation") };
        targets[0].2 = Some(9);
        assert_eq!(violations(check, &refused), Vec::<String>::new(), "it never was at 9");
    }
}
