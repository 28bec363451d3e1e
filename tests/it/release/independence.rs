//! Versions are independent: a version that is invalid or out of SemVer order stops no other one, and leaves no open draft.

use policyhub::client::{Client, pb};

use super::repository::Repository;
use crate::harness::calls::{active, create, draft_request, get_version, policy, publish_request};
use crate::harness::on_both_databases;

/// Returns number, label and state of each version of a policy, in the order of their numbers.
async fn versions(client: &Client, id: &str) -> Vec<(i64, String, pb::VersionState)> {
    let request = pb::ListVersionsRequest { parent: policy(id), page_size: 100, ..Default::default() };
    let mut versions = client.list_versions(request).await.expect("versions").versions;
    versions.reverse();
    versions.into_iter().map(|one| (one.version, one.label.clone(), one.state())).collect()
}

async fn is_any_open(client: &Client, id: &str) -> bool {
    let is_open = |state| matches!(state, pb::VersionState::Draft | pb::VersionState::Staged);
    versions(client, id).await.into_iter().any(|(_, _, state)| is_open(state))
}

fn schema(text: &str) -> pb::PolicySettings {
    pb::PolicySettings { json_schema: text.to_owned(), ..Default::default() }
}

const NEEDS_A: &str = r#"{"type": "object", "required": ["a"]}"#;

on_both_databases! {
    async fn a_version_the_server_has_is_delivered_though_its_folder_is_broken_today(hub: Hub) {
        let repository = Repository::new();
        for policy in ["content", "metadata", "missing"] {
            repository.version(policy, "1.0.0", "a: 1");
        }
        repository.commit();
        repository.release(&hub, &[]).is(0, "success");
        let kept = repository.delivered();
        repository.remove(".state");
        repository.version("content", "1.0.0", "a: [");
        repository.write("policies/metadata/v1.0.0/metadata.json", r#"{"name": "metadata", "version": "0.9.0"}"#);
        repository.remove("policies/missing/v1.0.0/metadata.json");
        let commit = repository.commit();
        let ended = repository.release(&hub, &["--activate"]);
        let received = ["content@v1.0.0 already there", "metadata@v1.0.0 already there", "missing@v1.0.0 already there"];
        assert_eq!(ended.is(0, "success").outcomes(), received);
        assert_eq!(repository.baseline(), commit, "nothing is left to do");
        let digests = |delivered: &serde_json::Value| -> Vec<serde_json::Value> {
            ["content", "metadata", "missing"].map(|id| delivered["versions"][format!("{id}@v1.0.0")]["digest"].clone()).to_vec()
        };
        assert_eq!(digests(&repository.delivered()), digests(&kept), "the digest is that of the server");
        let warnings = ended.lines("warnings");
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        assert!(warnings[0].starts_with("content@v1.0.0 is delivered as version 1, and its folder is broken today: policy-definition does not parse"), "{warnings:?}");
        assert_eq!(active(&hub.client().await, "content").await, 0, "what git no longer holds is not activated");
    }

    async fn a_label_that_is_taken_is_delivered_though_the_server_could_not_be_asked(hub: Hub) {
        let client = hub.client().await;
        let repository = Repository::new();
        let ids = ["p", "q", "r", "s", "t", "u"];
        for id in ids {
            let labelled = pb::DraftRequest { label: "1.0.0".to_owned(), ..draft_request(id, "a: by hand") };
            client.draft(labelled).await.expect("a draft");
            client.publish(publish_request(id, 1)).await.expect("a publication");
            repository.version(id, "1.0.0", "a: by git");
        }
        let commit = repository.commit();
        // One read in a second: nearly every request is refused, and the draft is answered ALREADY_EXISTS.
        let mut limit = hub.cli();
        limit.args(["namespace", "update", "default", "--reads-per-second", "1"]);
        assert!(limit.output().expect("it runs").status.success());
        let ended = repository.release(&hub, &["--jobs", "6"]);
        assert_eq!(ended.is(0, "success").outcomes(), ids.map(|id| format!("{id}@v1.0.0 already there")));
        let warnings = ended.lines("warnings");
        assert!(warnings.len() == 6 && warnings.iter().all(|warning| warning.contains("is delivered with other content: version 1 has sha256:")), "{warnings:?}");
        assert_eq!((repository.delivered_names().len(), repository.baseline()), (6, commit));
    }

    async fn one_bad_version_holds_back_none_and_leaves_no_draft(hub: Hub) {
        let client = hub.client().await;
        create(&client, "p", pb::PolicyKind::Yaml, schema(NEEDS_A)).await;
        let repository = Repository::new();
        for (label, content) in [("1.0.0", "a: 1"), ("1.0.1", "a: 1"), ("1.0.2", "b: 1"), ("1.0.3", "a: 3"), ("1.0.4", "a: 4")] {
            repository.version("p", label, content);
        }
        // As in a real repository: the folder is 1.0.1, its metadata says 1.0.0.
        repository.write("policies/p/v1.0.1/metadata.json", r#"{"name": "p", "version": "1.0.0"}"#);
        repository.commit();
        let expected = ["p@v1.0.0 published", "p@v1.0.1 failed", "p@v1.0.2 failed", "p@v1.0.3 published", "p@v1.0.4 published"];
        let ended = repository.release(&hub, &["--activate"]);
        assert_eq!(ended.is(3, "partial").outcomes(), expected);
        assert_eq!(ended.json()["versions"][2]["reason"], "VALIDATION_FAILED");
        assert_eq!((active(&client, "p").await, repository.baseline()), (4, String::new()));
        assert!(!is_any_open(&client, "p").await, "{:?}", versions(&client, "p").await);
        let report = client.get_validation_report(pb::GetValidationReportRequest { name: crate::harness::calls::version("p", 2) }).await;
        assert!(report.is_ok(), "the report stays readable: {report:?}");

        // A second run has the same result, though the request ids of the calls before were kept; and no number is used for what is out of
        // order.
        let ended = repository.release(&hub, &[]);
        assert_eq!(ended.is(1, "failed").outcomes(), ["p@v1.0.1 failed", "p@v1.0.2 failed"]);
        let error = ended.json()["versions"][1]["error"].as_str().expect("an error").to_owned();
        assert!(error.contains("label 1.0.2 is not higher than 1.0.4") && error.contains("--allow-backport"), "{error}");
        assert_eq!(versions(&client, "p").await.len(), 4, "no number is used up");
    }

    async fn a_draft_that_fails_again_and_again_is_ended_each_time(hub: Hub) {
        let client = hub.client().await;
        create(&client, "p", pb::PolicyKind::Yaml, schema(NEEDS_A)).await;
        let repository = Repository::new();
        repository.version("p", "1.0.0", "b: 1");
        repository.commit();
        for number in 1..=2 {
            let ended = repository.release(&hub, &[]);
            let received = ended.is(1, "failed").json()["versions"][0].clone();
            assert_eq!((&received["reason"], &received["version"]), (&"VALIDATION_FAILED".into(), &number.into()), "{received}");
            assert!(received["error"].as_str().expect("an error").contains(&format!("`policyhub report p@{number}`")), "{received}");
            assert!(!is_any_open(&client, "p").await, "{:?}", versions(&client, "p").await);
        }
        // A draft that somebody made by hand is not used, also with the same content.
        let by_hand = pb::DraftRequest { label: "1.0.0".to_owned(), ..draft_request("p", "b: 1") };
        client.draft(by_hand).await.expect("a draft");
        repository.release(&hub, &[]).is(1, "failed");
        assert_eq!(get_version(&client, "p", 3).await.state(), pb::VersionState::Draft);
    }

    async fn a_draft_of_a_release_ends_when_its_folder_is_broken(hub: Hub) {
        let client = hub.client().await;
        let repository = Repository::new();
        repository.version("p", "1.0.0", "a: 1");
        let commit = repository.commit();
        // The state that a release leaves when it is killed between draft and publication.
        let left = pb::DraftRequest {
            label: "1.0.0".to_owned(),
            change_note: format!("released from git commit {commit}"),
            ..draft_request("p", "a: 1")
        };
        client.draft(left).await.expect("a draft");
        repository.version("p", "1.0.0", "a: [");
        repository.commit();
        repository.release(&hub, &["--dry-run"]).is(1, "failed");
        assert_eq!(get_version(&client, "p", 1).await.state(), pb::VersionState::Draft);
        assert_eq!(repository.release(&hub, &[]).is(1, "failed").outcomes(), ["p@v1.0.0 failed"]);
        assert_eq!(get_version(&client, "p", 1).await.state(), pb::VersionState::Abandoned);
    }

    async fn a_lower_label_is_named_with_its_remedy_and_allowed_by_it(hub: Hub) {
        let client = hub.client().await;
        let repository = Repository::new();
        repository.version("p", "1.0.0", "a: 1");
        repository.commit();
        repository.release(&hub, &[]).is(0, "success");
        for label in ["0.1.0", "0.2.0", "1.1.0"] {
            repository.version("p", label, "a: 0");
        }
        repository.commit();
        for arguments in [&["--dry-run"][..], &[]] {
            let ended = repository.release(&hub, arguments);
            ended.is(3, "partial");
            for (at, label) in [(0, "0.1.0"), (1, "0.2.0")] {
                let received = ended.json()["versions"][at].clone();
                let expected = format!(
                    "label {label} is not higher than 1.0.0, the highest published label: release with --allow-backport, or allow it \
                     with `policyhub policy update p --allow-backport true` (allow_backport)"
                );
                assert_eq!((&received["outcome"], &received["error"]), (&"failed".into(), &expected.into()), "{ended:?}");
            }
        }
        assert!(!is_any_open(&client, "p").await, "{:?}", versions(&client, "p").await);

        let ended = repository.release(&hub, &["--allow-backport", "--dry-run"]);
        assert_eq!(ended.is(0, "success").outcomes(), ["p@v0.1.0 would publish", "p@v0.2.0 would publish"]);
        let settings = || async { client.get_policy(pb::GetPolicyRequest { name: policy("p") }).await.expect("a policy").policy.and_then(|policy| policy.settings) };
        assert!(!settings().await.expect("settings").allow_backport, "a rehearsal changes nothing");
        let ended = repository.release(&hub, &["--allow-backport"]);
        assert_eq!(ended.is(0, "success").outcomes(), ["p@v0.1.0 published", "p@v0.2.0 published"]);
        assert_eq!(ended.lines("notes"), ["allow_backport of p was set, for p@v0.1.0"]);
        assert!(settings().await.expect("settings").allow_backport);
        assert_eq!(versions(&client, "p").await.len(), 4, "nothing was drafted in vain");
    }
}
