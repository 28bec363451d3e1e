//! Names: ids with underscores, and every form in which to name a version, over gRPC and on the command line.

use policyhub::client::pb::activate_target::To;
use policyhub::client::{Client, ClientError, pb};
use serde_json::Value;
use tonic::Code;

use crate::harness::calls::{
    NAMESPACE, active, draft, draft_request, policy, publish_request, refused, refused_fields, rollback_request,
};
use crate::harness::{Hub, on_both_databases};

/// Drafts and publishes a version with a label.
async fn labelled(client: &Client, id: &str, label: &str) {
    let request = pb::DraftRequest { label: label.to_owned(), ..draft_request(id, &format!("label: {label}")) };
    let drafted = client.draft(request).await.expect("a draft").version.expect("a version");
    client.publish(publish_request(id, drafted.version)).await.expect("a publication");
}

async fn activate_to(client: &Client, id: &str, to: Option<To>) -> Result<pb::ActivateResponse, ClientError> {
    let request = pb::ActivateRequest {
        parent: NAMESPACE.to_owned(),
        targets: vec![pb::ActivateTarget { policy: policy(id), to, expected_active: None }],
        reason: "a test".to_owned(),
        ..Default::default()
    };
    client.activate(request).await
}

fn label(text: &str) -> Option<To> {
    Some(To::Label(text.to_owned()))
}

/// Runs a command that must succeed and returns its one JSON document.
fn json(hub: &Hub, line: &str) -> Value {
    let output = hub.cli().args(line.split(' ')).args(["--output", "json"]).output().expect("the binary runs");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON document")
}

on_both_databases! {
    /// Given a namespace and a policy with `_`, every step works: draft, publish, activate, verify and save.
    async fn ids_may_have_underscores(hub: Hub) {
        json(&hub, "namespace create team_a");
        let file = hub.dir.path().join("p.yaml");
        std::fs::write(&file, "a: 1").expect("written");
        let at = |line: &str| format!("-n team_a {line}");
        json(&hub, &at(&format!("draft project_discovery {} --create --label 1.0.0", file.display())));
        json(&hub, &at("publish project_discovery/v1.0.0 --activate --reason go"));
        let keys = hub.dir.path().join("keys.json");
        let jwks = hub.cli().args(["keys", "list", "--jwks"]).output().expect("the binary runs").stdout;
        std::fs::write(&keys, jwks).expect("written");
        let out = hub.dir.path().join("out");
        json(&hub, &at(&format!("active --jwks {} --save {}", keys.display(), out.display())));
        assert_eq!(std::fs::read_to_string(out.join("project_discovery/content")).expect("saved"), "a: 1");
        let watched = json(&hub, &at("events project_discovery"));
        assert_eq!(watched["events"].as_array().map(Vec::len), Some(2));
    }

    /// Activate accepts a label in each of its forms, for published versions only; a target without a version is refused.
    async fn activate_goes_to_a_label(hub: Hub) {
        let client = hub.client().await;
        for text in ["1.0.0", "1.5.0", "2.0.0-rc.1"] {
            labelled(&client, "p", text).await;
        }
        labelled(&client, "q", "1.0.0").await;
        for (text, number) in [("1.0.0", 1), ("v1.5.0", 2), ("p/v2.0.0-rc.1", 3), ("p/v1.0.0", 1)] {
            let summary = activate_to(&client, "p", label(text)).await.expect(text).activation.expect("a summary");
            assert_eq!((summary.changes[0].version, active(&client, "p").await), (number, number), "{text}");
        }
        let both = [("q", label("q/v1.0.0")), ("p", Some(To::Version(2)))];
        let request = pb::ActivateRequest {
            parent: NAMESPACE.to_owned(),
            targets: both
                .map(|(id, to)| pb::ActivateTarget { policy: id.to_owned(), to, expected_active: None })
                .to_vec(),
            reason: "labels and numbers".to_owned(),
            ..Default::default()
        };
        client.activate(request).await.expect("an activation");
        assert_eq!((active(&client, "p").await, active(&client, "q").await), (2, 1));

        let draft = pb::DraftRequest { label: "3.0.0".to_owned(), ..draft_request("p", "a: 3") };
        client.draft(draft).await.expect("a draft");
        let refusal = activate_to(&client, "p", label("3.0.0")).await;
        refused(refusal, Code::FailedPrecondition, "VERSION_NOT_PUBLISHED");
        let error = refused(activate_to(&client, "p", label("9.0.0")).await, Code::NotFound, "VERSION_NOT_FOUND");
        assert!(error.message().contains("policies/p/versions/v9.0.0 does not exist"), "{error}");
        for text in ["", "1", "latest", "q/v1.0.0", "p/1.0.0", "p/2", "vv1.0.0", "p/p/v1.0.0"] {
            refused_fields(activate_to(&client, "p", label(text)).await, &["targets[0].label"]);
        }
        refused_fields(activate_to(&client, "p", None).await, &["targets[0].version"]);
        activate_to(&client, "p", Some(To::None(()))).await.expect("a removal");
        assert_eq!(active(&client, "p").await, 0);
    }

    /// Rollback accepts a label in place of a number.
    async fn rollback_goes_to_a_label(hub: Hub) {
        let client = hub.client().await;
        for text in ["1.0.0", "1.5.0"] {
            labelled(&client, "p", text).await;
            activate_to(&client, "p", label(text)).await.expect("an activation");
        }
        let label_of = |text: &str| Some(pb::rollback_request::To::Label(text.to_owned()));
        let to = |text: &str| pb::RollbackRequest { to: label_of(text), ..rollback_request("p", 0) };
        for text in ["q/v1.0.0", "latest"] {
            refused_fields(client.rollback(to(text)).await, &["label"]);
        }
        refused(client.rollback(to("9.0.0")).await, Code::NotFound, "VERSION_NOT_FOUND");
        for (text, number) in [("p/v1.0.0", 1), ("v1.5.0", 2), ("1.0.0", 1)] {
            let back = client.rollback(to(text)).await.expect(text).version.expect("a version");
            assert_eq!((back.version, active(&client, "p").await), (number, number), "{text}");
        }
    }

    /// The command line accepts `@` and labels wherever a version is named.
    async fn commands_take_tags(hub: Hub) {
        let client = hub.client().await;
        for text in ["1.0.0", "1.5.0"] {
            labelled(&client, "p_q", text).await;
        }
        for name in ["p_q/v1.5.0", "p_q@v1.5.0", "p_q@2", "p_q@latest"] {
            assert_eq!(json(&hub, &format!("show {name}"))["version"]["version"], 2, "{name}");
        }
        let number = |answer: &Value| answer["activation"]["changes"][0]["version"].clone();
        assert_eq!(number(&json(&hub, "activate p_q/v1.0.0 --reason go --expected p_q=0")), 1);
        assert_eq!(number(&json(&hub, "activate p_q@v1.5.0 --reason go --expected p_q=v1.0.0")), 2);
        assert_eq!(number(&json(&hub, "rollback p_q --to p_q/v1.0.0 --reason back")), 1);
        assert_eq!(json(&hub, "diff p_q p_q/v1.0.0 v1.5.0")["other"]["version"], 2);
        let file = hub.dir.path().join("p.yaml");
        std::fs::write(&file, "a: 3").expect("written");
        let drafted = json(&hub, &format!("draft p_q {} --base-version p_q/v1.5.0", file.display()));
        assert_eq!(drafted["version"]["base_version"], 2);
        draft(&client, "other", "a: 1").await;
        for line in ["diff p_q other/v1.0.0 2", "rollback p_q --to other/v1.0.0 --reason back"] {
            let refused = hub.cli().args(line.split(' ')).output().expect("the binary runs");
            assert_eq!(refused.status.code(), Some(2), "{line}");
            let received = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert!(received.contains("is a version of other, not of p_q"), "{received}");
        }
    }
}
