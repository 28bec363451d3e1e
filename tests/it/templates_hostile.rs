//! Hostile templates and parameters: what is refused, and with which message.

use policyhub::client::pb::check::Result::{Failed, Passed, Warning};
use policyhub::client::{Client, ClientError, pb};
use serde_json::json;
use tonic::Code;

use crate::harness::calls::{
    draft_of_its_kind, draft_request, head, policy, publish_request, refused, refused_fields, version,
};
use crate::harness::on_both_databases;
use crate::templates::{draft_template, drafted, refunds, release_template, request};

fn refused_parameters<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> String {
    let error = refused(answer, Code::InvalidArgument, "INVALID_ARGUMENT");
    assert!(error.violations().iter().all(|violation| violation.field == "from_template.parameters"), "{error:?}");
    error.violations().iter().map(|violation| violation.description.as_str()).collect::<Vec<_>>().join("; ")
}

/// Returns what the check `template` says of a version.
async fn checked(client: &Client, id: &str, number: i64) -> pb::Check {
    let request = pb::StageRequest { name: version(id, number), validate_only: true, ..Default::default() };
    let report = client.stage(request).await.expect("an answer").report.expect("a report");
    report.checks.into_iter().find(|check| check.id == "template").expect("the check")
}

on_both_databases! {
    /// Parameters are exactly what the template declares; whatever else is sent is refused, and nothing is written.
    async fn hostile_parameters_are_refused(hub: Hub) {
        let client = hub.client().await;
        release_template(&client, "refunds", &refunds()).await;
        let at = head(&client).await;
        let deep = |depth: usize| format!(r#"{{"region":"eu","extra":{}1{}}}"#, "[".repeat(depth), "]".repeat(depth));
        let large = |bytes: usize| json!({"region": "eu", "extra": "x".repeat(bytes)}).to_string();
        for (parameters, found) in [
            ("{}".to_owned(), "\"region\" is a required property"),
            (String::new(), "\"region\" is a required property"),
            (r#"{"region":"eu","other":1}"#.to_owned(), "\"other\" is no parameter of the template"),
            (r#"{"region":"eu","/extra":1}"#.to_owned(), "\"/extra\" is no parameter of the template"),
            (r#"{"region":"eu","limit":"1"}"#.to_owned(), "/limit: "),
            (r#"{"region":"eu","limit":0}"#.to_owned(), "/limit: "),
            (r#"{"region":"EU"}"#.to_owned(), "/region: "),
            (r#"{"region":"eu","region":"us"}"#.to_owned(), "duplicate key"),
            (r#"{"region":"eu","extra":9007199254740992}"#.to_owned(), "number beyond"),
            (r#"{"region":"eu","extra":1e999}"#.to_owned(), "is no JSON"),
            (r#"{"region":"eu""#.to_owned(), "is no JSON"),
            (r#"["eu"]"#.to_owned(), "is no JSON object"),
            ("null".to_owned(), "is no JSON object"),
            ("{\"region\":\"eu\\ud800\"}".to_owned(), "is no JSON"),
            (large(4096), "is over 4096 bytes"),
            (large(1_000_000), "is over 4096 bytes"),
            (deep(64), "nested deeper than"),
            (deep(1_500), "nested deeper than"),
        ] {
            let said = refused_parameters(client.draft(request(policy("refunds"), &parameters)).await);
            assert!(said.contains(found), "{}: {said}", parameters.get(..40).unwrap_or(&parameters));
        }
        assert_eq!(head(&client).await, at);
        let hostile = json!({"region": "eu", "extra": "'\"}\n- --- \u{7f}\u{2028} ${limit} {{limit}}\u{0}"});
        let made = drafted(&client, request(policy("refunds"), &hostile)).await;
        client.stage(pb::StageRequest { name: version("p", made.version), ..Default::default() }).await.expect("a stage");
        assert_eq!(made.template.expect("a template").parameters, {
            let mut sorted = hostile.clone();
            sorted.sort_all_objects();
            sorted.to_string()
        });
        let largest = json!({"region": "eu", "extra": "x".repeat(4096 - 26)}).to_string();
        assert_eq!(largest.len(), 4096);
        drafted(&client, request(policy("refunds"), largest)).await;
    }

    /// What is made may be too large or too deep for a content though neither the template nor a parameter is.
    async fn what_is_made_is_within_the_limits(hub: Hub) {
        let client = hub.client().await;
        let many = json!({
            "kind": "JSON",
            "parameters": {"properties": {"x": {}}},
            "substitute": (0..256).map(|at| (format!("/list/{at}"), json!("x"))).collect::<serde_json::Map<_, _>>(),
            "content": {"list": vec![0; 256], "fill": "y".repeat(300_000)},
        });
        release_template(&client, "large", &many).await;
        let full = json!({"x": "x".repeat(4000)});
        let error = refused(client.draft(request(policy("large"), full)).await, Code::ResourceExhausted, "CONTENT_TOO_LARGE");
        assert!(error.message().contains("over 1048576"), "{error}");
        drafted(&client, request(policy("large"), json!({"x": "x".repeat(1000)}))).await;
        let inner = (0..60).fold(json!(0), |inner, _| json!([inner]));
        let deep = json!({
            "kind": "JSON",
            "parameters": {"properties": {"x": {}}},
            "substitute": {format!("/a{}", "/0".repeat(60)): "x"},
            "content": {"a": inner},
        });
        release_template(&client, "deep", &deep).await;
        let nested = |depth: usize| format!(r#"{{"x":{}1{}}}"#, "[".repeat(depth), "]".repeat(depth));
        let to = |parameters| pb::DraftRequest { parent: policy("d"), ..request(policy("deep"), parameters) };
        let said = refused_parameters(client.draft(to(nested(4))).await);
        assert!(said.contains("make a content that can't be read: nested deeper"), "{said}");
        client.draft(to(nested(3))).await.expect("a draft");
    }

    /// The check `template` says what is wrong where; a schema that does not compile is found too.
    async fn a_template_is_checked(hub: Hub) {
        let client = hub.client().await;
        let good = draft_template(&client, "t", &refunds()).await;
        assert_eq!(checked(&client, "t", good).await.result(), Passed);
        let yaml = "kind: JSON\nparameters: {properties: {a: {}, b: {}}}\nsubstitute: {/x: a}\ncontent: {x: 1}\n";
        let number = client.draft(draft_request("t", yaml)).await.expect("a draft").version.expect("a version").version;
        let check = checked(&client, "t", number).await;
        assert_eq!((check.result(), check.findings[0].message.as_str()), (Warning, "parameter \"b\" is put nowhere"));
        for (pointer, value, at, message) in [
            ("/kind", json!("REGO"), "/kind", "is neither JSON nor YAML"),
            ("/substitute/~1nothing", json!("region"), "/substitute/~1nothing", "leads to nothing in the content"),
            ("/substitute/~1limits", json!("limit"), "/substitute/~1limits~11~1max", "leads into \"/limits\""),
            ("/substitute/~1extra", json!("other"), "/substitute/~1extra", "names \"other\""),
            ("/other", json!(1), "/other", "is no member of a template"),
            ("/parameters/properties/limit/type", json!("int"), "/parameters", "the JSON Schema of the parameters does not compile"),
            ("/parameters/$ref", json!("http://127.0.0.1:1/x"), "/parameters", "the JSON Schema of the parameters does not compile"),
        ] {
            let mut template = refunds();
            let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
            template.pointer_mut(parent).expect("a member")[name.replace("~1", "/")] = value;
            let number = draft_template(&client, "t", &template).await;
            let check = checked(&client, "t", number).await;
            let found = &check.findings[0];
            assert_eq!((check.result(), found.pointer.as_str()), (Failed, at), "{check:?}");
            assert!(found.message.starts_with(message), "{found:?}");
            let error = client.publish(publish_request("t", number)).await;
            refused(error, Code::FailedPrecondition, "VALIDATION_FAILED");
        }
        let stream = "kind: JSON\n---\nkind: JSON\n";
        let number = client.draft(draft_request("t", stream)).await.expect("a draft").version.expect("a version").version;
        assert!(checked(&client, "t", number).await.findings[0].message.contains("one document"));
        let text = draft_of_its_kind("t", "{\"kind\": \"JSON\", \"kind\": \"JSON\"}");
        let number = client.draft(text).await.expect("a draft").version.expect("a version").version;
        let error = client.publish(publish_request("t", number)).await.expect_err("it does not parse");
        assert_eq!(error.metadata()["check"], "parse");
        let schema = pb::PolicySettings { json_schema: "{}".to_owned(), ..Default::default() };
        let set = pb::UpdatePolicyRequest {
            policy: Some(pb::Policy { name: policy("t"), settings: Some(schema), ..Default::default() }),
            ..Default::default()
        };
        refused_fields(client.update_policy(set).await, &["policy.settings.json_schema"]);
    }
}
