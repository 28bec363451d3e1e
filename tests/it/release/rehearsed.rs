//! `policyhub release --dry-run`: what would be published passes the checks of the server first.

use policyhub::client::pb;
use policyhub::client::pb::PolicyKind::Yaml;

use super::repository::Repository;
use crate::harness::calls::{create, head};
use crate::harness::guardrails::{guardrail, update_guardrails};
use crate::harness::on_both_databases;

on_both_databases! {
    /// The guardrails, schemas and labels of the server decide, and what is found is in each output.
    async fn a_rehearsal_runs_the_checks(hub: Hub) {
        let client = hub.client().await;
        let rules = vec![guardrail("ceiling", "content.max <= 20")];
        client.update_guardrails(update_guardrails("namespaces/default/guardrails", rules)).await.expect("guardrails");
        let settings = pb::PolicySettings { json_schema: r#"{"required":["min"]}"#.to_owned(), ..Default::default() };
        create(&client, "fees", Yaml, settings).await;
        let at = head(&client).await;
        let repository = Repository::new();
        repository.version("caps", "1.0.0", "# cap\nmax: 40\n");
        repository.version("caps", "1.1.0", "max: 20\n");
        repository.version("fees", "1.0.0", "max: 20\n");
        repository.metadata("files", "1.0.0");
        repository.write("policies/files/v1.0.0/policy-definition/a.cedar", "permit(principal, action, resource);\n");
        repository.write("policies/files/v1.0.0/policy-definition/b.cedar", "permit(principal;\n");
        repository.commit();
        let ended = repository.release(&hub, &["--dry-run", "--activate", "--summary", "summary.md"]);
        let outcomes = ["caps@v1.0.0 failed", "caps@v1.1.0 would publish", "fees@v1.0.0 failed", "files@v1.0.0 failed"];
        assert_eq!(ended.is(1, "failed").outcomes(), outcomes);
        let document = ended.json();
        let caps = &document["versions"][0];
        assert_eq!((caps["reason"].as_str(), caps["line"].as_i64()), (Some("VALIDATION_FAILED"), Some(2)));
        assert_eq!(caps["file"], "policies/caps/v1.0.0/policy-definition.yaml");
        assert!(ended.error_of("caps@v1.0.0").starts_with("guardrails: ceiling: "), "{ended:?}");
        assert!(ended.error_of("fees@v1.0.0").starts_with("json-schema: "), "{ended:?}");
        assert_eq!(document["versions"][3]["file"], "policies/files/v1.0.0/policy-definition/b.cedar");
        let passed: Vec<bool> = document["checked"].as_array().expect("reports").iter().map(|one| one["passed"] == true).collect();
        assert_eq!(passed, [false, true, false, false]);
        assert_eq!(document["activation"]["targets"].as_array().map(Vec::len), Some(1), "only what passes would be activated");
        let markdown = std::fs::read_to_string(repository.path.join("summary.md")).expect("a summary");
        assert!(markdown.contains("- Finding: caps\\@v1\\.0\\.0\\: guardrails\\: ceiling"), "{markdown}");

        let ended = repository.run(hub.cli(), &["--dry-run"]);
        assert_eq!(ended.code, 1, "{ended:?}");
        let excerpt = "--> policies/caps/v1.0.0/policy-definition.yaml:2:6\n  |\n2 | max: 40\n  |      ^^";
        assert!(ended.stdout.contains(excerpt), "{}", ended.stdout);
        assert!(ended.stdout.contains("failed caps@v1.0.0: guardrails: "), "{}", ended.stdout);
        let checked = hub.cli().current_dir(&repository.path).args(["check", "policies"]).output().expect("it runs");
        assert_eq!(checked.status.code(), Some(1), "as a failed check ends");
        assert_eq!(head(&client).await, at, "nothing was written");
    }

    /// Versions of one release count as published for each other: their labels, and what they require.
    async fn versions_of_one_release_are_checked_together(hub: Hub) {
        let client = hub.client().await;
        let next = pb::PolicySettings { bump_rule: pb::BumpRule::Next.into(), ..Default::default() };
        create(&client, "caps", Yaml, next).await;
        let repository = Repository::new();
        for label in ["1.0.0", "1.1.0", "1.2.0"] {
            repository.version("caps", label, "a: 1");
        }
        repository.version("shop", "1.0.0", "a: 1");
        let metadata = r#"{"name":"shop","version":"1.0.0","requires":[{"policy":"caps","version_req":"^1.2"}]}"#;
        repository.write("policies/shop/v1.0.0/metadata.json", metadata);
        repository.commit();
        let ended = repository.release(&hub, &["--dry-run"]);
        ended.is(0, "success");
        let report = ended.json()["checked"][3]["report"].to_string();
        assert!(report.contains("\"requires\"") && !report.contains("WARNING"), "{report}");
        repository.release(&hub, &[]).is(0, "success");
        for label in ["1.3.0", "1.4.0"] {
            repository.version("caps", label, "a: 1");
        }
        repository.commit();
        let ended = repository.release(&hub, &["--dry-run"]);
        assert_eq!(ended.is(0, "success").outcomes(), ["caps@v1.3.0 would publish", "caps@v1.4.0 would publish"]);
        repository.version("caps", "1.6.0", "a: 1");
        repository.commit();
        let ended = repository.release(&hub, &["--dry-run"]);
        let error = ended.is(1, "failed").error_of("caps@v1.6.0");
        assert!(error.starts_with("label: label 1.6.0 is not one step after 1.4.0"), "{error}");
    }
}
