//! Templates: contents that the server makes of a template and parameters (docs/templates.md).

use policyhub::client::pb::PolicyKind::{Json, Template, Yaml};
use policyhub::client::signing::verify_bundle;
use policyhub::client::{Client, pb};
use serde_json::{Value, json};
use tonic::Code;

use crate::harness::archives::{export, make, parts, run, send, verified};
use crate::harness::calls::{
    NAMESPACE, Revision as _, abandon, activate, active, create, draft, draft_request, events, get, get_version, head,
    policy, publish, publish_request, refused, refused_fields, rollback_request, trust, version,
};
use crate::harness::on_both_databases;

/// A template with places behind escapes, in a list, and of two parameters.
pub fn refunds() -> Value {
    json!({
        "kind": "YAML",
        "parameters": {
            "type": "object",
            "required": ["region"],
            "properties": {
                "region": {"type": "string", "pattern": "^[a-z]+$"},
                "limit": {"type": "integer", "minimum": 1},
                "extra": {},
            },
        },
        "substitute": {"/a~1b/~0region": "region", "/limits/1/max": "limit", "/extra": "extra"},
        "content": {"a/b": {"~region": "nowhere"}, "limits": [{"max": 1}, {"max": 100}], "extra": null},
    })
}

/// Drafts a version of a template and returns its number.
pub async fn draft_template(client: &Client, id: &str, template: &Value) -> i64 {
    let request = pb::DraftRequest {
        kind: Template.into(),
        content_type: String::new(),
        ..draft_request(id, &template.to_string())
    };
    client.draft(request).await.expect("a draft").version.expect("a version").version
}

/// Drafts, publishes and activates a version of a template, and returns its number.
pub async fn release_template(client: &Client, id: &str, template: &Value) -> i64 {
    let number = draft_template(client, id, template).await;
    client.publish(publish_request(id, number)).await.expect("a publication");
    activate(client, id, number).await;
    number
}

/// Returns a request for a draft of `p` from a template, which is named by its policy or by a version of it.
pub fn request(template: String, parameters: impl ToString) -> pb::DraftRequest {
    let from = pb::FromTemplate { template, parameters: parameters.to_string() };
    pb::DraftRequest {
        content: Default::default(),
        content_type: String::new(),
        from_template: Some(from),
        ..draft_request("p", "")
    }
}

pub async fn drafted(client: &Client, request: pb::DraftRequest) -> pb::Version {
    let number = client.draft(request).await.expect("a draft").version.expect("a version").version;
    get_version(client, "p", number).await
}

on_both_databases! {
    /// The content has the parameters where the template says, and the version remembers both, in its manifest too.
    async fn a_draft_is_made_from_a_template(hub: Hub) {
        let client = hub.client().await;
        release_template(&client, "refunds", &refunds()).await;
        let of_template = get_version(&client, "refunds", 1).await;
        let made = drafted(&client, request(policy("refunds"), json!({"region": "eu", "limit": 500}))).await;
        let text = "a/b:\n  \"~region\": \"eu\"\nextra: null\nlimits:\n  - max: 1\n  - max: 500\n";
        let expected = text.replace("a/b:", "\"a/b\":");
        assert_eq!(String::from_utf8_lossy(&made.content), expected);
        assert_eq!((get(&client, "p").await.kind(), made.content_type.as_str()), (Yaml, "application/yaml"));
        let source = pb::TemplateSource {
            policy: "refunds".to_owned(),
            version: 1,
            digest: of_template.digest.clone(),
            parameters: r#"{"limit":500,"region":"eu"}"#.to_owned(),
        };
        assert_eq!(made.template.as_ref(), Some(&source));
        client.publish(publish_request("p", 1)).await.expect("a publication");
        let published = get_version(&client, "p", 1).await;
        assert_eq!(published.template.as_ref(), Some(&source));
        let keys = trust(&client).await.keys;
        let manifest = verify_bundle(&published.manifest, &published.content, &keys).expect("it verifies");
        let signed = manifest.template.expect("a template");
        assert_eq!((signed.policy().as_str(), signed.version()), ("refunds", 1));
        assert_eq!((signed.digest().to_string(), signed.parameters()), (source.digest, source.parameters.as_str()));
        let own = verify_bundle(&of_template.manifest, &of_template.content, &keys).expect("it verifies");
        assert!(own.template.is_none() && of_template.template.is_none(), "the template itself is made from none");
        activate(&client, "p", 1).await;
        assert_eq!(active(&client, "p").await, 1);
        let json = json!({
            "kind": "JSON", "parameters": {"properties": {"all": {}}}, "substitute": {"": "all"}, "content": 0,
        });
        release_template(&client, "json", &json).await;
        let request = pb::DraftRequest { parent: policy("q"), ..request(policy("json"), r#"{"all": {"b": 0.50, "a": [1, 1e3, -2.0]}}"#) };
        client.draft(request).await.expect("a draft");
        let made = get_version(&client, "q", 1).await;
        assert_eq!(String::from_utf8_lossy(&made.content), "{\n  \"a\": [\n    1,\n    1000,\n    -2\n  ],\n  \"b\": 0.5\n}\n");
        assert_eq!((get(&client, "q").await.kind(), made.content_type.as_str()), (Json, "application/json"));
        verified(&client, NAMESPACE).await;
    }

    /// A version of the template may be named; only a published one makes contents, and only one of this namespace.
    async fn only_published_templates_make_contents(hub: Hub) {
        let client = hub.client().await;
        let eu = json!({"region": "eu"});
        let at = head(&client).await;
        let absent = refused(client.draft(request(policy("refunds"), &eu)).await, Code::NotFound, "POLICY_NOT_FOUND");
        assert_eq!(absent.resource(), policy("refunds"));
        draft_template(&client, "refunds", &refunds()).await;
        refused(client.draft(request(policy("refunds"), &eu)).await, Code::FailedPrecondition, "NO_ACTIVE_VERSION");
        for name in [version("refunds", 1), version("refunds", "latest")] {
            let error = refused(client.draft(request(name, &eu)).await, Code::FailedPrecondition, "VERSION_NOT_PUBLISHED");
            assert_eq!((error.metadata()["state"].as_str(), error.resource()), ("DRAFT", version("refunds", 1).as_str()));
        }
        abandon(&client, "refunds", 1).await;
        refused(client.draft(request(version("refunds", 1), &eu)).await, Code::FailedPrecondition, "VERSION_NOT_PUBLISHED");
        refused(client.draft(request(version("refunds", 9), &eu)).await, Code::NotFound, "VERSION_NOT_FOUND");
        release_template(&client, "refunds", &refunds()).await;
        let mut tighter = refunds();
        tighter["content"]["limits"][1]["max"] = json!(7);
        let request_of_label = pb::DraftRequest {
            kind: Template.into(),
            label: "1.0.0".to_owned(),
            content_type: "application/vnd.policyhub.template+json".to_owned(),
            ..draft_request("refunds", &tighter.to_string())
        };
        client.draft(request_of_label).await.expect("a draft");
        client.publish(publish_request("refunds", 3)).await.expect("a publication");
        for (name, number) in [(policy("refunds"), 2), (version("refunds", "active"), 2), (version("refunds", 3), 3), (version("refunds", "v1.0.0"), 3)] {
            let made = drafted(&client, request(name.clone(), &eu)).await;
            assert_eq!(made.template.expect("a template").version, number, "{name}");
        }
        assert_eq!(head(&client).await - at, 11, "nothing was written by what was refused");
        publish(&client, "plain", "a: 1").await;
        refused_fields(client.draft(request(version("plain", 1), &eu)).await, &["from_template.template"]);
        make(&client, "other").await;
        for template in ["namespaces/other/policies/refunds".to_owned(), String::new(), policy("refunds") + "/versions/", "refunds".to_owned()] {
            refused_fields(client.draft(request(template, &eu)).await, &["from_template.template"]);
        }
        let both = pb::DraftRequest { content: b"a: 1"[..].into(), ..request(policy("refunds"), &eu) };
        refused_fields(client.draft(both).await, &["content"]);
        let other_kind = pb::DraftRequest { kind: Json.into(), parent: policy("new"), ..request(policy("refunds"), &eu) };
        refused_fields(client.draft(other_kind).await, &["kind"]);
        create(&client, "json", Json, pb::PolicySettings::default()).await;
        let other_policy = pb::DraftRequest { parent: policy("json"), ..request(policy("refunds"), &eu) };
        refused_fields(client.draft(other_policy).await, &["kind"]);
    }

    /// The same request answers the same version, also after the template changed; a label stands for template and parameters too.
    async fn a_request_is_answered_once(hub: Hub) {
        let client = hub.client().await;
        release_template(&client, "refunds", &refunds()).await;
        let once = |parameters: Value| pb::DraftRequest {
            request_id: "once".to_owned(),
            label: "1.0.0".to_owned(),
            ..request(policy("refunds"), parameters)
        };
        let first = client.draft(once(json!({"region": "eu"}))).await.expect("a draft");
        let mut other = refunds();
        other["content"]["limits"][0]["max"] = json!(2);
        release_template(&client, "refunds", &other).await;
        assert_eq!(client.draft(once(json!({"region": "eu"}))).await.expect("an answer"), first);
        let reused = client.draft(once(json!({"region": "us"}))).await;
        refused(reused, Code::InvalidArgument, "REQUEST_ID_REUSED");
        let labelled = |template| pb::DraftRequest { label: "1.0.0".to_owned(), ..request(template, json!({"region": "eu"})) };
        let again = client.draft(labelled(version("refunds", 1))).await.expect("an answer");
        assert_eq!((again.version.expect("a version").version, again.cursor.revision()), (1, 0));
        refused(client.draft(labelled(policy("refunds"))).await, Code::AlreadyExists, "LABEL_CONTENT_CONFLICT");
        let default = json!({"region": "eu", "limit": 100});
        let same_bytes = pb::DraftRequest { label: "1.0.0".to_owned(), ..request(version("refunds", 1), default) };
        let error = refused(client.draft(same_bytes).await, Code::AlreadyExists, "LABEL_CONTENT_CONFLICT");
        assert!(error.message().contains("other parameters"), "{error}");
        let rehearsed = pb::DraftRequest { validate_only: true, ..request(policy("refunds"), json!({"region": "eu"})) };
        let (at, answer) = (head(&client).await, client.draft(rehearsed).await.expect("an answer"));
        assert_eq!((answer.version.expect("a version").template.expect("a template").version, head(&client).await), (2, at));
    }

    /// Whoever names the policy of a template gets what is active when the draft is written, or CONCURRENT_CHANGE.
    async fn a_template_that_changes_meanwhile(hub: Hub) {
        let client = hub.client().await;
        for limit in [1, 2] {
            let mut template = refunds();
            template["content"]["limits"][0]["max"] = json!(limit);
            release_template(&client, "refunds", &template).await;
        }
        let mover = hub.client().await;
        let moves = async {
            for round in 0..40 {
                activate(&mover, "refunds", 1 + round % 2).await;
            }
        };
        let drafts = async {
            let (mut made, mut refusals) = (0, 0);
            for round in 0..40 {
                let parameters = json!({"region": "eu", "extra": round});
                match client.draft(request(policy("refunds"), parameters)).await {
                    Ok(_) => made += 1,
                    Err(error) => {
                        assert_eq!((error.code(), error.reason()), (Code::Aborted, "CONCURRENT_CHANGE"), "{error}");
                        refusals += 1;
                    }
                }
            }
            (made, refusals)
        };
        let ((), (made, refusals)) = tokio::join!(moves, drafts);
        let mut in_force = 0;
        let mut seen = 0;
        for event in events(&client, NAMESPACE, 0).await {
            if let Some(pointer) = event.changes.iter().find(|change| change.policy == policy("refunds")) {
                in_force = pointer.version;
            }
            for change in event.versions.iter().filter(|_| event.kind() == pb::EventKind::Draft) {
                if change.version_name.contains("/policies/p/") {
                    let version = client.get_version(pb::GetVersionRequest { name: change.version_name.clone(), ..Default::default() }).await;
                    let template = version.expect("an answer").version.expect("a version").template.expect("a template");
                    assert_eq!(template.version, in_force, "{}", change.version_name);
                    seen += 1;
                }
            }
        }
        assert_eq!((seen, made + refusals), (made, 40));
    }

    /// A copy of a version keeps what that was made from; so does a version that is imported.
    async fn copies_and_imports_keep_the_template(hub: Hub) {
        let client = hub.client().await;
        release_template(&client, "refunds", &refunds()).await;
        drafted(&client, request(policy("refunds"), json!({"region": "eu"}))).await;
        client.publish(publish_request("p", 1)).await.expect("a publication");
        activate(&client, "p", 1).await;
        draft(&client, "p", "a: 1").await;
        client.publish(publish_request("p", 2)).await.expect("a publication");
        activate(&client, "p", 2).await;
        let copy = pb::RollbackRequest { mode: pb::RollbackMode::CopyForward.into(), ..rollback_request("p", 1) };
        client.rollback(copy).await.expect("a rollback");
        let made = get_version(&client, "p", 1).await.template;
        assert!(made.is_some() && get_version(&client, "p", 3).await.template == made);
        assert!(get_version(&client, "p", 2).await.template.is_none());
        let moved = make(&client, "moved").await;
        send(&client, &parts(&export(&hub, "default", "archive"), &moved)).await.expect("an import");
        verified(&client, &moved).await;
        let name = format!("{moved}/policies/p/versions/1");
        let kept = client.get_version(pb::GetVersionRequest { name, ..Default::default() }).await.expect("an answer");
        assert_eq!(kept.version.expect("a version").template, made);
        let there = pb::DraftRequest { parent: format!("{moved}/policies/q"), ..request(format!("{moved}/policies/refunds/versions/1"), r#"{"region":"us"}"#) };
        client.draft(there).await.expect("the template was imported, and makes contents");
    }

    /// What people type, and what they see.
    async fn templates_on_the_command_line(hub: Hub) {
        let client = hub.client().await;
        let file = hub.dir.path().join("refunds.json");
        std::fs::write(&file, refunds().to_string()).expect("written");
        let file = file.display().to_string();
        let ok = |arguments: &[&str]| {
            let (code, text, errors) = run(hub.cli(), arguments);
            assert_eq!(code, 0, "{arguments:?}: {errors}");
            (text, errors)
        };
        ok(&["draft", "refunds", &file, "--create", "--kind", "template"]);
        ok(&["publish", "refunds", "--activate", "--reason", "go"]);
        ok(&["draft", "p", "--from-template", "refunds", "--set", "region=eu", "--set", "limit=250", "--create", "--label", "1.0.0"]);
        let made = get_version(&client, "p", 1).await;
        assert_eq!(made.template.expect("a template").parameters, r#"{"limit":250,"region":"eu"}"#);
        ok(&["draft", "p", "--from-template", "refunds@1", "--set", "region=eu", "--set", "extra={\"a\": [1.50]}"]);
        let made = get_version(&client, "p", 2).await;
        assert_eq!(made.template.expect("a template").parameters, r#"{"extra":{"a":[1.5]},"region":"eu"}"#);
        let (text, about) = ok(&["show", "p@1"]);
        assert!(text.contains("max: 250"), "{text}");
        assert!(about.contains("made from template refunds@1 with {\"limit\":250,\"region\":\"eu\"}"), "{about}");
        let twice = ["draft", "p", "--from-template", "refunds", "--set", "region=eu", "--set", "region=us"];
        assert_eq!(run(hub.cli(), &twice).0, 2);
        let large = ["draft", "p", "--from-template", "refunds", "--set", "region=eu", "--set", "limit=12345678901234567890"];
        let (code, _, errors) = run(hub.cli(), &large);
        assert!(code == 2 && errors.contains("limit=12345678901234567890") && errors.contains("limit: number beyond"), "{errors}");
        let (code, _, errors) = run(hub.cli(), &["draft", "p", "--from-template", "refunds", "--set", "limit=1"]);
        assert!(code == 1 && errors.contains("\"region\" is a required property"), "{errors}");
        ok(&["publish", "p@1", "--activate", "--reason", "go"]);
        let out = hub.dir.path().join("out").display().to_string();
        ok(&["active", "p", "--save", &out]);
        let keys = hub.dir.path().join("keys.json");
        std::fs::write(&keys, ok(&["keys", "list", "--jwks"]).0).expect("written");
        let path = |name: &str| format!("{out}/p/{name}");
        let verify = ["verify", "--jwks", &keys.display().to_string(), "--manifest", &path("manifest.jws"), "--content", &path("content")].map(str::to_owned);
        let verify: Vec<&str> = verify.iter().map(String::as_str).collect();
        assert!(ok(&verify).0.contains("made from template refunds@1"));
    }

    /// The commands of docs/templates.md, with the example that it names.
    async fn the_page_about_templates(hub: Hub) {
        let client = hub.client().await;
        let page = std::fs::read_to_string("docs/templates.md").expect("the page");
        let commands: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("    policyhub ")).collect();
        assert_eq!(commands.len(), 4, "{commands:?}");
        for command in commands {
            let arguments: Vec<String> = command.replace("'first template'", "first").split_whitespace().map(str::to_owned).collect();
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let (code, _, errors) = run(hub.cli(), &arguments);
            assert_eq!(code, 0, "{command}: {errors}");
        }
        let made = get_version(&client, "refunds-eu", 1).await;
        let expected = "limits:\n  - action: \"refund\"\n    max: 500\nregion: \"eu\"\n";
        assert_eq!(String::from_utf8_lossy(&made.content), expected);
        client.publish(publish_request("refunds-eu", 1)).await.expect("a publication");
    }
}
