//! What the check of a log lets pass, and what it finds.

use super::super::*;
use super::sample::{SampleLog, policy};
use crate::domain::event::{Cursor, EventKind, PointerChange, VersionChange};

fn read(sample: &SampleLog, edit: impl FnOnce(&mut Vec<Event>)) -> LogCheck {
    let mut check = LogCheck::new(sample.trust.clone(), sample.namespace.clone());
    let mut events = sample.events.clone();
    edit(&mut events);
    for event in &events {
        check.event(event);
    }
    for (policy, number, manifest, content) in &sample.versions {
        check.content(content);
        check.manifest(policy, *number, manifest);
    }
    check.end();
    check
}

fn found(check: &LogCheck) -> Vec<(i64, &str)> {
    check.findings.kept.iter().map(|finding| (finding.revision, finding.message.as_str())).collect()
}

#[test]
fn a_whole_log_holds_and_adds_up() {
    let sample = SampleLog::empty("a").fill(3);
    let check = read(&sample, |_| {});
    assert_eq!(found(&check), []);
    assert_eq!(
        (check.events, check.manifests.len(), check.head(), check.proven()),
        (18, 6, sample.head(), sample.head())
    );
    assert_eq!(check.pointers[&policy("q")], Pointer { version: 3, revision: 18 });
    assert_eq!(check.rows.len(), 6 + 2 + 6, "the newest word about each row");
    assert_eq!(check.rows[&("versions".to_owned(), "p/1".to_owned())].revision, 2);
}

#[test]
fn one_edit_is_found_where_it_is_and_what_was_before_holds() {
    let sample = SampleLog::empty("a").fill(3);
    let hash = |edit: fn(&mut Event)| read(&sample, |events| edit(&mut events[6]));
    for (edit, problem) in [
        ((|event| event.payload.push(b' ')) as fn(&mut Event), "hash is not that of its payload"),
        (|event| event.seal[0] ^= 1, "its seal does not verify"),
        (|event| event.seal_key_id.push('x'), "sealed by an unknown key"),
        (|event| event.cursor.epoch = 2, "speaks of another place"),
        (|event| event.statement = "x".to_owned(), "its statement is not the one"),
    ] {
        let check = hash(edit);
        assert!(found(&check)[0].1.contains(problem) && found(&check)[0].0 == 7, "{problem}: {:?}", found(&check));
        assert_eq!(check.proven(), Head { cursor: sample.events[5].cursor, hash: sample.events[5].hash });
        assert_eq!(check.head(), sample.head(), "it reads on to the end");
    }
}

#[test]
fn what_is_missing_moved_or_doubled_breaks_the_chain() {
    let sample = SampleLog::empty("a").fill(3);
    for edit in [
        (|events: &mut Vec<Event>| drop(events.remove(0))) as fn(&mut Vec<Event>),
        |events| drop(events.remove(7)),
        |events| events.swap(4, 5),
        |events| events.insert(4, events[4].clone()),
        |events| events[5].prev_hash = [0; 32],
    ] {
        assert!(read(&sample, edit).findings.count > 0);
    }
}

#[test]
fn a_tail_that_was_cut_off_is_found_by_who_remembers_it() {
    let sample = SampleLog::empty("a").fill(3);
    let cut = |events: &mut Vec<Event>| events.truncate(12);
    let without = |mut check: LogCheck, remembered: Head| {
        check.expect(Some(remembered));
        sample.events[..12].iter().for_each(|event| drop(check.event(event)));
        check.findings.count + u64::from(check.expected.is_some())
    };
    // Two versions less are two findings; the events alone are none.
    assert_eq!(found(&read(&sample, cut)).len(), 2);
    let new = || LogCheck::new(sample.trust.clone(), sample.namespace.clone());
    assert_eq!(without(new(), sample.head()), 1, "the head is not reached");
    let at = |index: usize| Head { cursor: sample.events[index].cursor, hash: sample.events[index].hash };
    assert_eq!(without(new(), at(11)), 0);
    assert_eq!(without(new(), at(4)), 0, "what is remembered may be older than the end");
    assert_eq!(without(new(), Head { hash: [1; 32], ..at(4) }), 1, "but not another event");
    let mut check = new();
    check.expect(Some(sample.head()));
    check.end();
    assert!(found(&check)[0].1.contains("remembered"));
}

#[test]
fn a_sealed_event_may_still_not_say_everything() {
    // Whoever has the seal key alone can't move a pointer; whoever has both can't contradict the log.
    let digest = digest_of(b"a: 1");
    let point =
        |version, previous| PointerChange { policy: policy("p"), version, digest: Some(digest.clone()), previous };
    let cases: [(Vec<VersionChange>, Vec<PointerChange>, bool); 4] = [
        (vec![], vec![point(1, 1)], true),
        (vec![], vec![point(1, 0)], false),
        (vec![], vec![point(2, 1)], false),
        (
            vec![VersionChange {
                policy: policy("p"),
                version: 1,
                state: VersionState::Published,
                digest: digest_of(b"a: 2"),
                adopted: None,
            }],
            vec![],
            false,
        ),
    ];
    for (versions, changes, holds) in cases {
        let mut sample = SampleLog::empty("a").fill(1);
        let own = digest_of(&sample.versions[0].3);
        let changes = changes.into_iter().map(|change| PointerChange { digest: Some(own.clone()), ..change }).collect();
        sample.write(EventKind::Activate, versions, changes);
        assert_eq!(read(&sample, |_| {}).findings.count == 0, holds);
    }
}

#[test]
fn an_epoch_is_raised_by_its_own_event_alone() {
    let mut sample = SampleLog::empty("a").fill(1);
    sample.write(EventKind::BumpEpoch, vec![], vec![]);
    assert_eq!(found(&read(&sample, |_| {})), [(7, "its epoch 1 does not follow")]);
}

#[test]
fn a_check_may_begin_where_another_one_ended() {
    let sample = SampleLog::empty("a").fill(3);
    let at = Head { cursor: sample.events[8].cursor, hash: sample.events[8].hash };
    let mut check = LogCheck::after(sample.trust.clone(), sample.namespace.clone(), at);
    sample.events[9..].iter().for_each(|event| drop(check.event(event)));
    assert_eq!((found(&check), check.events, check.proven()), (vec![], 9, sample.head()));
    let elsewhere = Head { cursor: Cursor { epoch: 1, revision: 9 }, hash: [7; 32] };
    let mut check = LogCheck::after(sample.trust.clone(), sample.namespace.clone(), elsewhere);
    sample.events[9..].iter().for_each(|event| drop(check.event(event)));
    assert_eq!(found(&check), [(10, "it was not written after the event before it")]);
}

#[test]
fn versions_that_are_not_those_of_the_log_are_found() {
    let sample = SampleLog::empty("a").fill(2);
    let other = sample.beside("b").fill(2);
    let with = |versions: &[(PolicyId, i64, String, Vec<u8>)]| {
        let mut check = LogCheck::new(sample.trust.clone(), sample.namespace.clone());
        sample.events.iter().for_each(|event| drop(check.event(event)));
        for (policy, number, manifest, content) in versions {
            check.content(content);
            check.manifest(policy, *number, manifest);
        }
        check.end();
        check.findings.count
    };
    assert_eq!(with(&sample.versions), 0);
    assert_eq!(with(&sample.versions[1..]), 1, "one is missing");
    assert!(with(&[&sample.versions[..], &sample.versions[..1]].concat()) > 0, "one is there twice");
    assert!(with(&other.versions) > 0, "those of another namespace");
    let mut swapped = sample.versions.clone();
    (swapped[0].2, swapped[1].2) = (swapped[1].2.clone(), swapped[0].2.clone());
    assert!(with(&swapped) > 0, "manifests of each other");
    let mut edited = sample.versions.clone();
    edited[0].3.push(b' ');
    assert!(with(&edited) > 0, "other bytes");
}
