//! PublishVersions: each version is published or refused separately, as by Publish.

use std::collections::BTreeMap;

use policyhub::client::pb::VersionState::{Draft, Published};
use policyhub::client::pb::publish_versions_result::Outcome;
use policyhub::client::signing::verify_bundle;
use policyhub::client::{Client, pb};
use prost::Message as _;
use tonic::Code;

use crate::harness::callers::{caller, grant, namespace};
use crate::harness::calls::{
    NAMESPACE, Revision as _, active, create, draft, draft_request, events, get_version, head, policy, publish,
    refused, refused_fields, trust, version,
};
use crate::harness::on_both_databases;
use crate::harness::reviews::reviewed_policy;
use crate::quotas::grant as grant_quotas;

/// The limit of versions per call in the contract.
const VERSIONS_MAX: usize = 100;

fn one(name: impl Into<String>) -> pb::VersionToPublish {
    pb::VersionToPublish { name: name.into(), etag: String::new() }
}

/// Returns a request for these versions in the tests' namespace.
pub fn request(names: impl IntoIterator<Item = String>) -> pb::PublishVersionsRequest {
    pb::PublishVersionsRequest {
        parent: NAMESPACE.to_owned(),
        versions: names.into_iter().map(one).collect(),
        reason: "a release".to_owned(),
        ..Default::default()
    }
}

/// Returns the result of each version.
pub async fn results(client: &Client, request: pb::PublishVersionsRequest) -> Vec<pb::PublishVersionsResult> {
    let asked: Vec<String> = request.versions.iter().map(|each| each.name.clone()).collect();
    let results = client.publish_versions(request).await.expect("an answer").results;
    assert_eq!(results.iter().map(|each| each.name.clone()).collect::<Vec<_>>(), asked, "one for each, in order");
    results
}

fn published(result: &pb::PublishVersionsResult) -> (&pb::Version, i64) {
    match result.outcome.as_ref().expect("an outcome") {
        Outcome::Published(done) => (done.version.as_ref().expect("a version"), done.cursor.revision()),
        Outcome::Refusal(refusal) => panic!("{} is refused: {refusal:?}", result.name),
    }
}

/// Returns the refusal of a version.
pub fn refusal(result: &pb::PublishVersionsResult) -> &pb::Refusal {
    match result.outcome.as_ref().expect("an outcome") {
        Outcome::Refusal(refusal) => refusal,
        Outcome::Published(done) => panic!("{} is published: {done:?}", result.name),
    }
}

/// Returns "ok" or the reason for each version.
pub fn outcomes(results: &[pb::PublishVersionsResult]) -> Vec<String> {
    let received = |result: &'_ pb::PublishVersionsResult| match &result.outcome {
        Some(Outcome::Refusal(refusal)) => refusal.reason.clone(),
        Some(Outcome::Published(_)) => "ok".to_owned(),
        None => panic!("no outcome: {result:?}"),
    };
    results.iter().map(received).collect()
}

async fn labelled(client: &Client, id: &str, label: &str) -> pb::Version {
    let request = pb::DraftRequest { label: label.to_owned(), ..draft_request(id, &format!("label: {label}")) };
    client.draft(request).await.expect("a draft").version.expect("a version")
}

/// Drafts this many policies and returns the versions' names.
pub async fn drafts(client: &Client, prefix: &str, count: usize) -> Vec<String> {
    let mut names = Vec::new();
    for number in 0..count {
        names.push(draft(client, &format!("{prefix}{number}"), &format!("a: {number}")).await.name);
    }
    names
}

/// Returns the revisions of a call's events and the versions that they publish.
pub async fn effects(client: &Client, request_id: &str) -> Vec<(i64, String)> {
    let mut found = Vec::new();
    for event in events(client, NAMESPACE, 0).await {
        let payload: serde_json::Value = serde_json::from_slice(&event.payload).expect("JSON");
        if payload["request_id"] == request_id {
            let [change] = event.versions.as_slice() else { panic!("one version: {event:?}") };
            assert_eq!((event.kind(), change.state()), (pb::EventKind::Publish, Published));
            found.push((event.cursor.expect("a cursor").revision, change.version_name.clone()));
        }
    }
    found
}

on_both_databases! {
    /// Given valid versions, each has its event, in order, its signature and its state; nothing is in force.
    async fn each_version_is_published_with_an_event_of_its_own(hub: Hub) {
        let client = hub.client().await;
        let first = labelled(&client, "p", "1.0.0").await;
        let second = labelled(&client, "p", "1.1.0").await;
        let other = draft(&client, "q", "a: 1").await;
        let at = head(&client).await;
        let names = vec![first.name.clone(), version("p", "v1.1.0"), policy("q")];
        let asked = pb::PublishVersionsRequest { request_id: "r-1".to_owned(), ..request(names) };
        let results = results(&client, asked).await;
        let trust = trust(&client).await;
        for ((result, drafted), place) in results.iter().zip([&first, &second, &other]).zip(at + 1..) {
            let (version, revision) = published(result);
            assert_eq!((&version.name, version.state(), revision), (&drafted.name, Published, place));
            let policy = version.name.split('/').nth(3).expect("a policy");
            let kept = get_version(&client, policy, version.version).await;
            assert_eq!(pb::Version { content: bytes::Bytes::new(), ..kept.clone() }, *version);
            let manifest = verify_bundle(&version.manifest, &kept.content, &trust.keys).expect("a bundle");
            assert_eq!((manifest.policy.as_str(), manifest.version), (policy, version.version));
        }
        let expected: Vec<(i64, String)> = (at + 1..).zip([first.name, second.name, other.name]).collect();
        assert_eq!(effects(&client, "r-1").await, expected);
        let log = events(&client, &policy("p"), at).await;
        assert_eq!(log.iter().map(|event| event.reason.as_str()).collect::<Vec<_>>(), ["a release"; 2]);
        assert_eq!((active(&client, "p").await, active(&client, "q").await), (0, 0));
        let verify = hub.cli().args(["verify", "--log"]).output().expect("the binary runs");
        assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stderr));
    }

    /// Given some invalid versions, their refusals equal those of Publish, and the others are published.
    async fn what_is_refused_holds_back_no_other(hub: Hub) {
        let client = hub.client().await;
        namespace(&client, "team").await;
        reviewed_policy(&client, "reviewed", 1).await;
        create(&client, "strict", pb::PolicyKind::Yaml, pb::PolicySettings {
            json_schema: r#"{"required":["b"]}"#.to_owned(),
            ..Default::default()
        }).await;
        publish(&client, "old", "a: 1").await;
        for id in ["good", "reviewed", "strict", "etag", "several", "last"] {
            draft(&client, id, "a: 1").await;
        }
        draft(&client, "several", "a: 2").await;
        labelled(&client, "labels", "1.1.0").await;
        labelled(&client, "labels", "1.0.0").await;
        let elsewhere = pb::DraftRequest { parent: "namespaces/team/policies/p".to_owned(), ..draft_request("p", "a: 1") };
        let elsewhere = client.draft(elsewhere).await.expect("a draft").version.expect("a version").name;
        let names = [
            version("good", 1), version("reviewed", 1), version("strict", 1), version("etag", 1), policy("several"),
            version("good", 2), version("none", 1), version("good", "v9.0.0"), version("good", 1), version("old", 1),
            version("labels", 1), version("labels", 2), elsewhere.clone(), "nonsense".to_owned(), version("good", "latest"),
            version("last", 1),
        ];
        let mut asked = request(names);
        asked.versions[3].etag = "AAAA".to_owned();
        let results = results(&client, asked.clone()).await;
        assert_eq!(outcomes(&results), [
            "ok", "APPROVALS_MISSING", "VALIDATION_FAILED", "ETAG_MISMATCH", "SEVERAL_OPEN_DRAFTS",
            "VERSION_NOT_FOUND", "POLICY_NOT_FOUND", "VERSION_NOT_FOUND", "VERSION_NOT_OPEN", "VERSION_NOT_OPEN",
            "ok", "VALIDATION_FAILED", "INVALID_ARGUMENT", "INVALID_ARGUMENT", "INVALID_ARGUMENT",
            "ok",
        ]);
        for (result, asked) in results.iter().zip(&asked.versions) {
            if asked.name == elsewhere || matches!(result.outcome, Some(Outcome::Published(_))) {
                continue;
            }
            let same = pb::PublishRequest { name: asked.name.clone(), etag: asked.etag.clone(), ..Default::default() };
            let alone = client.publish(same).await.expect_err("refused");
            let refusal = refusal(result);
            assert_eq!((refusal.code, refusal.reason.as_str()), (alone.code() as i32, alone.reason()), "{}", asked.name);
            if alone.reason() != "INVALID_ARGUMENT" {
                assert_eq!(refusal.message, alone.message(), "{}", asked.name);
            }
            let ours: BTreeMap<_, _> = refusal.metadata.clone().into_iter().collect();
            assert_eq!(&ours, alone.metadata(), "{}", asked.name);
        }
        for (id, number) in [("strict", 1), ("labels", 2)] {
            assert_eq!(get_version(&client, id, number).await.state(), Draft);
            let report = pb::GetValidationReportRequest { name: version(id, number) };
            let report = client.get_validation_report(report).await.expect("a report").report.expect("a report");
            assert!(!report.passed, "{id}: its report is kept");
        }
        let untouched = pb::GetVersionRequest { name: elsewhere, ..Default::default() };
        let untouched = client.get_version(untouched).await.expect("a version").version.expect("a version");
        assert_eq!(untouched.state(), Draft);
    }

    /// The labels of a policy are checked in the order of the list, each against those before it.
    async fn versions_of_one_policy_follow_each_other(hub: Hub) {
        let client = hub.client().await;
        let next = pb::PolicySettings { bump_rule: pb::BumpRule::Next.into(), ..Default::default() };
        create(&client, "p", pb::PolicyKind::Yaml, next).await;
        for label in ["1.0.0", "1.1.0", "1.2.0", "2.0.0", "4.0.0", "1.2.1"] {
            labelled(&client, "p", label).await;
        }
        let asked = request((1..=6).map(|number| version("p", number)));
        let rehearsed = pb::PublishVersionsRequest { validate_only: true, ..asked.clone() };
        let expected = ["ok", "ok", "ok", "ok", "VALIDATION_FAILED", "VALIDATION_FAILED"];
        assert_eq!(outcomes(&results(&client, rehearsed).await), expected, "as if those before were published");
        let results = results(&client, asked).await;
        assert_eq!(outcomes(&results), expected);
        assert!(refusal(&results[4]).message.contains("not one step after 2.0.0"), "{:?}", results[4]);
        assert!(refusal(&results[5]).message.contains("not higher than 2.0.0"), "{:?}", results[5]);
    }

    /// A list has 1 to 100 versions, all of one valid namespace.
    async fn a_list_has_its_limit(hub: Hub) {
        let client = hub.client().await;
        let names = |count: usize| (0..count).map(|number| version(&format!("p{number}"), 1));
        refused_fields(client.publish_versions(request(names(VERSIONS_MAX + 1))).await, &["versions"]);
        refused_fields(client.publish_versions(request([])).await, &["versions"]);
        let nowhere = pb::PublishVersionsRequest { parent: "namespaces/A".to_owned(), ..request([]) };
        refused_fields(client.publish_versions(nowhere).await, &["parent", "versions"]);
        let long = pb::PublishVersionsRequest { reason: "r".repeat(4_097), ..request(names(1)) };
        refused_fields(client.publish_versions(long).await, &["reason"]);
        assert_eq!(head(&client).await, 0);
        assert_eq!(outcomes(&results(&client, request(names(VERSIONS_MAX))).await), ["POLICY_NOT_FOUND"; VERSIONS_MAX]);
    }

    /// A call is limited in the content it checks and in the size of its answer: versions beyond that must be requested again.
    async fn what_has_no_room_is_told(hub: Hub) {
        let client = hub.client().await;
        for number in 0..18 {
            let content = vec![b'x'; 1024 * 1024 - number];
            let request = pb::DraftRequest {
                content: content.into(),
                content_type: "text/plain".to_owned(),
                ..draft_request(&format!("large{number}"), "")
            };
            client.draft(request).await.expect("a draft");
        }
        let asked = request((0..18).map(|number| version(&format!("large{number}"), 1)));
        let results = results(&client, asked).await;
        let expected: Vec<&str> = (0..18).map(|number| if number < 16 { "ok" } else { "LIMIT_EXCEEDED" }).collect();
        assert_eq!(outcomes(&results), expected);
        let rest = request((16..18).map(|number| version(&format!("large{number}"), 1)));
        let rest = client.publish_versions(rest).await.expect("an answer").results;
        assert_eq!(outcomes(&rest), ["ok", "ok"]);
        for number in 0..60 {
            let annotations = [("k".to_owned(), "\"".repeat(2_000)), ("l".to_owned(), "\n".repeat(2_000))].into();
            let said = pb::DraftRequest { change_note: "n".repeat(4_096), annotations, ..draft_request(&format!("said{number}"), "a: 1") };
            client.draft(said).await.expect("a draft");
        }
        let asked = request((0..60).map(|number| version(&format!("said{number}"), 1)));
        let answer = client.publish_versions(asked).await.expect("an answer");
        assert!(answer.encoded_len() < 2 * 1024 * 1024, "{} bytes", answer.encoded_len());
        let done = outcomes(&answer.results).iter().filter(|received| *received == "ok").count();
        assert!((30..60).contains(&done), "{done} of 60");
        assert_eq!(refusal(&answer.results[59]).reason, "LIMIT_EXCEEDED");
    }

    /// validate_only answers as the call would, and neither publishes, nor stores a report, nor stores the request.
    async fn a_rehearsal_changes_nothing(hub: Hub) {
        let client = hub.client().await;
        let mut names = drafts(&client, "p", 2).await;
        names.push(draft(&client, "broken", "a: [1").await.name);
        names.push(names[0].clone());
        let (at, before) = (head(&client).await, get_version(&client, "p0", 1).await);
        let asked = pb::PublishVersionsRequest { request_id: "id-1".to_owned(), ..request(names) };
        let rehearsed = pb::PublishVersionsRequest { validate_only: true, ..asked.clone() };
        let answered = results(&client, rehearsed).await;
        assert_eq!(outcomes(&answered), ["ok", "ok", "VALIDATION_FAILED", "VERSION_NOT_OPEN"]);
        let (version_then, revision) = published(&answered[0]);
        assert_eq!((version_then.state(), version_then.manifest.as_str(), revision), (Published, "", 0));
        assert_eq!((head(&client).await, get_version(&client, "p0", 1).await), (at, before));
        let report = pb::GetValidationReportRequest { name: version("broken", 1) };
        refused(client.get_validation_report(report).await, Code::NotFound, "REPORT_NOT_FOUND");
        assert_eq!(outcomes(&results(&client, asked).await), ["ok", "ok", "VALIDATION_FAILED", "VERSION_NOT_OPEN"]);
        assert_eq!(head(&client).await, at + 2);
    }

    /// The call needs the role of Publish in the namespace of the request.
    async fn a_caller_without_the_role_publishes_nothing(hub: Hub) {
        let admin = hub.client().await;
        namespace(&admin, "team").await;
        let name = draft(&admin, "p", "a: 1").await.name;
        grant(&admin, "author", pb::Role::Author, NAMESPACE).await;
        grant(&admin, "stranger", pb::Role::Publisher, "namespaces/team").await;
        grant(&admin, "publisher", pb::Role::Publisher, NAMESPACE).await;
        let asked = || request([name.clone()]);
        for subject in ["author", "nobody"] {
            let client = caller(&hub, subject).await;
            refused(client.publish_versions(asked()).await, Code::PermissionDenied, "PERMISSION_DENIED");
        }
        let stranger = caller(&hub, "stranger").await;
        refused(stranger.publish_versions(asked()).await, Code::NotFound, "NAMESPACE_NOT_FOUND");
        // A role in another namespace does not help, even if the request names that namespace.
        let around = pb::PublishVersionsRequest { parent: "namespaces/team".to_owned(), ..request([name.clone()]) };
        let results = caller(&hub, "stranger").await.publish_versions(around).await.expect("an answer").results;
        assert_eq!(outcomes(&results), ["INVALID_ARGUMENT"]);
        assert_eq!(get_version(&admin, "p", 1).await.state(), Draft);
        let publisher = caller(&hub, "publisher").await;
        assert_eq!(outcomes(&publisher.publish_versions(request([name])).await.expect("an answer").results), ["ok"]);
        assert_eq!(get_version(&admin, "p", 1).await.publisher, "local:publisher");
    }

    /// Each version counts as one write: versions over the rate are refused as such, and succeed later.
    async fn each_version_counts_as_a_write(hub: Hub) {
        let client = hub.client().await;
        let names = drafts(&client, "p", 8).await;
        grant_quotas(&client, pb::NamespaceQuotas { writes_per_second: 3, ..Default::default() }).await;
        let asked = pb::PublishVersionsRequest { request_id: "id-1".to_owned(), ..request(names.clone()) };
        let first = results(&client, asked.clone()).await;
        assert_eq!(outcomes(&first), [["ok"; 3].as_slice(), &["RATE_LIMITED"; 5]].concat());
        assert_eq!(refusal(&first[3]).metadata["subject"], NAMESPACE);
        assert!(refusal(&first[3]).retry_delay.is_some(), "it says when there is room");
        let mut left: Vec<String> = names[3..].to_vec();
        while !left.is_empty() {
            // The SDK waits until the call itself is within the rate.
            let results = results(&client, request(left.clone())).await;
            let limited = results.iter().filter(|result| outcomes(std::slice::from_ref(result)) == ["RATE_LIMITED"]);
            left = limited.map(|result| result.name.clone()).collect();
        }
        assert_eq!(get_version(&client, "p7", 1).await.state(), Published);
    }

    /// The command line prints a line for each version, and its exit code distinguishes all, some and none.
    async fn the_command_tells_of_each(hub: Hub) {
        let client = hub.client().await;
        for id in ["a", "b", "c"] {
            draft(&client, id, "a: 1").await;
        }
        let run = |arguments: &[&str]| {
            let output = hub.cli().arg("publish").args(arguments).output().expect("the binary runs");
            let text = String::from_utf8(output.stdout).expect("text");
            (output.status.code(), text, String::from_utf8(output.stderr).expect("text"))
        };
        let (code, text, errors) = run(&["a@1", "b", "none@1"]);
        assert_eq!(code, Some(3), "{text}{errors}");
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("a@1 PUBLISHED sha256:") && lines[0].ends_with(" at revision 4"), "{text}");
        assert!(lines[1].starts_with("b@1 PUBLISHED sha256:"), "{text}");
        assert!(lines[2].starts_with("none@1 refused: ") && lines[2].ends_with("(POLICY_NOT_FOUND)"), "{text}");
        assert!(errors.contains("1 of 3 versions are not published"), "{errors}");
        let (code, text, errors) = run(&["a@1", "b@1"]);
        assert_eq!(code, Some(1), "{text}");
        let expected = "error: none of 2 versions is published: namespaces/default/policies/a/versions/1 is published already";
        let (first, next) = (errors.lines().next().unwrap_or_default(), errors.lines().last().unwrap_or_default());
        assert!(first.starts_with(expected) && first.ends_with(" (VERSION_NOT_OPEN)"), "{errors}");
        assert!(next.starts_with("next: put it in force with `policyhub activate a@1 --reason …`"), "{errors}");
        assert_eq!(run(&["a@1", "c@1", "--activate", "--reason", "now"]).0, Some(2));
        let (code, text, _) = run(&["c@1", "none", "--output", "json"]);
        let answer: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((code, &answer["results"][0]["published"]["version"]["state"]), (Some(3), &"VERSION_STATE_PUBLISHED".into()));
        assert_eq!(answer["results"][1]["refusal"]["reason"], "POLICY_NOT_FOUND");
        assert!(answer["request_id"].is_string());
    }
}
