//! What versions require of other policies: on the draft, when a version is to be active, and while it is (docs/lifecycle.md#rule-14).

use policyhub::client::pb::check::Result::{Passed, Skipped, Warning};
use policyhub::client::signing::verify_bundle;
use policyhub::client::{Client, ClientError, pb};
use tonic::Code;

use crate::harness::archives::{export, make, parts, run, send, verified};
use crate::harness::calls::{
    NAMESPACE, Revision as _, activate, active, draft_request, get, get_version, head, policy, publish,
    publish_request, refused, refused_fields, rollback_request, targets, trust, version,
};
use crate::harness::on_both_databases;

/// Returns a request to draft a version with a label and requirements, written `policy@requirement`.
fn requiring(id: &str, label: &str, requires: &[&str]) -> pb::DraftRequest {
    let requirement = |text: &&str| {
        let (policy, version_req) = text.split_once('@').expect("a requirement");
        pb::Requirement { policy: policy.to_owned(), version_req: version_req.to_owned() }
    };
    pb::DraftRequest {
        label: label.to_owned(),
        requires: requires.iter().map(requirement).collect(),
        ..draft_request(id, &format!("label: '{label}'"))
    }
}

/// Drafts and publishes a version, and returns its number.
async fn published(client: &Client, id: &str, label: &str, requires: &[&str]) -> i64 {
    let drafted = client.draft(requiring(id, label, requires)).await.expect("a draft").version.expect("a version");
    client.publish(publish_request(id, drafted.version)).await.expect("a publication");
    drafted.version
}

/// Returns what the check `requires` says of a draft.
async fn staged(client: &Client, id: &str, number: i64) -> pb::Check {
    let request = pb::StageRequest { name: version(id, number), validate_only: true, ..Default::default() };
    let report = client.stage(request).await.expect("an answer").report.expect("a report");
    report.checks.into_iter().find(|check| check.id == "requires").expect("the check")
}

fn broken<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> ClientError {
    refused(answer, Code::FailedPrecondition, "REQUIREMENT_BROKEN")
}

on_both_databases! {
    /// A version comes into force only when what it requires is active; before that, its report warns.
    async fn what_is_required_is_active_first(hub: Hub) {
        let client = hub.client().await;
        let number = published(&client, "p", "1.0.0", &["base@>=1.2, <2"]).await;
        let refusal = async |message: &str| {
            let request = targets(&[("p", number)]);
            let error = refused(client.activate(request).await, Code::FailedPrecondition, "VALIDATION_FAILED");
            assert_eq!((error.metadata()["check"].as_str(), error.resource()), ("requires", version("p", number).as_str()));
            assert!(error.message().ends_with(message), "{error}");
        };
        refusal("requires base >=1.2, <2, and no version of base is active").await;
        publish(&client, "base", "a: 1").await;
        activate(&client, "base", 1).await;
        refusal("and version 1 without a label of base is active").await;
        for (label, is_enough) in [("1.1.0", false), ("1.2.0-rc.1", false), ("1.2.0", true), ("2.0.0", false)] {
            let base = published(&client, "base", label, &[]).await;
            activate(&client, "base", base).await;
            let drafted = client.draft(requiring("p", &format!("1.0.{}", base), &["base@>=1.2, <2"])).await;
            let drafted = drafted.expect("a draft").version.expect("a version").version;
            let check = staged(&client, "p", drafted).await;
            assert_eq!(check.result(), if is_enough { Passed } else { Warning }, "{label}: {check:?}");
            let request =
                pb::PublishRequest { activate: true, reason: "now".to_owned(), validate_only: true, ..publish_request("p", drafted) };
            let answer = client.publish(request).await;
            assert_eq!(answer.is_ok(), is_enough, "{label}: {answer:?}");
            if !is_enough {
                refusal(&format!("and version {base} with label {label} of base is active")).await;
            } else {
                let rehearsal = pb::ActivateRequest { validate_only: true, ..targets(&[("p", number)]) };
                client.activate(rehearsal).await.expect("it is satisfied");
            }
        }
        let nothing = client.draft(draft_request("p", "a: 1")).await.expect("a draft").version.expect("a version");
        assert_eq!(staged(&client, "p", nothing.version).await.result(), Skipped);
    }

    /// Given two versions that require each other, both are published by one call: what is missing counts when they are to be active.
    async fn versions_that_require_each_other_are_published_at_once(hub: Hub) {
        let client = hub.client().await;
        for (id, other) in [("a", "b@^1"), ("b", "a@^1")] {
            client.draft(requiring(id, "1.0.0", &[other])).await.expect("a draft");
        }
        let named = |id: &str| pb::VersionToPublish { name: version(id, 1), ..Default::default() };
        let versions = vec![named("a"), named("b")];
        let request = pb::PublishVersionsRequest { parent: NAMESPACE.to_owned(), versions, ..Default::default() };
        let results = client.publish_versions(request).await.expect("an answer").results;
        let is_published = |result: &pb::PublishVersionsResult| {
            matches!(result.outcome, Some(pb::publish_versions_result::Outcome::Published(_)))
        };
        assert!(results.len() == 2 && results.iter().all(is_published), "{results:?}");
        client.activate(targets(&[("a", 1), ("b", 1)])).await.expect("an activation");
    }

    /// Two versions that require each other come into force together, and neither by itself.
    async fn a_cycle_comes_into_force_at_once(hub: Hub) {
        let client = hub.client().await;
        let p = published(&client, "p", "2.0.0", &["q@^2"]).await;
        let q = published(&client, "q", "2.0.0", &["p@^2"]).await;
        for alone in [("p", p), ("q", q)] {
            refused(client.activate(targets(&[alone])).await, Code::FailedPrecondition, "VALIDATION_FAILED");
        }
        let both = pb::ActivateRequest { request_id: "both".to_owned(), ..targets(&[("p", p), ("q", q)]) };
        let first = client.activate(both.clone()).await.expect("an activation");
        let (p2, q2) = (published(&client, "p", "2.1.0", &["q@^2"]).await, published(&client, "q", "3.0.0", &["p@^2"]).await);
        activate(&client, "p", p2).await;
        let again = client.activate(both).await.expect("the kept answer");
        assert_eq!((again.cursor, active(&client, "p").await), (first.cursor, p2), "a retry has one effect");
        broken(client.activate(targets(&[("q", q2)])).await);
        let other = published(&client, "p", "3.0.0", &["q@^3"]).await;
        refused(client.activate(targets(&[("p", other), ("q", q2)])).await, Code::FailedPrecondition, "VALIDATION_FAILED");
        client.activate(targets(&[("p", 0), ("q", 0)])).await.expect("both end");
        let log = client.verify_log(pb::VerifyLogRequest { parent: NAMESPACE.to_owned(), after: None }).await;
        assert!(log.expect("a verdict").valid, "the whole log holds");
    }

    /// No call that moves a pointer breaks what another active version requires; each says who requires what, and changes nothing.
    async fn what_is_required_stays(hub: Hub) {
        let client = hub.client().await;
        let old = published(&client, "base", "0.9.0", &[]).await;
        let good = published(&client, "base", "1.0.0", &[]).await;
        let next = published(&client, "base", "2.0.0", &[]).await;
        activate(&client, "base", old).await;
        activate(&client, "base", good).await;
        let p = published(&client, "p", "1.0.0", &["base@^1"]).await;
        let q = published(&client, "q", "1.0.0", &["base@~1.0", "p@*"]).await;
        client.activate(targets(&[("p", p), ("q", q)])).await.expect("an activation");
        let drafted = client.draft(requiring("base", "3.0.0", &[])).await.expect("a draft").version.expect("a version");
        let at = head(&client).await;
        for validate_only in [true, false] {
            let error = broken(client.activate(pb::ActivateRequest { validate_only, ..targets(&[("base", next)]) }).await);
            let expected = "requires base ^1, and version 3 with label 2.0.0 of base would be active; 1 more requirement";
            assert!(error.message().starts_with(&format!("{} {expected}", version("p", p))), "{error}");
            let named = format!(
                "{} requires base ^1, and version 3 with label 2.0.0 of base would be active; {} requires base ~1.0, and \
                 version 3 with label 2.0.0 of base would be active",
                version("p", p),
                version("q", q)
            );
            assert_eq!((&error.metadata()["broken"], error.metadata()["broken_count"].as_str()), (&named, "2"));
            assert_eq!(error.resource(), version("p", p));

            let back = pb::RollbackRequest { validate_only, ..rollback_request("base", 0) };
            let error = broken(client.rollback(back).await);
            assert!(error.message().contains("version 1 with label 0.9.0 of base would be active"), "{error}");
            let copy = pb::RollbackRequest { mode: pb::RollbackMode::CopyForward.into(), validate_only, ..rollback_request("base", good) };
            refused(client.rollback(copy.clone()).await, Code::FailedPrecondition, "ALREADY_ACTIVE");
            let copy = pb::RollbackRequest { to: Some(pb::rollback_request::To::Version(old)), ..copy };
            assert!(broken(client.rollback(copy).await).message().contains("version 5 without a label"));

            let away = pb::DeactivateRequest { name: policy("base"), reason: "away".to_owned(), validate_only, ..Default::default() };
            let error = broken(client.deactivate(away).await);
            assert!(error.message().contains("no version of base would be active"), "{error}");
            broken(client.activate(pb::ActivateRequest { validate_only, ..targets(&[("base", 0), ("p", 0)]) }).await);

            let now = pb::PublishRequest {
                activate: true,
                reason: "now".to_owned(),
                validate_only,
                ..publish_request("base", drafted.version)
            };
            broken(client.publish(now).await);
        }
        assert_eq!((head(&client).await, active(&client, "base").await), (at, good));
        assert_eq!(get_version(&client, "base", drafted.version).await.state(), pb::VersionState::Draft);
    }

    /// An administrator may break a requirement by skipping the checks; what is broken by then hinders no repair, and what goes together with its
    /// dependents is not broken.
    async fn what_is_broken_can_be_repaired(hub: Hub) {
        let client = hub.client().await;
        let base = published(&client, "base", "1.0.0", &[]).await;
        let p = published(&client, "p", "1.0.0", &["base@^1"]).await;
        activate(&client, "base", base).await;
        activate(&client, "p", p).await;
        let next = published(&client, "base", "2.0.0", &[]).await;
        let later = published(&client, "base", "2.1.0", &[]).await;
        broken(client.activate(targets(&[("base", next)])).await);
        let skipping = pb::ActivateRequest { skip_validation: true, ..targets(&[("base", next)]) };
        client.activate(skipping).await.expect("an administrator says so");
        activate(&client, "base", later).await;
        activate(&client, "base", base).await;
        broken(client.activate(targets(&[("base", next)])).await);
        let q = published(&client, "p", "2.0.0", &["base@^2"]).await;
        client.activate(targets(&[("p", q), ("base", next)])).await.expect("both fit together");
        client.activate(targets(&[("p", 0), ("base", 0)])).await.expect("both end");
        let away = pb::DeactivateRequest { name: policy("base"), reason: "away".to_owned(), ..Default::default() };
        refused(client.deactivate(away).await, Code::FailedPrecondition, "NO_ACTIVE_VERSION");
    }

    /// Requirements are kept with the version, in its manifest too; bad ones are refused, and those of a label are part of it.
    async fn requirements_are_of_the_version(hub: Hub) {
        let client = hub.client().await;
        let request = pb::DraftRequest { request_id: "once".to_owned(), ..requiring("p", "1.0.0", &["q@ >=1.2,<2 ", "r@*"]) };
        let drafted = client.draft(request.clone()).await.expect("a draft");
        assert_eq!(client.draft(request.clone()).await.expect("the kept answer"), drafted);
        let kept = drafted.version.expect("a version");
        let expected = requiring("p", "1.0.0", &["q@>=1.2, <2", "r@*"]).requires;
        assert_eq!(kept.requires, expected);
        client.publish(publish_request("p", 1)).await.expect("a publication");
        let got = client.get_version(pb::GetVersionRequest { name: version("p", 1), view: pb::VersionView::Full.into() }).await;
        let got = got.expect("an answer").version.expect("a version");
        assert_eq!(got.requires, expected);
        let manifest = verify_bundle(&got.manifest, &got.content, &trust(&client).await.keys).expect("a manifest");
        let named: Vec<String> =
            manifest.requires.iter().map(|each| format!("{}@{}", each.policy, each.version_req)).collect();
        assert_eq!(named, ["q@>=1.2, <2", "r@*"]);

        let same = pb::DraftRequest { requires: Vec::new(), ..requiring("p", "1.0.0", &[]) };
        assert_eq!(client.draft(same).await.expect("that version").version.expect("a version").version, 1);
        let other = requiring("p", "1.0.0", &["q@>=1.2, <2"]);
        let error = refused(client.draft(other).await, Code::AlreadyExists, "LABEL_CONTENT_CONFLICT");
        assert!(error.message().contains("other requirements"), "{error}");

        let at = head(&client).await;
        let long = format!("q@>={}", "1".repeat(63));
        for (requires, field) in [
            (["q@1", "p@*"], "requires[1].policy"),
            (["q@1", "q@2"], "requires[1].policy"),
            (["q@1", "Q@2"], "requires[1].policy"),
            (["q@latest", "r@2"], "requires[0].version_req"),
            ([long.as_str(), "r@2"], "requires[0].version_req"),
        ] {
            refused_fields(client.draft(requiring("p", "1.1.0", &requires)).await, &[field]);
        }
        let many = vec!["q@1"; 65];
        refused_fields(client.draft(requiring("p", "1.1.0", &many)).await, &["requires"]);
        assert_eq!(head(&client).await, at);
        let many: Vec<String> = (0..64).map(|number| format!("q{number}@>=1.0.0-{}", "a".repeat(50))).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let largest = published(&client, "p", "1.1.0", &many).await;
        assert_eq!(get_version(&client, "p", largest).await.requires.len(), 64);
        let skipping = pb::ActivateRequest { skip_validation: true, ..targets(&[("p", largest)]) };
        assert!(client.activate(skipping).await.expect("an activation").cursor.revision() > at);
        let got = client.get_active(pb::GetActiveRequest { name: policy("p"), ..Default::default() }).await;
        got.expect("it is served with its manifest");
    }

    /// The options that people type and the output that they see.
    async fn requirements_on_the_command_line(hub: Hub) {
        let client = hub.client().await;
        let file = hub.dir.path().join("p.yaml");
        std::fs::write(&file, "a: 1\n").expect("written");
        let file = file.display().to_string();
        let with = ["draft", "p", &file, "--create", "--requires", "base@>=1.2, <2", "--requires", "fees@*"];
        let (code, _, errors) = run(hub.cli(), &with);
        assert_eq!(code, 0, "{errors}");
        assert_eq!(run(hub.cli(), &["draft", "p", &file, "--requires", "base"]).0, 2, "it names no requirement");
        client.publish(publish_request("p", 1)).await.expect("a publication");
        let (_, content, about) = run(hub.cli(), &["show", "p@1"]);
        assert!(content == "a: 1\n" && about.contains("\nrequires base@>=1.2, <2, fees@*\n"), "{content}{about}");
        let (_, text, _) = run(hub.cli(), &["history", "p"]);
        assert!(text.contains("REQUIRES") && text.contains("base@>=1.2, <2, fees@*"), "{text}");
        let (_, text, _) = run(hub.cli(), &["report", "p@1"]);
        assert!(text.contains("WARNING requires: requires fees *, and no version of fees is active"), "{text}");
        let activate = ["activate", "p@1", "--reason", "now", "--validate-only"];
        let (code, text, errors) = run(hub.cli(), &activate);
        assert!(code != 0 && errors.contains("and no version of base is active"), "{text}{errors}");
        let keys = ["policy", "update", "p", "--reference-key", "see", "--reference-key", "at"];
        assert_eq!(run(hub.cli(), &keys).0, 0);
        let settings = async || get(&client, "p").await.settings.unwrap_or_default().reference_keys;
        assert_eq!(settings().await, ["see", "at"]);
        assert_eq!(run(hub.cli(), &["policy", "update", "p", "--default-reference-keys"]).0, 0);
        assert_eq!(settings().await, Vec::<String>::new());
    }

    /// Given a draft that requires what is not active, the next step of a publication that activates is commands that work.
    async fn a_refused_publication_says_what_to_run(hub: Hub) {
        let client = hub.client().await;
        published(&client, "base", "1.0.0", &[]).await;
        client.draft(requiring("p", "1.0.0", &["base@^1"])).await.expect("a draft");
        let typed = |command: &str| run(hub.cli(), &command.split(' ').collect::<Vec<_>>());
        let (code, _, errors) = typed("publish p@1 --activate --reason now");
        let next = errors.lines().last().unwrap_or_default();
        assert!(code == 1 && errors.contains("and no version of base is active"), "{errors}");
        let commands: Vec<&str> = next.split('`').filter_map(|part| part.strip_prefix("policyhub ")).collect();
        assert_eq!(commands, ["publish p@1", "activate p@1 OTHER@M --reason …"], "{errors}");
        for command in commands {
            let (code, _, errors) = typed(&command.replace("OTHER@M", "base@1"));
            assert_eq!(code, 0, "{command}: {errors}");
        }
    }

    /// A namespace that moves to another one keeps what its versions require, and it counts there.
    async fn requirements_are_imported(hub: Hub) {
        let client = hub.client().await;
        let base = published(&client, "base", "1.0.0", &[]).await;
        let p = published(&client, "p", "1.0.0", &["base@^1"]).await;
        client.activate(targets(&[("base", base), ("p", p)])).await.expect("an activation");
        let moved = make(&client, "moved").await;
        send(&client, &parts(&export(&hub, "default", "archive"), &moved)).await.expect("an import");
        let there = |request: pb::ActivateRequest| pb::ActivateRequest { parent: moved.clone(), ..request };
        let error = client.activate(there(targets(&[("p", p)]))).await;
        refused(error, Code::FailedPrecondition, "VALIDATION_FAILED");
        client.activate(there(targets(&[("p", p), ("base", base)]))).await.expect("an activation");
        broken(client.activate(there(targets(&[("base", 0)]))).await);
        verified(&client, &moved).await;
        let name = format!("{moved}/policies/p/versions/{p}");
        let kept = client.get_version(pb::GetVersionRequest { name, ..Default::default() }).await.expect("an answer");
        assert_eq!(kept.version.expect("a version").requires, requiring("p", "1.0.0", &["base@^1"]).requires);
    }
}
