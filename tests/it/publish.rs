//! Publish: the signature, its checks, and that nothing published ever changes.

use policyhub::client::pb::PolicyKind::Yaml;
use policyhub::client::pb::VersionState::{Draft, Published};
use policyhub::client::signing::{VerifyError, verify_bundle, verify_statement};
use policyhub::client::{Client, pb};
use tonic::Code;

use crate::harness::calls::{
    NAMESPACE, Revision as _, abandon, activate, active, create, deactivate, draft, draft_request, events, get_version,
    head, policy, publish, publish_request, refused, refused_fields, release, rollback_request, set, trust, version,
};
use crate::harness::on_both_databases;

fn activating(id: &str, number: i64) -> pb::PublishRequest {
    pb::PublishRequest { activate: true, reason: "it is time".to_owned(), ..publish_request(id, number) }
}

async fn version_of(client: &Client, request: pb::PublishRequest) -> pb::Version {
    client.publish(request).await.expect("a publication").version.expect("a version")
}

on_both_databases! {
    /// The draft becomes the published version: same number, same bytes, signed with all that identifies it.
    async fn the_draft_becomes_the_signed_version(hub: Hub) {
        let client = hub.client().await;
        let request = pb::DraftRequest { label: "v1.2.3".to_owned(), ..draft_request("p", "a: 1") };
        let drafted = client.draft(request).await.expect("a draft").version.expect("a version");
        let published = version_of(&client, publish_request("p", 1)).await;
        assert_eq!(published.state(), Published);
        assert!(published.stage_time.is_some() && published.publish_time.is_some(), "it was staged on the way");
        assert_eq!((&published.name, &published.digest), (&drafted.name, &drafted.digest));

        let trust = trust(&client).await;
        let manifest = verify_bundle(&published.manifest, b"a: 1", &trust.keys).expect("a bundle");
        assert_eq!(
            (manifest.store, manifest.namespace.as_str(), manifest.policy.as_str()),
            (trust.store, "default", "p")
        );
        assert_eq!((manifest.version, manifest.label.as_deref()), (1, Some("1.2.3")));
        assert_eq!((manifest.digest.to_string(), manifest.size), (published.digest.clone(), 4));
        assert_eq!((&manifest.author, &manifest.publisher), (&published.author, &published.publisher));
        assert_eq!(Some(manifest.iat), published.publish_time.map(|time| time.seconds));
        let other = verify_bundle(&published.manifest, b"a: 2", &trust.keys);
        assert_eq!(other, Err(VerifyError::DigestMismatch));
        assert_eq!(active(&client, "p").await, 0, "published is not active");
    }

    /// Whatever happens to the policy later, a published version reads the same to the byte.
    async fn a_published_version_never_changes(hub: Hub) {
        let client = hub.client().await;
        let before = publish(&client, "p", "a: 1").await;
        let before = get_version(&client, "p", before.version).await;
        release(&client, "p", "a: 2").await;
        activate(&client, "p", 1).await;
        let strict = pb::PolicySettings { json_schema: r#"{"type":"array"}"#.to_owned(), ..Default::default() };
        set(&client, "p", pb::PolicySettings { max_open_drafts: 1, ..strict }).await;
        draft(&client, "p", "a: 1").await;
        deactivate(&client, "p").await;
        for answer in [
            client.publish(publish_request("p", 1)).await.map(|_| ()),
            client.publish(activating("p", 1)).await.map(|_| ()),
            client.stage(pb::StageRequest { name: version("p", 1), ..Default::default() }).await.map(|_| ()),
            client
                .abandon_draft(pb::AbandonDraftRequest { name: version("p", 1), ..Default::default() })
                .await
                .map(|_| ()),
        ] {
            let error = refused(answer, Code::FailedPrecondition, "VERSION_NOT_OPEN");
            assert_eq!(error.metadata()["state"], "PUBLISHED");
            let received = ["is published already", "activate it", "draft a new version"];
            assert!(received.iter().all(|words| error.message().contains(words)), "{error}");
        }
        let output = hub.cli().args(["stage", "p@1"]).output().expect("the binary runs");
        let received = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(received.contains("next: put it in force with `policyhub activate p@1 --reason …`"), "{received}");
        assert_eq!(get_version(&client, "p", 1).await, before);
    }

    /// A policy's name stands for its one open draft; with several, the caller must say which.
    async fn the_policy_names_its_one_open_draft(hub: Hub) {
        let client = hub.client().await;
        let by_policy = pb::PublishRequest { name: policy("p"), ..Default::default() };
        draft(&client, "p", "a: 1").await;
        draft(&client, "p", "a: 2").await;
        let error = refused(client.publish(by_policy.clone()).await, Code::FailedPrecondition, "SEVERAL_OPEN_DRAFTS");
        assert_eq!(error.metadata()["versions"], "1,2");
        abandon(&client, "p", 2).await;
        assert_eq!(version_of(&client, by_policy.clone()).await.version, 1);
        refused(client.publish(by_policy).await, Code::FailedPrecondition, "NO_OPEN_DRAFT");
    }

    /// activate=true: one transaction, one event, one statement.
    async fn publishing_and_activating_is_one_event(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        draft(&client, "p", "a: 2").await;
        let at = head(&client).await;
        refused_fields(
            client.publish(pb::PublishRequest { reason: " ".to_owned(), ..activating("p", 2) }).await,
            &["reason"],
        );
        assert_eq!(get_version(&client, "p", 2).await.state(), Draft);
        let answer = client.publish(activating("p", 2)).await.expect("a publication");
        assert_eq!((answer.cursor.revision(), head(&client).await, active(&client, "p").await), (at + 1, at + 1, 2));
        assert!(answer.version.expect("a version").active);
        let log = events(&client, NAMESPACE, at).await;
        let [event] = log.as_slice() else { panic!("{log:?}") };
        assert_eq!((event.kind(), event.reason.as_str()), (pb::EventKind::Activate, "it is time"));
        let states: Vec<pb::VersionState> = event.versions.iter().map(pb::VersionChange::state).collect();
        assert_eq!(states, [pb::VersionState::Published]);
        let activation = answer.activation.expect("an activation");
        assert_eq!((&activation.changes, &activation.statement), (&event.changes, &event.statement));
        assert_eq!((event.changes[0].version, event.changes[0].previous_version), (2, 1));
        let statement = verify_statement(&event.statement, &trust(&client).await.keys).expect("a statement");
        assert_eq!((statement.revision, statement.changes[0].version), (at + 1, 2));
    }

    /// Given a version whose checks fail, it is neither published nor activated, and its report says why.
    async fn what_fails_its_checks_is_not_published(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        draft(&client, "p", "a: [1").await;
        let at = head(&client).await;
        refused(client.publish(activating("p", 2)).await, Code::FailedPrecondition, "VALIDATION_FAILED");
        let kept = get_version(&client, "p", 2).await;
        assert_eq!((kept.state(), kept.manifest.as_str(), active(&client, "p").await), (Draft, "", 1));
        assert_eq!(head(&client).await, at);
        let request = pb::GetValidationReportRequest { name: version("p", 2) };
        assert!(!client.get_validation_report(request).await.expect("a report").report.expect("a report").passed);
    }

    /// Given a schema that became stricter between Stage and Publish, Publish runs the checks again.
    async fn checks_run_again_at_publish(hub: Hub) {
        let client = hub.client().await;
        draft(&client, "p", "a: 1").await;
        client.stage(pb::StageRequest { name: version("p", 1), ..Default::default() }).await.expect("a stage");
        let strict = pb::PolicySettings { json_schema: r#"{"required":["b"]}"#.to_owned(), ..Default::default() };
        set(&client, "p", strict).await;
        let error =
            refused(client.publish(publish_request("p", 1)).await, Code::FailedPrecondition, "VALIDATION_FAILED");
        assert_eq!(error.metadata()["check"], "json-schema");
        create(&client, "q", Yaml, pb::PolicySettings { required_approvals: 2, ..Default::default() }).await;
        draft(&client, "q", "a: 1").await;
        let error =
            refused(client.publish(publish_request("q", 1)).await, Code::FailedPrecondition, "APPROVALS_MISSING");
        assert_eq!((error.metadata()["required"].as_str(), error.metadata()["given"].as_str()), ("2", "0"));
    }

    /// validate_only answers what would be published and activated, and does neither.
    async fn validate_only_publishes_nothing(hub: Hub) {
        let client = hub.client().await;
        draft(&client, "p", "a: 1").await;
        let answer = client.publish(pb::PublishRequest { validate_only: true, ..activating("p", 1) }).await;
        let answer = answer.expect("an answer");
        let shown = answer.version.expect("a version");
        assert_eq!((shown.state(), shown.active, answer.cursor.revision()), (Published, false, 0));
        let activation = answer.activation.expect("an activation");
        assert_eq!((activation.changes[0].version, activation.statement.as_str()), (1, ""));
        let kept = get_version(&client, "p", 1).await;
        assert_eq!((kept.state(), kept.manifest.as_str(), head(&client).await), (Draft, "", 1));
    }

    /// Given concurrent publications of several versions, each must use current data and not what another one cached: a label that was
    /// published meanwhile is not "too low" for itself, and no version is missed.
    async fn many_publish_one_version_after_the_other(hub: Hub) {
        let clients = futures_util::future::join_all((0..6).map(|_| hub.client())).await;
        for number in 1..=25 {
            let label = format!("1.{number}.0");
            let request = pb::DraftRequest { label, ..draft_request("p", &format!("a: {number}")) };
            clients[0].draft(request).await.expect("a draft");
            let publications = clients.iter().map(|client| client.publish(publish_request("p", number)));
            let answers = futures_util::future::join_all(publications).await;
            assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
            for answer in answers.into_iter().filter(Result::is_err) {
                let error = crate::harness::calls::refusal(answer);
                assert!(["VERSION_NOT_OPEN", "CONCURRENT_CHANGE"].contains(&error.reason()), "{error:?}");
            }
        }
    }

    /// Given sixteen who publish the same draft at once, one wins with one event; the others are told that it is no longer open.
    async fn one_of_many_publishes(hub: Hub) {
        let client = hub.client().await;
        draft(&client, "p", "a: 1").await;
        let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(16));
        let mut publishers = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let (client, barrier) = (hub.client().await, barrier.clone());
            publishers.spawn(async move {
                barrier.wait().await;
                client.publish(publish_request("p", 1)).await
            });
        }
        let (won, lost): (Vec<_>, Vec<_>) = publishers.join_all().await.into_iter().partition(Result::is_ok);
        assert_eq!((won.len(), head(&client).await), (1, 2));
        for answer in lost {
            let word = crate::harness::calls::reason(answer);
            assert!(["VERSION_NOT_OPEN", "CONCURRENT_CHANGE"].contains(&word.as_str()), "{word}");
        }
        assert_eq!(client.rollback(rollback_request("p", 1)).await.expect("a rollback").cursor.revision(), 3);
    }
}
