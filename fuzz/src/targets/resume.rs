//! Requests of subscribers in wire format: an accepted one names one namespace and its policies, a cursor not before the first one, and no
//! more than the limits.

use policyhub::api::{pb, request};
use policyhub::domain::limits::WATCH_POLICIES_MAX;
use prost::Message as _;

pub fn check(input: &[u8]) {
    let Some((choice, rest)) = input.split_first() else { return };
    match choice % 4 {
        0 => {
            if let Ok(asked) = pb::WatchActiveRequest::decode(rest) {
                watch(&asked);
            }
        }
        1 => {
            if let Ok(asked) = pb::GetActiveRequest::decode(rest) {
                let _ = request::get_active(&asked);
                assert_eq!(pb::GetActiveRequest::decode(asked.encode_to_vec().as_slice()), Ok(asked));
            }
        }
        2 => {
            if let Ok(asked) = pb::ReportStatusRequest::decode(rest) {
                let _ = request::report_status(asked);
            }
        }
        _ => {
            if let Ok(asked) = pb::GetConvergenceRequest::decode(rest) {
                let _ = request::get_convergence(&asked);
            }
        }
    }
}

fn watch(asked: &pb::WatchActiveRequest) {
    let _ = (request::watch_size(asked), request::watcher(asked), request::key_cursor(asked));
    let Ok(watches) = request::watch(asked) else { return };
    assert_eq!(watches.len(), asked.targets.len());
    for (watch, asked_target) in watches.into_iter().zip(&asked.targets) {
        assert_eq!(watch.namespace.name(), asked_target.parent);
        let (taken, given) = (watch.policies.len(), asked_target.policies.len());
        assert!(taken <= given && taken <= WATCH_POLICIES_MAX);
        assert_eq!(taken == 0, given == 0, "all, or those that were asked for");
        assert_eq!(watch.metadata_only, asked.metadata_only);
        match (watch.resume, asked_target.resume) {
            (None, None) => {}
            (Some(place), Some(asked)) => {
                assert_eq!((place.cursor.epoch, place.cursor.revision), (asked.epoch, asked.revision));
                assert!(place.cursor.epoch >= 0 && place.cursor.revision >= 0);
            }
            other => panic!("{other:?}"),
        }
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let parent = || "namespaces/default".to_owned();
    let watch = |resume, policies: &[&str]| pb::WatchActiveRequest {
        targets: vec![pb::WatchTarget {
            parent: parent(),
            policies: policies.iter().map(ToString::to_string).collect(),
            resume,
        }],
        subscriber_id: "pod-1".to_owned(),
        attributes: [("zone".to_owned(), "a".to_owned())].into(),
        mode: 1,
        ..Default::default()
    };
    let place = |epoch, revision| Some(pb::Cursor { epoch, revision, ..Default::default() });
    let of = |kind: u8, bytes: Vec<u8>| [vec![kind], bytes].concat();
    vec![
        of(0, watch(None, &[]).encode_to_vec()),
        of(0, watch(place(1, 7), &["p", "namespaces/default/policies/q"]).encode_to_vec()),
        of(0, watch(place(i64::MAX, i64::MAX), &["p"]).encode_to_vec()),
        of(0, watch(place(-1, i64::MIN), &[]).encode_to_vec()),
        of(1, pb::GetActiveRequest { name: parent(), ..Default::default() }.encode_to_vec()),
        of(2, pb::ReportStatusRequest::default().encode_to_vec()),
        of(3, pb::GetConvergenceRequest::default().encode_to_vec()),
    ]
}
