//! Stage: every check, the report, and the lock on the content.

use policyhub::client::pb::PolicyKind::{Json, Yaml};
use policyhub::client::pb::VersionState::{Draft, Staged};
use policyhub::client::pb::check::Result::{Failed, Passed, Skipped};
use policyhub::client::pb::finding::Severity;
use policyhub::client::{Client, ClientError, pb};
use tonic::Code;

use crate::harness::calls::{
    Revision as _, abandon, create, draft, draft_of_its_kind, draft_request, get_version, head, policy,
    publish_request, reason, refused, set, version,
};
use crate::harness::on_both_databases;

const SCHEMA: &str = r#"{"type":"object","required":["a"],"properties":{"a":{"type":"integer"}}}"#;

fn with_schema(schema: &str) -> pb::PolicySettings {
    pb::PolicySettings { json_schema: schema.to_owned(), ..Default::default() }
}

async fn stage(client: &Client, name: String) -> Result<pb::StageResponse, ClientError> {
    client.stage(pb::StageRequest { name, ..Default::default() }).await
}

async fn report(client: &Client, id: &str, number: i64) -> pb::ValidationReport {
    let request = pb::GetValidationReportRequest { name: version(id, number) };
    client.get_validation_report(request).await.expect("a report").report.expect("a report")
}

fn results(report: &pb::ValidationReport) -> Vec<(&str, pb::check::Result)> {
    report.checks.iter().map(|check| (check.id.as_str(), check.result())).collect()
}

on_both_databases! {
    /// Given a valid draft, it is staged and its report stored; staging it again changes nothing.
    async fn a_sound_draft_is_locked(hub: Hub) {
        let client = hub.client().await;
        create(&client, "p", Yaml, with_schema(SCHEMA)).await;
        let drafted = draft(&client, "p", "a: 1").await;
        let staged = stage(&client, drafted.name.clone()).await.expect("a stage");
        let (locked, found) = (staged.version.expect("a version"), staged.report.expect("a report"));
        assert_eq!((locked.state(), staged.cursor.revision()), (Staged, head(&client).await));
        assert!(locked.stage_time.is_some() && locked.etag != drafted.etag && locked.digest == drafted.digest);
        assert!(found.passed);
        let expected = [
            ("limits", Passed),
            ("parse", Passed),
            ("json-schema", Passed),
            ("references", Skipped),
            ("requires", Skipped),
            ("label", Skipped),
            ("guardrails", Skipped),
        ];
        assert_eq!(results(&found), expected);
        assert_eq!((&found.version_name, &found.digest), (&locked.name, &locked.digest));
        assert_eq!(report(&client, "p", 1).await, found);

        let again = stage(&client, drafted.name).await.expect("a stage");
        assert_eq!((again.version.expect("a version"), again.cursor.revision()), (locked, 0));
        assert_eq!(head(&client).await, staged.cursor.revision());
    }

    /// Given a failed check, the draft stays open, with its report, and nothing is logged.
    async fn a_failed_check_leaves_a_draft(hub: Hub) {
        let client = hub.client().await;
        create(&client, "p", Json, with_schema(SCHEMA)).await;
        let drafted = client.draft(draft_of_its_kind("p", r#"{"a": "text"}"#)).await.expect("a draft");
        let drafted = drafted.version.expect("a version");
        let at = head(&client).await;
        let request = pb::GetValidationReportRequest { name: version("p", 1) };
        refused(client.get_validation_report(request).await, Code::NotFound, "REPORT_NOT_FOUND");
        let error = refused(stage(&client, drafted.name.clone()).await, Code::FailedPrecondition, "VALIDATION_FAILED");
        assert_eq!((error.metadata()["check"].as_str(), error.metadata()["pointer"].as_str()), ("json-schema", "/a"));
        let kept = report(&client, "p", 1).await;
        assert!(!kept.passed);
        assert_eq!(results(&kept)[2], ("json-schema", Failed));
        let [found] = kept.checks[2].findings.as_slice() else { panic!("one finding: {kept:?}") };
        assert_eq!((found.severity(), found.pointer.as_str(), found.file.as_str()), (Severity::Error, "/a", ""));
        assert!(!found.message.is_empty() && !found.hint.is_empty(), "{found:?}");
        assert_eq!((get_version(&client, "p", 1).await.state(), head(&client).await), (Draft, at));
        assert_eq!(get_version(&client, "p", 1).await.etag, drafted.etag, "the draft itself did not change");

        set(&client, "p", with_schema("")).await;
        let staged = stage(&client, drafted.name).await.expect("a stage");
        assert!(staged.report.expect("a report").passed && report(&client, "p", 1).await.passed);
    }

    /// Each error of a schema is a finding with its position, up to a limit; the command line shows each.
    async fn every_error_of_a_schema_is_told(hub: Hub) {
        let client = hub.client().await;
        create(&client, "p", Json, with_schema(r#"{"items":{"type":"string"}}"#)).await;
        for (content, count) in [(r#"[1,"a",2,3]"#.to_owned(), 3), (format!("[{}1]", "1,".repeat(20)), 20)] {
            let drafted = client.draft(draft_of_its_kind("p", &content)).await.expect("a draft").version.expect("a version");
            refused(stage(&client, drafted.name).await, Code::FailedPrecondition, "VALIDATION_FAILED");
            let kept = report(&client, "p", drafted.version).await;
            let check = &kept.checks[2];
            assert_eq!((check.id.as_str(), check.result(), check.findings.len()), ("json-schema", Failed, count));
            assert!(check.findings.iter().all(|found| found.severity() == Severity::Error && !found.hint.is_empty()));
            let last = check.findings.last().expect("a finding");
            assert_eq!(last.hint.starts_with("there are more"), count == 20, "{last:?}");
            let shown = hub.cli().arg("report").arg(format!("p@{}", drafted.version)).output().expect("the binary runs");
            let shown = String::from_utf8(shown.stdout).expect("text");
            assert_eq!(shown.lines().filter(|line| line.starts_with("FAILED json-schema at 1:")).count(), count, "{shown}");
            assert_eq!(shown.lines().filter(|line| line.starts_with("  hint: ")).count(), count, "{shown}");
        }
        for skipped in report(&client, "p", 1).await.checks.iter().filter(|check| check.result() == Skipped) {
            let [why] = skipped.findings.as_slice() else { panic!("one finding: {skipped:?}") };
            assert!(why.severity() == Severity::Info && !why.message.is_empty(), "{why:?}");
        }
    }

    /// validate_only answers the report, also a failed one, and changes nothing.
    async fn validate_only_answers_the_report(hub: Hub) {
        let client = hub.client().await;
        for (id, content, passed) in [("good", "a: 1", true), ("bad", "a: 1\na: 2", false)] {
            let drafted = draft(&client, id, content).await;
            let at = head(&client).await;
            let request = pb::StageRequest { name: drafted.name, validate_only: true, ..Default::default() };
            let answer = client.stage(request).await.expect("an answer");
            assert_eq!((answer.report.expect("a report").passed, answer.cursor.revision()), (passed, 0));
            assert_eq!(answer.version.expect("a version").state(), Draft);
            let request = pb::GetValidationReportRequest { name: version(id, 1) };
            assert_eq!(reason(client.get_validation_report(request).await), "REPORT_NOT_FOUND");
            assert_eq!((get_version(&client, id, 1).await.state(), head(&client).await), (Draft, at));
        }
        let stale = pb::StageRequest {
            name: version("good", 1),
            etag: "77".to_owned(),
            validate_only: true,
            ..Default::default()
        };
        refused(client.stage(stale).await, Code::Aborted, "ETAG_MISMATCH");
    }

    /// A policy's name stands for its one open draft, and only then.
    async fn the_policy_names_its_one_open_draft(hub: Hub) {
        let client = hub.client().await;
        create(&client, "p", Yaml, with_schema("")).await;
        refused(stage(&client, policy("p")).await, Code::FailedPrecondition, "NO_OPEN_DRAFT");
        draft(&client, "p", "a: 1").await;
        draft(&client, "p", "a: 2").await;
        let error = refused(stage(&client, policy("p")).await, Code::FailedPrecondition, "SEVERAL_OPEN_DRAFTS");
        assert_eq!(error.metadata()["versions"], "1,2");
        abandon(&client, "p", 1).await;
        let staged = stage(&client, policy("p")).await.expect("a stage");
        assert_eq!(staged.version.expect("a version").version, 2);
    }

    /// Parsers differ on duplicate keys and on integers beyond 2^53 - 1: both are refused, in JSON and in YAML.
    async fn what_readers_differ_on_is_refused(hub: Hub) {
        let client = hub.client().await;
        create(&client, "json", Json, with_schema("")).await;
        create(&client, "yaml", Yaml, with_schema("")).await;
        for (id, content, sound) in [
            ("json", r#"{"a": 9007199254740991, "b": -9007199254740991}"#, true),
            ("json", r#"{"a": 9007199254740992}"#, false),
            ("json", r#"{"a": 1, "\u0061": 2}"#, false),
            ("json", "{} {}", false),
            ("yaml", "a: 9007199254740991", true),
            ("yaml", "a: 9007199254740992", false),
            ("yaml", "a: 1\n'a': 2", false),
            ("yaml", "a: 1\n---\na: 2", true),
            ("yaml", "a: 1\n---\n---\nb: 2", false),
            ("yaml", "a: &x [1]\nb: *x", true),
        ] {
            let drafted = client.draft(draft_of_its_kind(id, content)).await.expect("a draft");
            let drafted = drafted.version.expect("a version");
            match stage(&client, drafted.name).await {
                Ok(_) => assert!(sound, "{content}"),
                Err(error) => {
                    assert_eq!((error.code(), error.reason()), (Code::FailedPrecondition, "VALIDATION_FAILED"));
                    assert!(!sound && error.metadata()["check"] == "parse", "{content}: {error:?}");
                }
            }
        }
    }

    /// A label must be higher than every published one, unless backports are allowed.
    async fn labels_rise(hub: Hub) {
        let client = hub.client().await;
        let label =
            |label: &str, content: &str| pb::DraftRequest { label: label.to_owned(), ..draft_request("p", content) };
        client.draft(label("1.9.0", "a: 1")).await.expect("a draft");
        client.publish(publish_request("p", 1)).await.expect("a publication");
        client.draft(label("1.10.0", "a: 2")).await.expect("a draft");
        stage(&client, version("p", 2)).await.expect("1.10.0 is higher than 1.9.0");
        client.draft(label("1.8.7", "a: 3")).await.expect("a draft");
        let error = refused(stage(&client, version("p", 3)).await, Code::FailedPrecondition, "VALIDATION_FAILED");
        assert_eq!(error.metadata()["check"], "label");
        assert!(error.message().contains("1.8.7") && error.message().contains("1.9.0"), "{}", error.message());
        set(&client, "p", pb::PolicySettings { allow_backport: true, ..Default::default() }).await;
        stage(&client, version("p", 3)).await.expect("a backport");
        let next = pb::PolicySettings { bump_rule: pb::BumpRule::Next.into(), ..Default::default() };
        set(&client, "p", next).await;
        client.draft(label("3.0.0", "a: 4")).await.expect("a draft");
        let error = refused(stage(&client, version("p", 4)).await, Code::FailedPrecondition, "VALIDATION_FAILED");
        assert_eq!(error.metadata()["check"], "label");
        client.draft(label("2.0.0", "a: 5")).await.expect("a draft");
        stage(&client, version("p", 5)).await.expect("one step");
    }
}
