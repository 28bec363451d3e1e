//! The ledger: what was acknowledged is in the log, what failed is not, and nothing is there twice (docs/guarantees.md#g1, #g7, #g8).

use std::collections::BTreeMap;

use super::CheckFindings;
use super::branches::was_given_up;
use super::record::{BACKGROUND, Fate, Intent, OperationOutcome, RecordedHistory, RecordedOperation, Try};

/// Checks that every acknowledged write is in the log at its revision, with its request id, version and digest. A missing revision is
/// *lost*; a revision with another event is *re-used*.
pub fn acknowledged_are_there(history: &RecordedHistory, findings: &mut CheckFindings) {
    let log: BTreeMap<i64, _> = history.log.iter().map(|event| (event.cursor.revision, event)).collect();
    for operation in &history.operations {
        let Fate::Acknowledged(effect) = operation.fate() else { continue };
        let (id, revision) = (&operation.request_id, effect.revision);
        if log.get(&revision).is_none_or(|event| event.request_id != *id) && was_given_up(history, operation, effect) {
            findings.check(true, String::new);
            continue;
        }
        let Some(event) = log.get(&revision) else {
            findings.check(false, || format!("{id} was acknowledged at {revision}: lost"));
            continue;
        };
        findings.check(event.request_id == *id, || {
            format!("{id} was acknowledged at {revision}, which holds {:?}: re-used", event.request_id)
        });
        if let Some(version) = &effect.version {
            findings.check(event.versions.contains(version), || {
                format!("{id} made {} {}, event {revision} says {:?}", version.0, version.1, event.versions)
            });
        }
        for (policy, wanted) in asked(operation) {
            let moved = event.moved.iter().any(|moved| moved.policy == policy && moved.version == wanted);
            findings.check(moved, || format!("{id} put {policy} at {wanted}, event {revision} says {:?}", event.moved));
        }
    }
}

/// Returns the pointers that an operation asked to move, as far as the request says where.
fn asked(operation: &RecordedOperation) -> Vec<(&str, i64)> {
    match &operation.intent {
        Intent::Activate { targets } => {
            targets.iter().map(|(policy, version, _)| (policy.as_str(), *version)).collect()
        }
        Intent::Publish { policy, version, activate: true } => vec![(policy, *version)],
        Intent::Deactivate { policy, .. } => vec![(policy, 0)],
        _ => Vec::new(),
    }
}

/// Checks that a write whose every try was refused is nowhere in the log.
pub fn failed_are_absent(history: &RecordedHistory, findings: &mut CheckFindings) {
    let places = places(history);
    for operation in history.operations.iter().filter(|operation| operation.fate() == Fate::Failed) {
        let id = operation.request_id.as_str();
        findings.check(!places.contains_key(id), || {
            format!("{id} was refused ({:?}) and is in the log at {:?}", operation.tries, places.get(id))
        });
    }
}

/// Checks that no request id has two events, that every event has an id that was sent, and that all answers to one id are the same.
pub fn one_effect(history: &RecordedHistory, findings: &mut CheckFindings) {
    let sent: BTreeMap<_, _> = history.operations.iter().map(|each| (each.request_id.as_str(), each)).collect();
    for (id, places) in places(history) {
        findings.check(places.len() == 1, || format!("{id} has several effects: {places:?}"));
        findings.check(sent.contains_key(id) || id.starts_with(BACKGROUND), || {
            format!("nobody sent {id}, and it is at {places:?}")
        });
    }
    for operation in &history.operations {
        // An answer from before a restore may have been given up with its event.
        let before = |each: &Try| history.branches.iter().any(|branch| each.start < branch.replaced);
        let gone = |each: &Try, effect| before(each) && was_given_up(history, operation, effect);
        let mut answers = operation.tries.iter().filter_map(|each| match &each.outcome {
            OperationOutcome::Acknowledged(effect) if !gone(each, effect) => Some(effect),
            _ => None,
        });
        let Some(first) = answers.next() else { continue };
        for again in answers {
            findings.check(again == first, || {
                format!("{} was answered with {first:?} and then with {again:?}", operation.request_id)
            });
        }
    }
}

fn places(history: &RecordedHistory) -> BTreeMap<&str, Vec<i64>> {
    let mut places: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for event in history.log.iter().filter(|event| !event.request_id.is_empty()) {
        places.entry(&event.request_id).or_default().push(event.cursor.revision);
    }
    places
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::crafted::{history, restored, violations};
    use super::super::record::Effect;
    use super::*;

    #[test]
    fn a_lost_write_and_a_place_used_again_are_told_apart() {
        let good = history();
        assert_eq!(violations(acknowledged_are_there, &good), Vec::<String>::new());
        let mut lost = good.clone();
        lost.log.pop();
        assert!(violations(acknowledged_are_there, &lost)[0].ends_with("at 6: lost"));
        let mut reused = good.clone();
        reused.log[0].request_id = "other".to_owned();
        assert!(violations(acknowledged_are_there, &reused)[0].ends_with("re-used"));
        let mut other = good.clone();
        other.log[0].versions[0].1 = "sha256:other".to_owned();
        assert_eq!(violations(acknowledged_are_there, &other).len(), 1);
        let mut elsewhere = good.clone();
        elsewhere.log[5].moved[0].version = 3;
        assert_eq!(violations(acknowledged_are_there, &elsewhere).len(), 1);
    }

    #[test]
    fn only_the_tail_that_was_given_up_may_be_gone() {
        let good = restored();
        assert_eq!(violations(acknowledged_are_there, &good), Vec::<String>::new());
        let mut kept = good.clone();
        kept.branches.clear();
        assert!(violations(acknowledged_are_there, &kept)[0].ends_with("re-used"));
        let mut late = good.clone();
        // Acknowledged when the old copy had already replaced the log.
        late.branches[0].replaced = Duration::from_millis(1);
        assert!(violations(acknowledged_are_there, &late)[0].ends_with("re-used"));
    }

    #[test]
    fn a_failed_write_that_is_there_is_seen() {
        let mut bad = history();
        assert_eq!(violations(failed_are_absent, &bad), Vec::<String>::new());
        for each in &mut bad.operations[0].tries {
            each.outcome = OperationOutcome::Refused("DATABASE_UNAVAILABLE".to_owned());
        }
        assert_eq!(violations(failed_are_absent, &bad).len(), 1);
        bad.operations[0].tries[0].outcome = OperationOutcome::Unknown("reset".to_owned());
        assert_eq!(violations(failed_are_absent, &bad).len(), 0, "an unknown one may be there");
    }

    #[test]
    fn a_second_effect_a_stranger_and_a_second_answer_are_seen() {
        let good = history();
        assert_eq!(violations(one_effect, &good), Vec::<String>::new());
        let mut twice = good.clone();
        twice.log[1].request_id = twice.log[0].request_id.clone();
        assert!(violations(one_effect, &twice).iter().any(|text| text.contains("several effects: [1, 2]")));
        let mut stranger = good.clone();
        stranger.log[1].request_id = "stranger".to_owned();
        assert!(violations(one_effect, &stranger)[0].contains("nobody sent stranger"));
        let mut answers = good.clone();
        let mut again = answers.operations[0].tries[0].clone();
        again.outcome = OperationOutcome::Acknowledged(Effect { revision: 5, version: None });
        answers.operations[0].tries.push(again);
        assert_eq!(violations(one_effect, &answers).len(), 1);
    }
}
