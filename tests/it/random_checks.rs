//! Random texts as content, schema, guardrail, Cedar, Rego and template: each ends in a verdict or a named limit, by the checks of a real
//! server that is the same process in the end, and no larger.
//!
//! `CHECKS=10000` for a long run. A failure prints the text.

use policyhub::client::pb::PolicyKind::{Cedar, Json, Rego, Template, Yaml};
use policyhub::client::{Client, ClientError, pb};
use tonic::Code;

use crate::fuzz::mutated;
use crate::harness::calls::{create, draft_of_its_kind, policy, publish, version};
use crate::harness::guardrails::{guardrail, update_guardrails};
use crate::harness::{Database, Hub, peak_kib};

/// Texts of each kind, unless `CHECKS` says how many.
const TEXTS: usize = 60;
/// How much the peak memory of a server may grow by all of them.
const GROWTH_MAX_KIB: u64 = 64 * 1024;

const SCHEMAS: [&str; 4] = [
    r#"{"type":"object","required":["a"],"properties":{"a":{"pattern":"^(x+x+)+y$"}},"additionalProperties":false}"#,
    r##"{"$defs":{"a":{"anyOf":[{"$ref":"#/$defs/a"},{"type":"array","items":{"$ref":"#/$defs/a"}}]}},"$ref":"#/$defs/a"}"##,
    r#"{"$schema":"http://json-schema.org/draft-07/schema#","definitions":{},"oneOf":[{"minimum":1e3},{"enum":[null]}]}"#,
    r#"{"unevaluatedProperties":false,"dependentSchemas":{"a":{"not":{}}},"if":true,"then":{"maxLength":3},"else":false}"#,
];
const GUARDRAILS: [&str; 4] = [
    "content.rules.all(r, r.principal != '*' && size(r.id) < 10)",
    "has(content.a) ? content.a.map(x, x * 2)[0] > 3 : policy.id.matches('^[a-z]+$')",
    "active == null || content.limits.exists_one(k, k.startsWith('eu'))",
    "timestamp('2026-01-01T00:00:00Z') < timestamp('2027-01-01T00:00:00Z') && 1 / 0 == 1",
];
const CEDAR: [&str; 3] = [
    "@id(\"a\")\npermit(principal == User::\"ann\", action in [Action::\"view\"], resource) when { context.mfa && resource.tags.contains(\"x\") };",
    "forbid(principal is User in Group::\"g\", action, resource) unless { principal.age >= 18 || ip(\"10.0.0.0/8\").isIpv4() };",
    "permit(principal, action, resource) when { if true then {a: [1, -2]}.a == [1] else \"\\u{1F600}\" like \"a*\" };",
];
const REGO: [&str; 3] = [
    "package a\n\nimport rego.v1\n\ndefault allow := false\n\nallow if {\n  some x in input.roles\n  x == \"admin\"\n}\n",
    "package b\n\nlimits := {k: v | some k, v in data.limits; v > 0}\n\ndeny contains msg if {\n  msg := sprintf(\"%v\", [limits])\n}\n",
    "package c\n\nf(x) := y if {\n  y := x * 2\n} else := 0\n\ntest_f if f(2) == 4\n",
];
const DOCUMENTS: [&str; 3] = [
    r#"{"rules":[{"id":"a","principal":"*"}],"a":[1,2.5,null,true,"\u0000"],"limits":{"eu":1}}"#,
    "a: &x [1, 0x10, ~]\nb: *x\n--- \n? c\n: |\n  text\n",
    "parameters:\n  type: object\n  properties:\n    region: {type: string}\ncontent: {a: {$parameter: region}}\n",
];

/// Checks that a call ended with a verdict.
#[track_caller]
fn is_verdict<T>(answer: Result<T, ClientError>, text: &[u8]) {
    let Err(error) = answer else { return };
    let known = matches!(error.code(), Code::InvalidArgument | Code::FailedPrecondition) && !error.reason().is_empty();
    assert!(known, "{}: {error:?}", text.escape_ascii());
}

/// Drafts a content and runs its checks.
async fn check_content(client: &Client, id: &str, content: &[u8]) {
    let request = pb::DraftRequest { content: content.to_vec().into(), ..draft_of_its_kind(id, "") };
    match client.draft(request).await {
        Ok(drafted) => {
            let name = drafted.version.expect("a version").name;
            is_verdict(
                client.stage(pb::StageRequest { name, validate_only: true, ..Default::default() }).await,
                content,
            );
        }
        refused => is_verdict(refused, content),
    }
}

/// Sets a schema that may be none, and checks a content under it.
async fn check_schema(client: &Client, id: &str, schema: &[u8]) {
    let Ok(text) = std::str::from_utf8(schema) else { return };
    let settings = Some(pb::PolicySettings { json_schema: text.to_owned(), ..Default::default() });
    let given = pb::Policy { name: policy(id), settings, ..Default::default() };
    let mask = prost_types::FieldMask { paths: vec!["settings.json_schema".to_owned()] };
    let request = pb::UpdatePolicyRequest { policy: Some(given), update_mask: Some(mask), ..Default::default() };
    is_verdict(client.update_policy(request).await, schema);
    check_content(client, id, DOCUMENTS[0].as_bytes()).await;
}

/// Sets a guardrail that may be none, and checks a content under it.
async fn check_guardrail(client: &Client, expression: &[u8]) {
    let Ok(text) = std::str::from_utf8(expression) else { return };
    let request = update_guardrails("namespaces/default/guardrails", vec![guardrail("g", text)]);
    is_verdict(client.update_guardrails(request).await, expression);
    let request = pb::StageRequest { name: version("guarded", 1), validate_only: true, ..Default::default() };
    is_verdict(client.stage(request).await, expression);
}

/// Given random texts, each check ends in a verdict, the server does not grow, and the next publication works.
#[tokio::test]
async fn each_ends_in_a_verdict() {
    let texts = std::env::var("CHECKS").ok().map_or(TEXTS, |count| count.parse().expect("a number"));
    let mut hub = Hub::start(Database::Sqlite).await;
    let client = hub.client().await;
    for (id, kind) in [
        ("json", Json),
        ("yaml", Yaml),
        ("cedar", Cedar),
        ("rego", Rego),
        ("template", Template),
        ("schema", Json),
        ("guarded", Json),
    ] {
        create(&client, id, kind, pb::PolicySettings::default()).await;
    }
    client.draft(draft_of_its_kind("guarded", DOCUMENTS[0])).await.expect("a draft");
    check_content(&client, "json", DOCUMENTS[0].as_bytes()).await;
    let before = peak_kib(hub.pid());
    for (id, seeds) in
        [("json", &DOCUMENTS[..]), ("yaml", &DOCUMENTS), ("template", &DOCUMENTS), ("cedar", &CEDAR), ("rego", &REGO)]
    {
        for text in mutated(seeds, texts) {
            check_content(&client, id, &text).await;
        }
    }
    for text in mutated(&SCHEMAS, texts) {
        check_schema(&client, "schema", &text).await;
    }
    for text in mutated(&GUARDRAILS, texts) {
        check_guardrail(&client, &text).await;
    }
    let none = update_guardrails("namespaces/default/guardrails", Vec::new());
    client.update_guardrails(none).await.expect("no guardrails");
    publish(&client, "good", "a: 1").await;
    assert!(hub.is_running(), "it ended");
    let grown = peak_kib(hub.pid()) - before;
    assert!(grown <= GROWTH_MAX_KIB, "the server grew by {grown} KiB");
    let log = hub.log.lock().expect("the log").clone();
    assert!(!log.contains("panicked"), "{log}");
}
