//! Kinds: the kind that a policy is created with, which content types it accepts, and when its kind may change.

use std::io::Write as _;
use std::process::{Output, Stdio};

use policyhub::client::pb::PolicyKind::{Cedar, Json, Opaque, Rego, Unspecified, Yaml};
use policyhub::client::{Client, ClientError, pb};
use prost_types::FieldMask;
use tonic::Code;

use crate::harness::calls::{
    NAMESPACE, Revision as _, create, draft_request, get, head, policy, publish_request, refused, refused_fields,
    release, rollback_request, set, version,
};
use crate::harness::{Hub, on_both_databases};

fn typed(id: &str, content_type: &str, kind: pb::PolicyKind) -> pb::DraftRequest {
    pb::DraftRequest { content_type: content_type.to_owned(), kind: kind.into(), ..draft_request(id, "{}") }
}

fn with_schema() -> pb::PolicySettings {
    pb::PolicySettings { json_schema: r#"{"type":"object"}"#.to_owned(), ..Default::default() }
}

async fn try_create(
    client: &Client,
    kind: pb::PolicyKind,
    settings: pb::PolicySettings,
) -> Result<pb::CreatePolicyResponse, ClientError> {
    let given = pb::Policy { kind: kind.into(), settings: Some(settings), ..Default::default() };
    let request = pb::CreatePolicyRequest {
        parent: NAMESPACE.to_owned(),
        policy_id: "new".to_owned(),
        policy: Some(given),
        ..Default::default()
    };
    client.create_policy(request).await
}

async fn update(client: &Client, given: pb::Policy, path: &str) -> Result<pb::Policy, ClientError> {
    let mask = FieldMask { paths: vec![path.to_owned()] };
    let given = pb::Policy { name: policy("p"), ..given };
    let request = pb::UpdatePolicyRequest { policy: Some(given), update_mask: Some(mask), ..Default::default() };
    Ok(client.update_policy(request).await?.policy.expect("a policy"))
}

async fn change_kind(client: &Client, kind: pb::PolicyKind) -> Result<pb::Policy, ClientError> {
    update(client, pb::Policy { kind: kind.into(), ..Default::default() }, "kind").await
}

/// Runs a command with this stdin.
fn run(hub: &Hub, line: &str, stdin: &str) -> Output {
    let mut command = hub.cli();
    command.args(line.split(' ')).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    // A command that is refused does not read its stdin.
    let _ = child.stdin.take().expect("stdin").write_all(stdin.as_bytes());
    child.wait_with_output().expect("an end")
}

on_both_databases! {
    /// Given a kind that enforces no JSON Schema, a schema is refused at CreatePolicy, at UpdatePolicy, and by a change of the kind.
    async fn a_schema_is_of_a_kind_that_enforces_it(hub: Hub) {
        let client = hub.client().await;
        for kind in [Opaque, Unspecified] {
            refused_fields(try_create(&client, kind, with_schema()).await, &["policy.settings.json_schema"]);
        }
        create(&client, "p", Opaque, pb::PolicySettings::default()).await;
        let at = head(&client).await;
        let given = pb::Policy { settings: Some(with_schema()), ..Default::default() };
        for path in ["settings.json_schema", "settings"] {
            refused_fields(update(&client, given.clone(), path).await, &["policy.settings.json_schema"]);
        }
        assert_eq!((head(&client).await, get(&client, "p").await.settings), (at, Some(pb::PolicySettings::default())));
        change_kind(&client, Json).await.expect("nothing is published");
        set(&client, "p", with_schema()).await;
        refused_fields(change_kind(&client, Opaque).await, &["policy.settings.json_schema"]);
        assert_eq!(get(&client, "p").await.kind(), Json);
    }

    /// Given a content type of another kind than the policy's, it is refused with both; an OPAQUE policy accepts any.
    async fn a_content_type_does_not_contradict_the_kind(hub: Hub) {
        let client = hub.client().await;
        for (id, kind) in [("json", Json), ("yaml", Yaml), ("opaque", Opaque)] {
            create(&client, id, kind, pb::PolicySettings::default()).await;
        }
        let at = head(&client).await;
        for (id, content_type, words) in [
            ("json", "application/yaml", ["application/yaml", "JSON"]),
            ("json", "text/plain", ["text/plain", "JSON"]),
            ("yaml", "application/vnd.x+json", ["application/vnd.x+json", "YAML"]),
            ("yaml", "application/vnd.cedar", ["application/vnd.cedar", "YAML"]),
        ] {
            let error = client.draft(typed(id, content_type, Unspecified)).await;
            refused_fields(error.clone(), &["content_type"]);
            let error = error.expect_err("refused");
            assert!(words.iter().all(|word| error.message().contains(word)), "{error}");
        }
        for (id, kind) in [("json", Yaml), ("opaque", Json)] {
            refused_fields(client.draft(typed(id, "", kind)).await, &["kind"]);
        }
        assert_eq!(head(&client).await, at, "nothing was written");
        for (id, content_type) in
            [("json", ""), ("json", "application/vnd.x+json"), ("yaml", "text/yaml"), ("opaque", "application/json")]
        {
            client.draft(typed(id, content_type, Unspecified)).await.expect(content_type);
        }
    }

    /// A draft that creates its policy names the kind: by a media type, or by the kind itself.
    async fn nobody_gets_an_opaque_policy_by_silence(hub: Hub) {
        let client = hub.client().await;
        refused_fields(client.draft(typed("a", "", Unspecified)).await, &["content_type"]);
        refused_fields(client.draft(typed("a", "application/json", Yaml)).await, &["content_type"]);
        assert_eq!(head(&client).await, 0);
        for (id, content_type, said, kind, kept) in [
            ("b", "application/json", Unspecified, Json, "application/json"),
            ("c", "", Yaml, Yaml, "application/yaml"),
            ("d", "", Opaque, Opaque, "application/octet-stream"),
            ("e", "text/plain", Unspecified, Opaque, "text/plain"),
            ("f", "application/json", Opaque, Opaque, "application/json"),
        ] {
            let drafted = client.draft(typed(id, content_type, said)).await.expect(id).version.expect("a version");
            assert_eq!((get(&client, id).await.kind(), drafted.content_type.as_str()), (kind, kept), "{id}");
        }
    }

    /// CEDAR and REGO are made in a build that has their engines, and refused with what works instead in one that has not.
    async fn what_could_never_be_staged_is_not_made(hub: Hub) {
        let client = hub.client().await;
        for (id, kind, content_type, is_there) in [
            ("cedar", Cedar, "application/vnd.cedar", cfg!(feature = "cedar")),
            ("rego", Rego, "application/vnd.openpolicyagent.rego", cfg!(feature = "rego")),
        ] {
            let at = head(&client).await;
            if is_there {
                let drafted = client.draft(typed(id, content_type, Unspecified)).await.expect("a draft");
                assert_eq!((get(&client, id).await.kind(), drafted.cursor.revision()), (kind, at + 1));
                continue;
            }
            let error = try_create(&client, kind, pb::PolicySettings::default()).await;
            let error = refused(error, Code::Unimplemented, "UNIMPLEMENTED");
            assert!(error.message().contains("OPAQUE") && error.message().contains(content_type), "{error}");
            for draft in [typed("new", content_type, Unspecified), typed("new", "", kind)] {
                refused(client.draft(draft).await, Code::Unimplemented, "UNIMPLEMENTED");
            }
            assert_eq!(head(&client).await, at);
        }
        client.draft(typed("new", "application/vnd.cedar", Opaque)).await.expect("a draft");
        let published = client.publish(publish_request("new", 1)).await.expect("a publication");
        assert_eq!(published.version.expect("a version").content_type, "application/vnd.cedar");
    }

    /// Several files are of a kind that may have them, and a draft that makes their policy says which.
    async fn several_files_are_of_a_kind_that_has_them(hub: Hub) {
        let client = hub.client().await;
        let tar = "application/x-tar";
        refused_fields(client.draft(typed("a", tar, Unspecified)).await, &["kind"]);
        refused_fields(client.draft(typed("a", tar, Yaml)).await, &["content_type"]);
        for (id, kind) in [("b", Json), ("c", Opaque)] {
            let drafted = client.draft(typed(id, tar, kind)).await.expect(id).version.expect("a version");
            assert_eq!((get(&client, id).await.kind(), drafted.content_type.as_str()), (kind, tar), "{id}");
        }
        let stage = pb::StageRequest { name: version("b", 1), ..Default::default() };
        let error = refused(client.stage(stage).await, Code::FailedPrecondition, "VALIDATION_FAILED");
        assert!(error.message().contains("not a tar"), "{error}");
    }

    /// The kind may change until a version is published. A draft of the old kind fails its checks; published versions stay valid.
    async fn a_kind_changes_until_something_is_published(hub: Hub) {
        let client = hub.client().await;
        client.draft(typed("p", "text/plain", Unspecified)).await.expect("a draft");
        let before = get(&client, "p").await;
        refused_fields(change_kind(&client, Unspecified).await, &["policy.kind"]);
        let stale = pb::Policy { kind: Yaml.into(), etag: "77".to_owned(), ..Default::default() };
        refused(update(&client, stale, "kind").await, Code::Aborted, "ETAG_MISMATCH");
        let after = change_kind(&client, Yaml).await.expect("nothing is published");
        assert_eq!((before.kind(), after.kind(), after.settings), (Opaque, Yaml, before.settings));
        assert_ne!(after.etag, before.etag);
        let stage = pb::StageRequest { name: version("p", 1), ..Default::default() };
        let error = refused(client.stage(stage).await, Code::FailedPrecondition, "VALIDATION_FAILED");
        assert!(error.message().contains("text/plain") && error.message().contains("YAML"), "{error}");

        release(&client, "p", "a: 2").await;
        let at = head(&client).await;
        let error = refused(change_kind(&client, Json).await, Code::FailedPrecondition, "KIND_FIXED");
        assert_eq!((error.metadata()["kind"].as_str(), error.metadata()["version"].as_str()), ("YAML", "2"));
        assert_eq!(head(&client).await, at);
        assert_eq!(change_kind(&client, Yaml).await.expect("it is that").kind(), Yaml);
        release(&client, "p", "a: 3").await;
        client.rollback(rollback_request("p", 2)).await.expect("a rollback");
        let log = client.verify_log(pb::VerifyLogRequest { parent: NAMESPACE.to_owned(), after: None }).await;
        assert!(log.expect("a verdict").valid, "the whole log holds");
    }

    /// Given stdin or a file whose kind is unknown, the command line asks for it, and accepts --kind or --content-type.
    async fn a_command_asks_for_the_kind(hub: Hub) {
        let client = hub.client().await;
        let file = hub.dir.path().join("policy.txt");
        std::fs::write(&file, "a: 1").expect("written");
        let file = file.display();
        for line in ["draft p - --create".to_owned(), format!("draft p {file} --create")] {
            let refused = run(&hub, &line, "a: 1");
            let received = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert_eq!(refused.status.code(), Some(2), "{line}: {received}");
            assert!(["--kind yaml", "--kind opaque", "--content-type"].iter().all(|word| received.contains(word)), "{received}");
        }
        assert_eq!(head(&client).await, 0);
        for (line, id, kind) in [
            ("draft a - --create --kind yaml".to_owned(), "a", Yaml),
            ("draft b - --create --content-type application/json".to_owned(), "b", Json),
            (format!("draft c {file} --create --kind opaque"), "c", Opaque),
            ("draft a - --label 1.0.0".to_owned(), "a", Yaml),
            ("policy update c --kind json".to_owned(), "c", Json),
        ] {
            let done = run(&hub, &line, "{}");
            assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
            assert_eq!(get(&client, id).await.kind(), kind, "{line}");
        }
        let made = run(&hub, "draft d - --create --kind cedar", "permit;");
        let received = String::from_utf8_lossy(&made.stderr).into_owned();
        assert!(made.status.success() == cfg!(feature = "cedar"), "{received}");
    }
}
