//! Runs: recorded once with the version in force, and provable at any later time.

use policyhub::client::{pb, verify_saved};
use tokio::task::JoinSet;
use tonic::Code;

use crate::harness::calls::{
    NamedEvent as _, activate, create, deactivate, draft, head, policy, publish, refused, refused_fields, release,
    trust, version,
};
use crate::harness::runs::{get_run as get, record, run_name, run_request};
use crate::harness::subscribing::at;
use crate::harness::{Database, Hub, on_both_databases};

/// Returns a request for a run under one policy.
fn request(run_id: &str, id: &str, cursor: Option<pb::Cursor>) -> pb::RecordRunRequest {
    run_request(run_id, &[id], cursor)
}

/// Returns the run's version, its digest, and the revision of its activation.
fn only(run: &pb::Run) -> (i64, &str, i64) {
    assert_eq!((run.policies.len(), run.policy_count, run.whole_set), (1, 1, false), "{run:?}");
    let first = run.policies.first().expect("a policy");
    assert_eq!(first.policy, "p");
    (first.version, &first.digest, first.activation_revision)
}

on_both_databases! {
    /// Whatever is activated later, the run names what was in force, and GetActive at its cursor proves it.
    async fn a_run_is_provable_later(hub: Hub) {
        let client = hub.client().await;
        let first = release(&client, "p", "a: 1").await;
        let since = head(&client).await;
        draft(&client, "other", "x: 1").await;
        let place = head(&client).await;
        let recorded = record(&client, request("job-7", "p", None)).await.expect("a run");
        assert_eq!((recorded.id().as_str(), only(&recorded)), ("job-7", (1, first.digest.as_str(), since)));
        assert_eq!((recorded.outcome(), recorded.complete_time), (pb::RunOutcome::Open, None));
        assert_eq!((recorded.cursor, recorded.recorder.as_str()), (Some(at(place)), "local:admin"));
        assert!(recorded.create_time.is_some());
        assert_eq!(head(&client).await, place, "a run is no event");

        release(&client, "p", "a: 2").await;
        activate(&client, "p", 1).await;
        deactivate(&client, "p").await;
        release(&client, "p", "a: 3").await;
        let hub = hub.restart_in_order().await;
        let client = hub.client().await;
        let found = get(&client, "job-7").await.expect("a run");
        assert_eq!(found, recorded);

        let then = Some(pb::get_active_request::At::Cursor(pb::Cursor::of_revision(found.cursor.expect("a cursor").revision)));
        let ask = pb::GetActiveRequest { name: policy("p"), at: then, ..Default::default() };
        let active = client.get_active(ask).await.expect("a policy");
        let bundle = active.bundle.expect("a bundle");
        assert_eq!((&bundle.name, bundle.digest.as_str()), (&version("p", 1), only(&found).1));
        let keys = trust(&client).await.keys;
        let (manifest, statement) =
            verify_saved(&bundle.manifest, &bundle.content, Some(&active.statement), &keys).expect("a proof");
        assert_eq!((manifest.version, manifest.digest.to_string()), (1, only(&found).1.to_owned()));
        assert_eq!(statement.expect("a statement").revision, only(&found).2);
    }

    async fn a_run_is_recorded_at_the_place_it_names(hub: Hub) {
        let client = hub.client().await;
        draft(&client, "p", "a: 0").await;
        let before = head(&client).await;
        let published = publish(&client, "p", "a: 1").await.version;
        let first = activate(&client, "p", published).await;
        publish(&client, "p", "a: 2").await;
        let second = activate(&client, "p", published + 1).await;
        let gone = deactivate(&client, "p").await;
        for (run, place, number, since) in [
            ("1", first, published, first),
            ("2", second - 1, published, first),
            ("3", second, published + 1, second),
        ] {
            let run = record(&client, request(run, "p", Some(at(place)))).await.expect("a run");
            let (version, _, active_revision) = only(&run);
            assert_eq!((version, run.cursor, active_revision), (number, Some(at(place)), since));
        }
        for place in [None, Some(at(gone)), Some(at(before)), Some(at(0))] {
            let answer = record(&client, request("none", "p", place)).await;
            refused(answer, Code::FailedPrecondition, "NO_ACTIVE_VERSION");
        }
        // A draft served by fallback is never a run's version.
        let settings = pb::PolicySettings { allow_draft_fallback: true, ..Default::default() };
        create(&client, "fallback", pb::PolicyKind::Yaml, settings).await;
        draft(&client, "fallback", "a: 1").await;
        let answer = record(&client, request("none", "fallback", None)).await;
        refused(answer, Code::FailedPrecondition, "NO_ACTIVE_VERSION");
        refused(get(&client, "none").await, Code::NotFound, "RUN_NOT_FOUND");
    }

    async fn a_run_is_recorded_once(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        release(&client, "q", "a: 1").await;
        let place = head(&client).await;
        let recorded = record(&client, request("job", "p", Some(at(place)))).await.expect("a run");
        activate(&client, "p", 1).await;
        for again in [Some(at(place)), None] {
            assert_eq!(record(&client, request("job", "p", again)).await.expect("the same"), recorded);
        }
        let conflicts = [request("job", "q", Some(at(place))), request("job", "q", None), request("job", "p", Some(at(place + 1)))];
        for other in conflicts {
            let error = refused(record(&client, other).await, Code::AlreadyExists, "RUN_CONFLICT");
            assert_eq!(error.metadata()["recorded_for"], policy("p"));
            assert_eq!(error.metadata()["recorded_revision"], place.to_string());
        }
        // The same id in another namespace is another run.
        let elsewhere = pb::GetRunRequest { name: run_name("namespaces/system", "job") };
        refused(client.get_run(elsewhere).await, Code::NotFound, "RUN_NOT_FOUND");

        let with_id = |run_id: &str| pb::RecordRunRequest { request_id: "r-1".to_owned(), ..request(run_id, "p", None) };
        let first = record(&client, with_id("by-id")).await.expect("a run");
        activate(&client, "p", 1).await;
        assert_eq!(record(&client, with_id("by-id")).await.expect("the same"), first);
        let other = record(&client, with_id("another")).await;
        refused(other, Code::InvalidArgument, "REQUEST_ID_REUSED");
        refused(get(&client, "another").await, Code::NotFound, "RUN_NOT_FOUND");
    }

    /// Given many concurrent calls with one id, one of them records, and the others get its answer or a conflict.
    async fn one_of_many_records(hub: Hub) {
        let client = hub.client().await;
        for id in ["p", "q"] {
            release(&client, id, "a: 1").await;
        }
        let mut calls = JoinSet::new();
        for number in 0..40 {
            let client = client.clone();
            let asked = request("job", if number % 2 == 0 { "p" } else { "q" }, None);
            calls.spawn(async move { record(&client, asked).await });
        }
        let (mut same, mut other) = (Vec::new(), 0);
        for answer in calls.join_all().await {
            match answer {
                Ok(run) => same.push(run),
                refusal => {
                    refused(refusal, Code::AlreadyExists, "RUN_CONFLICT");
                    other += 1;
                }
            }
        }
        assert_eq!((same.len(), other), (20, 20));
        let kept = get(&client, "job").await.expect("a run");
        assert!(same.iter().all(|run| *run == kept), "{same:?}");
    }

    async fn what_can_not_be_is_refused(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        let place = head(&client).await;
        for bad in [at(place + 1), at(i64::MAX), at(-1), pb::Cursor { epoch: 2, revision: 1, ..Default::default() }] {
            refused_fields(record(&client, request("job", "p", Some(bad))).await, &["cursor"]);
        }
        let long = "r".repeat(129);
        for bad in ["", "a b", "a\n", "ä", long.as_str()] {
            refused_fields(record(&client, request(bad, "p", None)).await, &["run_id"]);
            refused_fields(get(&client, bad).await, &["name"]);
        }
        refused_fields(record(&client, pb::RecordRunRequest::default()).await, &["parent", "run_id"]);
        let spaced = pb::RecordRunRequest { request_id: "a b".to_owned(), ..request("job", "p", None) };
        refused_fields(record(&client, spaced).await, &["request_id"]);
        refused(record(&client, request("job", "absent", None)).await, Code::NotFound, "POLICY_NOT_FOUND");
        refused_fields(record(&client, request("job", "namespaces/absent/policies/p", None)).await, &["policies[0]"]);
        let absent = pb::RecordRunRequest { parent: "namespaces/absent".to_owned(), ..request("job", "p", None) };
        refused(record(&client, absent).await, Code::NotFound, "NAMESPACE_NOT_FOUND");
        let absent = pb::GetRunRequest { name: run_name("namespaces/absent", "job") };
        refused(client.get_run(absent).await, Code::NotFound, "NAMESPACE_NOT_FOUND");
        refused(get(&client, "job").await, Code::NotFound, "RUN_NOT_FOUND");
        let longest = "r".repeat(128);
        record(&client, request(&longest, "p", None)).await.expect("the longest id there can be");
    }

    /// Given an edited row, which contradicts the log, the run is refused.
    async fn a_forged_run_is_not_served(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        release(&client, "p", "a: 2").await;
        let honest = record(&client, request("job", "p", None)).await.expect("a run");
        let error = hub.try_tamper("UPDATE runs SET version = 1").expect_err("refused");
        assert!(error.contains("are immutable"), "{error}");
        let on_runs = if hub.database_url.starts_with("sqlite") { "" } else { " ON runs" };
        hub.tamper(&format!("DROP TRIGGER runs_refuse_update{on_runs}"));
        for (forged, back) in [
            ("version = 1", "version = 2"),
            ("digest = 'sha256:' || substr(digest, 8, 32) || substr(digest, 8, 32)", &format!("digest = '{}'", only(&honest).1)),
            ("active_revision = 3", &format!("active_revision = {}", only(&honest).2)),
            ("revision = 3", &format!("revision = {}", honest.cursor.expect("a cursor").revision)),
            ("epoch = 2", "epoch = 1"),
        ] {
            hub.tamper(&format!("UPDATE runs SET {forged}"));
            refused(get(&client, "job").await, Code::DataLoss, "DATA_LOSS");
            hub.tamper(&format!("UPDATE runs SET {back}"));
            assert_eq!(get(&client, "job").await.expect("a run"), honest, "{forged}");
        }
    }
}

#[tokio::test]
async fn runs_by_commands() {
    let hub = Hub::start(Database::Sqlite).await;
    release(&hub.client().await, "p", "a: 1").await;
    let run = |arguments: &[&str]| {
        let output = hub.cli().args(arguments).output().expect("the binary runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, text) = run(&["run", "record", "job-7", "p", "--at", "1:3"]);
    assert!(code == Some(0) && text.starts_with("job-7 OPEN at 1:3, recorded by local:admin at "), "{text}");
    assert!(text.contains("\n  p@1 sha256:") && text.ends_with(" in force since 3\n"), "{text}");
    assert_eq!(run(&["run", "get", "job-7"]), (Some(0), text));
    let (code, text) = run(&["run", "get", "job-7", "--output", "json"]);
    let json: serde_json::Value = serde_json::from_str(&text).expect("one JSON document");
    assert_eq!((code, &json["run"]["policies"][0]["version"]), (Some(0), &serde_json::Value::from(1)));
    assert_eq!(run(&["run", "record", "job-7", "p", "--at", "1:2"]).0, Some(1));
    assert_eq!(run(&["run", "get", "absent"]).0, Some(1));
    // A run of the whole set, completed and listed.
    assert_eq!(run(&["run", "record", "job-8"]).0, Some(0));
    let (code, text) = run(&["run", "complete", "job-8", "failed", "--message", "no space"]);
    assert!(code == Some(0) && text.starts_with("job-8 FAILED at 1:3, the whole active set, recorded by "), "{text}");
    assert!(text.contains(": no space\n  p@1 "), "{text}");
    assert_eq!(run(&["run", "complete", "job-8", "failed", "--message", "no space"]), (Some(0), text));
    assert_eq!(run(&["run", "complete", "job-8", "succeeded"]).0, Some(1));
    assert_eq!(run(&["run", "complete", "job-8", "open"]).0, Some(2));
    let (code, text) = run(&["run", "list", "p@1"]);
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((code, lines.len()), (Some(0), 7), "{text}");
    assert_eq!((&lines[1][..2], &lines[2][..2]), (&["job-8", "FAILED"][..], &["job-7", "OPEN"][..]), "{text}");
    assert_eq!(&lines[4..], [["VERSION", "OUTCOME", "RUNS"], ["1", "OPEN", "1"], ["1", "FAILED", "1"]], "{text}");
    let (code, text) = run(&["run", "list", "--outcome", "open", "--output", "json"]);
    let json: serde_json::Value = serde_json::from_str(&text).expect("one JSON document");
    assert_eq!((code, &json["runs"][0]["name"]), (Some(0), &serde_json::Value::from("namespaces/default/runs/job-7")));
    assert_eq!(run(&["run", "list", "absent"]).0, Some(1));
}
