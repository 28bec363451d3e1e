//! Histories that the rules allow, and single events that they do not.

use serde_json::{Value, json};

use super::super::super::digest::Digest;
use super::super::super::event::Payload;
use super::Replay;

fn digest(content: u8) -> String {
    Digest::from_sha256(&[content; 32]).to_string()
}

/// Returns an event of the log of `n`, at a time that is its revision.
fn payload(revision: i64, actor: &str, fields: Value) -> Payload {
    let mut event = json!({
        "store": "s", "namespace": "n", "epoch": 1, "revision": revision, "time": revision, "actor": actor, "policy": "p",
    });
    for (field, value) in fields.as_object().expect("fields") {
        event[field] = value.clone();
    }
    serde_json::from_value(event).expect("a payload")
}

fn version(number: i64, state: &str) -> Value {
    json!([{"policy": "p", "version": number, "state": state, "digest": digest(1)}])
}

fn moved(to: i64, from: i64) -> Value {
    json!([{"policy": "p", "version": to, "digest": (to > 0).then(|| digest(1)), "previous": from}])
}

fn settings(required: u32) -> Value {
    json!({"kind": "YAML", "description": "", "settings": {"required_approvals": required}})
}

fn approval(approver: &str, revision: i64, etag: i64) -> Value {
    let expire_time = revision + 7 * 24 * 60 * 60 * 1_000_000;
    json!([{"approver": approver, "digest": digest(1), "policy_etag": etag, "create_time": revision,
            "expire_time": expire_time, "revision": revision}])
}

/// Returns a policy that needs one approval, with one version that ann staged.
fn reviewed() -> Vec<Payload> {
    vec![
        payload(1, "ann", json!({"kind": "CREATE_POLICY", "settings": settings(1)})),
        payload(2, "ann", json!({"kind": "DRAFT", "versions": version(1, "DRAFT")})),
        payload(3, "ann", json!({"kind": "STAGE", "versions": version(1, "STAGED")})),
    ]
}

/// Returns what the last event breaks. All events before it must be allowed.
fn last(history: impl IntoIterator<Item = Payload>) -> Result<(), String> {
    let (mut replay, mut last) = (Replay::default(), Ok(()));
    for event in history {
        assert_eq!(last, Ok(()), "before {event:?}");
        last = replay.event(&event);
    }
    last
}

fn after(mut history: Vec<Payload>, event: Payload) -> Result<(), String> {
    history.push(event);
    last(history)
}

#[test]
fn a_release_with_its_review_is_allowed() {
    let mut history = reviewed();
    history.extend([
        payload(
            4,
            "bob",
            json!({"kind": "APPROVE_VERSION", "versions": version(1, "STAGED"), "approvals": approval("bob", 4, 1)}),
        ),
        payload(
            5,
            "ann",
            json!({"kind": "ACTIVATE", "versions": version(1, "PUBLISHED"), "changes": moved(1, 0),
                                 "approvals": approval("bob", 4, 1)}),
        ),
        payload(6, "ann", json!({"kind": "DEACTIVATE", "changes": moved(0, 1)})),
        payload(7, "ann", json!({"kind": "ACTIVATE", "changes": moved(1, 0)})),
        payload(8, "ann", json!({"kind": "DRAFT", "versions": version(2, "DRAFT")})),
        payload(9, "ann", json!({"kind": "ABANDON_DRAFT", "versions": version(2, "ABANDONED")})),
        payload(10, "ann", json!({"kind": "UPDATE_POLICY", "settings": settings(0)})),
        payload(11, "ann", json!({"kind": "DRAFT", "versions": version(3, "DRAFT")})),
        payload(12, "ann", json!({"kind": "PUBLISH", "versions": version(3, "PUBLISHED")})),
        payload(13, "ann", json!({"kind": "ROLLBACK", "changes": moved(3, 1)})),
    ]);
    assert_eq!(last(history), Ok(()));
}

#[test]
fn what_was_not_allowed_is_found() {
    let publish = json!({"kind": "PUBLISH", "versions": version(1, "PUBLISHED")});
    for (event, rule) in [
        (payload(4, "ann", publish), "0 of 1 approvals"),
        (payload(4, "ann", json!({"kind": "ACTIVATE", "changes": moved(1, 0)})), "publish it first"),
        (payload(4, "ann", json!({"kind": "STAGE", "versions": version(1, "STAGED")})), "was staged"),
        (payload(4, "ann", json!({"kind": "STAGE", "versions": version(2, "STAGED")})), "no event drafted p@2"),
        (payload(4, "ann", json!({"kind": "DRAFT", "versions": version(3, "DRAFT")})), "the next draft of p is 2"),
        (payload(4, "ann", json!({"kind": "DRAFT", "versions": version(1, "DRAFT")})), "the next draft of p is 2"),
        (payload(4, "ann", json!({"kind": "CREATE_POLICY", "settings": settings(0)})), "a policy that there is"),
        (
            payload(
                4,
                "ann",
                json!({"kind": "UPDATE_POLICY", "settings": settings(0), "versions": version(1, "PUBLISHED")}),
            ),
            "it changes versions",
        ),
        (payload(4, "ann", json!({"kind": "REVOKE_TOKEN", "changes": moved(1, 0)})), "moves no pointer"),
        (
            payload(
                4,
                "ann",
                json!({"kind": "APPROVE_VERSION", "versions": version(1, "STAGED"),
                                     "approvals": approval("ann", 4, 1)}),
            ),
            "somebody else must approve it",
        ),
        (
            payload(
                4,
                "bob",
                json!({"kind": "APPROVE_VERSION", "versions": version(1, "STAGED"),
                                     "approvals": approval("bob", 4, 7)}),
            ),
            "not the one that bob could give",
        ),
        (
            payload(
                4,
                "ann",
                json!({"kind": "PUBLISH", "versions": version(1, "PUBLISHED"),
                                     "approvals": approval("bob", 3, 1)}),
            ),
            "0 of 1 approvals",
        ),
        (payload(4, "ann", json!({"kind": "THAW_NAMESPACE", "access_revision": 3})), "role bindings"),
        (
            payload(
                4,
                "ann",
                json!({"kind": "ABANDON_DRAFT", "versions": version(1, "ABANDONED"),
                                     "settings_read": [{"policy": "p", "edits": 7}]}),
            ),
            "settings of p that were not in force",
        ),
    ] {
        let found = after(reviewed(), event.clone());
        assert!(found.as_ref().is_err_and(|found| found.contains(rule)), "{rule}: {found:?} of {event:?}");
    }
}

#[test]
fn an_event_that_was_not_allowed_counts_as_what_it_says() {
    let mut replay = Replay::default();
    for event in reviewed() {
        replay.event(&event).expect("it is allowed");
    }
    let publish = payload(4, "ann", json!({"kind": "PUBLISH", "versions": version(1, "PUBLISHED")}));
    replay.event(&publish).expect_err("it lacks an approval");
    let activate = payload(5, "ann", json!({"kind": "ACTIVATE", "changes": moved(1, 0)}));
    assert_eq!(replay.event(&activate), Ok(()), "one problem is one finding");
}

#[test]
fn an_import_without_settings_leaves_their_rules_out() {
    let import = json!({"kind": "IMPORT_NAMESPACE", "policy": null, "versions": version(1, "PUBLISHED")});
    let mut brought = import.clone();
    brought["imported"] = json!([{"policy": "p", "etag": 4, "latest_version": 3, "required_approvals": 1}]);
    let activate = payload(2, "ann", json!({"kind": "ACTIVATE", "changes": moved(1, 0)}));
    assert_eq!(after(vec![payload(1, "ann", import)], activate.clone()), Ok(()), "from before events carried them");
    let found = after(vec![payload(1, "ann", brought)], activate);
    assert!(found.as_ref().is_err_and(|found| found.contains("0 of 1 approvals")), "{found:?}");
}
