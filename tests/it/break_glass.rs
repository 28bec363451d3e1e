//! Break-glass: publishing without the missing approvals, visible to everybody (docs/security.md#t34).

use policyhub::client::{SetChange, pb};
use tonic::Code;

use crate::harness::calls::{Revision as _, active, get_version, head, publish_request, refused, refused_fields, set};
use crate::harness::reviews::{approve, approvers, last_event, needs, people, reviewed_policy, staged};
use crate::harness::{Database, Hub, metrics, on_both_databases, watching};

fn in_an_emergency(id: &str, number: i64) -> pb::PublishRequest {
    pb::PublishRequest { break_glass: true, reason: "the shop is down".to_owned(), ..publish_request(id, number) }
}

/// Checks that metric and log count exactly this many. A log line may arrive shortly after it was written.
async fn is_told(hub: &Hub, times: usize) {
    let row = "policyhub_break_glass_total";
    assert_eq!(metrics::counted(&metrics::text(hub), row), Some(times as f64));
    let lines = || {
        let log = hub.log.lock().expect("the log");
        log.lines().filter(|line| line.contains("break-glass: a version is published")).count()
    };
    let received = async {
        while lines() < times {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(watching::DEADLINE, received).await.expect("a line in the log");
    assert_eq!(lines(), times);
}

on_both_databases! {
    with watching::LIVELY;

    /// Given a lowered number of required approvals, this is visible too, before anything is published without them.
    async fn a_lowered_requirement_is_seen(hub: Hub) {
        let [ann] = people(&hub, ["ann"]).await;
        reviewed_policy(&ann, "p", 2).await;
        let counted = || metrics::counted(&metrics::text(&hub), "policyhub_required_approvals_lowered_total");
        set(&ann, "p", needs(3)).await;
        assert_eq!(counted(), Some(0.0), "more of them alarm nobody");
        set(&ann, "p", needs(1)).await;
        assert_eq!(counted(), Some(1.0));
        let line = async {
            loop {
                let log = hub.log.lock().expect("the log").clone();
                if let Some(line) = log.lines().find(|line| line.contains("fewer approvals are required")) {
                    return line.to_owned();
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        let line = tokio::time::timeout(watching::DEADLINE, line).await.expect("a line in the log");
        let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(line["level"], "WARN");
        for (field, value) in [("namespace", "default"), ("policy", "p"), ("actor", "local:ann")] {
            assert_eq!(line["fields"][field], value, "{field}");
        }
        assert_eq!((line["fields"]["from"].as_i64(), line["fields"]["to"].as_i64()), (Some(3), Some(1)));
    }

    /// Break-glass is an event of its own kind, counted and logged; with `activate`, subscribers receive a usual activation.
    async fn it_is_seen(hub: Hub) {
        let [admin, ann, bob] = people(&hub, ["admin", "ann", "bob"]).await;
        reviewed_policy(&admin, "p", 2).await;
        let reviewed = staged(&ann, "p", "a: 1").await;
        let given = approve(&bob, &reviewed).await.expect("an approval").cursor.revision();
        let mut watch = watching::open(&bob).await;
        watching::change(&mut watch).await;
        is_told(&hub, 0).await;
        let request = pb::PublishRequest { activate: true, ..in_an_emergency("p", 1) };
        let rehearsal = pb::PublishRequest { validate_only: true, ..request.clone() };
        assert_eq!(ann.publish(rehearsal).await.expect("an answer").cursor.revision(), 0);
        is_told(&hub, 0).await;

        let answer = ann.publish(request).await.expect("a publication");
        let (event, grounds) = last_event(&admin).await;
        assert_eq!((event.kind(), event.actor.as_str()), (pb::EventKind::BreakGlass, "local:ann"));
        assert_eq!((event.reason.as_str(), event.changes.len()), ("the shop is down", 1));
        assert_eq!(grounds, [("local:bob".to_owned(), given)], "what there was is on record");
        match watching::change(&mut watch).await {
            SetChange::Activated { cursor, kind, .. } => {
                assert_eq!((cursor.revision, kind.as_str()), (answer.cursor.revision(), "BREAK_GLASS"));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!((active(&admin, "p").await, watching::held(&watch)), (1, watching::in_force(&admin).await));
        is_told(&hub, 1).await;
        // A restarted server and a new subscriber find a log and a statement that verify.
        let hub = hub.restart_in_order().await;
        let mut later = watching::open(&hub.client().await).await;
        watching::change(&mut later).await;
        assert_eq!(watching::held(&later), watching::held(&watch));
        let mut resumed = watching::resume(&hub.client().await, 0).await;
        assert_eq!(watching::activation(&mut resumed).await, (answer.cursor.revision(), vec!["p@1".to_owned()], vec![]));
    }

    /// It replaces approvals, but no checks, no etag, no open version and no reason.
    async fn it_skips_nothing_else(hub: Hub) {
        let [admin, ann] = people(&hub, ["admin", "ann"]).await;
        reviewed_policy(&admin, "p", 1).await;
        let bad = crate::harness::calls::draft(&ann, "p", "a: [").await;
        refused(ann.publish(in_an_emergency("p", bad.version)).await, Code::FailedPrecondition, "VALIDATION_FAILED");
        let reviewed = staged(&ann, "p", "a: 1").await;
        let at = head(&admin).await;
        let stale = pb::PublishRequest { etag: "1".to_owned(), ..in_an_emergency("p", 2) };
        refused(ann.publish(stale).await, Code::Aborted, "ETAG_MISMATCH");
        for reason in ["", " \n"] {
            let silent = pb::PublishRequest { reason: reason.to_owned(), ..in_an_emergency("p", 2) };
            refused_fields(ann.publish(silent).await, &["reason"]);
        }
        assert_eq!(head(&admin).await, at);
        is_told(&hub, 0).await;
        ann.publish(in_an_emergency("p", reviewed.version)).await.expect("a publication");
        assert_eq!(last_event(&admin).await.0.kind(), pb::EventKind::BreakGlass);
        refused(ann.publish(in_an_emergency("p", 2)).await, Code::FailedPrecondition, "VERSION_NOT_OPEN");
        is_told(&hub, 1).await;
    }

    /// Given enough approvals, or none required, it is an ordinary publication.
    async fn with_nothing_missing_nothing_breaks(hub: Hub) {
        let [admin, ann, bob] = people(&hub, ["admin", "ann", "bob"]).await;
        reviewed_policy(&admin, "p", 1).await;
        reviewed_policy(&admin, "free", 0).await;
        let reviewed = staged(&ann, "p", "a: 1").await;
        approve(&bob, &reviewed).await.expect("an approval");
        ann.publish(in_an_emergency("p", 1)).await.expect("a publication");
        assert_eq!(last_event(&admin).await.0.kind(), pb::EventKind::Publish);
        staged(&ann, "free", "a: 1").await;
        let request = pb::PublishRequest { activate: true, ..in_an_emergency("free", 1) };
        ann.publish(request).await.expect("a publication");
        assert_eq!(last_event(&admin).await.0.kind(), pb::EventKind::Activate);
        is_told(&hub, 0).await;
    }

    /// Given a repeated request, it is the same publication, counted once.
    async fn a_retry_breaks_it_once(hub: Hub) {
        let [admin, ann] = people(&hub, ["admin", "ann"]).await;
        reviewed_policy(&admin, "p", 1).await;
        staged(&ann, "p", "a: 1").await;
        let request = pb::PublishRequest { request_id: "id-1".to_owned(), ..in_an_emergency("p", 1) };
        let first = ann.publish(request.clone()).await.expect("a publication");
        assert_eq!(ann.publish(request.clone()).await.expect("the same"), first);
        let ordinary = pb::PublishRequest { break_glass: false, ..request };
        refused(ann.publish(ordinary).await, Code::InvalidArgument, "REQUEST_ID_REUSED");
        is_told(&hub, 1).await;
    }
}

/// A review by commands: `approve` and `reject` take what `show` prints.
#[tokio::test]
async fn a_review_by_commands() {
    let hub = Hub::start(Database::Sqlite).await;
    let [admin, ann, bob] = people(&hub, ["admin", "ann", "bob"]).await;
    reviewed_policy(&admin, "p", 2).await;
    let reviewed = staged(&ann, "p", "a: 1").await;
    approve(&bob, &reviewed).await.expect("an approval");
    let run = |arguments: &[&str]| {
        let output = hub.cli().args(arguments).output().expect("the binary runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, content, said) = run(&["show", "p@1"]);
    assert_eq!((code, content.as_str()), (Some(0), "a: 1"));
    for line in ["p@1 STAGED", &reviewed.digest, "1 of 2 approvals", "approved by local:bob until "] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let wrong = format!("sha256:{}", "0".repeat(64));
    let (code, _, said) = run(&["approve", "p@1", "--digest", &wrong]);
    assert!(code == Some(1) && said.contains("DIGEST_MISMATCH"), "{said}");
    let (code, said, _) = run(&["approve", "p@1", "--digest", &reviewed.digest, "--reason", "tried it"]);
    assert!(
        code == Some(0) && said.contains("approved by local:admin until ") && said.contains(": tried it"),
        "{said}"
    );
    assert_eq!(approvers(&ann, "p", 1).await, ["local:admin", "local:bob"]);
    let (code, said, _) = run(&["publish", "p@1"]);
    assert!(code == Some(0) && said.contains("p@1 PUBLISHED"), "{said}");

    let next = staged(&ann, "p", "a: 2").await;
    let (code, said, _) = run(&["reject", "p@2", "--digest", &next.digest, "--reason", "no"]);
    assert!(code == Some(0) && said.contains("p@2 REJECTED"), "{said}");
    let last = staged(&ann, "p", "a: 3").await;
    let (code, _, said) = run(&["publish", "p@3"]);
    assert!(code == Some(1) && said.contains("has 0 of 2 approvals"), "{said}");
    assert_eq!(run(&["publish", "p@3", "--break-glass"]).0, Some(2), "a reason is required");
    let (code, _, said) = run(&["publish", "p@3", "--break-glass", "--reason", "fire"]);
    assert_eq!(code, Some(0), "{said}");
    let (_, events, _) = run(&["events", "p"]);
    assert!(events.contains("BREAK_GLASS") && events.contains("REJECT_VERSION"), "{events}");
    assert_eq!(get_version(&admin, "p", last.version).await.state(), pb::VersionState::Published);
}
