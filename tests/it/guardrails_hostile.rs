//! Hostile guardrails, each by name: it ends by a limit that is named or can't be set, and the server and other tenants go on.

use policyhub::client::pb::PolicyKind::{Json, Yaml};
use policyhub::client::{Client, pb};
use tonic::Code;

use crate::harness::callers::namespace;
use crate::harness::calls::{create, draft_of_its_kind, draft_request, refused, refused_fields, release, version};
use crate::harness::guardrails::{guardrail, set_guardrails, update_guardrails};
use crate::harness::{Database, Hub};

const OWN: &str = "namespaces/default/guardrails";
/// Elements of the list that hostile expressions go through.
const ELEMENTS: usize = 2_000;
/// The limits of docs/guardrails.md.
const EXPRESSION_MAX_BYTES: usize = 4 * 1024;
const EXPRESSION_MAX_NODES: usize = 1_000;
const EXPRESSION_MAX_DEPTH: usize = 200;
const GUARDRAILS_MAX: usize = 100;
const SET_MAX_BYTES: usize = 128 * 1024;

/// Stages a version in another namespace: hostile guardrails of one delay nobody else.
async fn others_go_on(client: &Client) {
    namespace(client, "other").await;
    let parent = "namespaces/other/policies/q".to_owned();
    let draft = client.draft(pb::DraftRequest { parent, ..draft_request("q", "a: 1") }).await.expect("a draft");
    let name = draft.version.expect("a version").name;
    client.stage(pb::StageRequest { name, ..Default::default() }).await.expect("another tenant");
}

/// Stages a large content under an expression, which must end by one of these limits.
async fn ends_by(expression: &str, limits: &[&str]) {
    let hub = Hub::start(Database::Sqlite).await;
    let client = hub.client().await;
    let numbers: Vec<String> = (0..ELEMENTS).map(|number| number.to_string()).collect();
    create(&client, "p", Json, pb::PolicySettings::default()).await;
    client.draft(draft_of_its_kind("p", &format!("{{\"big\":[{}]}}", numbers.join(",")))).await.expect("a draft");
    set_guardrails(&client, OWN, &[("hostile", expression)]).await;
    let request = pb::StageRequest { name: version("p", 1), ..Default::default() };
    let error = refused(client.stage(request).await, Code::FailedPrecondition, "VALIDATION_FAILED");
    let named = limits.iter().any(|limit| error.message().contains(&format!("CHECK_LIMIT_EXCEEDED ({limit})")));
    assert!(named && error.message().contains("the guardrail hostile"), "one of {limits:?} in {error:?}");
    others_go_on(&client).await;
}

/// Tries to set expressions, and says of each whether it is one.
async fn may_be_set(expressions: &[(String, bool)]) {
    let hub = Hub::start(Database::Sqlite).await;
    let client = hub.client().await;
    for (expression, is_valid) in expressions {
        let request = update_guardrails(OWN, vec![guardrail("g", expression)]);
        let answer = client.update_guardrails(request).await;
        if *is_valid {
            answer.unwrap_or_else(|error| panic!("{} bytes: {error:?}", expression.len()));
        } else {
            let error = answer.expect_err("it is refused");
            assert_eq!((error.code(), error.reason()), (Code::InvalidArgument, "INVALID_ARGUMENT"), "{error:?}");
            assert!(error.violations()[0].field.starts_with("guardrails.guardrails[0]"), "{error:?}");
        }
    }
    others_go_on(&client).await;
}

#[tokio::test]
async fn a_loop_in_a_loop() {
    ends_by("content.big.all(x, content.big.all(y, x + y >= 0))", &["cpu", "wall_time", "memory"]).await;
}

#[tokio::test]
async fn loops_that_need_no_memory() {
    let expression = "content.big.all(x, content.big.all(y, content.big.all(z, x + y + z >= 0)))";
    ends_by(expression, &["cpu", "wall_time"]).await;
}

#[tokio::test]
async fn a_list_in_a_list_in_a_list() {
    let expression =
        "content.big.map(x, content.big.map(y, content.big.map(z, 'xxxxxxxxxxxxxxxxxxxxxxxx'))).size() > 0";
    ends_by(expression, &["memory", "cpu", "wall_time"]).await;
}

/// Two thousand terms overflowed the stack of a thread, and so ended a process.
#[tokio::test]
async fn a_sum_of_many_terms() {
    let sum = |terms: usize| format!("{} > 0", vec!["1"; terms].join("+"));
    // Each term is a node, and so is each sum.
    let shallow = |terms: usize| format!("[{}].size() > 0", vec!["1"; terms].join(","));
    may_be_set(&[
        (sum(2_000), false),
        (sum(EXPRESSION_MAX_DEPTH + 1), false),
        (sum(EXPRESSION_MAX_DEPTH - 10), true),
        (shallow(EXPRESSION_MAX_NODES + 1), false),
        (shallow(EXPRESSION_MAX_NODES - 10), true),
    ])
    .await;
}

/// Parentheses ended the parser with a panic, also as many as fit into an expression.
#[tokio::test]
async fn many_parentheses() {
    let nested = |depth: usize| format!("{}true{}", "(".repeat(depth), ")".repeat(depth));
    may_be_set(&[(nested(30_000), false), (nested(2_000), false), (nested(10), true)]).await;
}

#[tokio::test]
async fn an_expression_of_the_longest_length() {
    let long = |bytes: usize| format!("'{}' != ''", "x".repeat(bytes - "'' != ''".len()));
    may_be_set(&[(long(EXPRESSION_MAX_BYTES), true), (long(EXPRESSION_MAX_BYTES + 1), false)]).await;
}

/// The largest set may be set, by a message that is larger than those of most methods; a byte more may not.
#[tokio::test]
async fn the_largest_set() {
    let hub = Hub::start(Database::Sqlite).await;
    let client = hub.client().await;
    let each = SET_MAX_BYTES / GUARDRAILS_MAX;
    let of = |number: usize, more: usize| {
        let (id, start) = (format!("g{number:03}"), "'' != 'x'");
        let expression = format!("'{}' != 'x'", "y".repeat(each + more - id.len() - start.len()));
        pb::Guardrail { message: String::new(), ..guardrail(&id, &expression) }
    };
    let rest = SET_MAX_BYTES - each * GUARDRAILS_MAX;
    let set = |more: usize| (0..GUARDRAILS_MAX).map(|at| of(at, if at == 0 { rest + more } else { 0 })).collect();
    client.update_guardrails(update_guardrails(OWN, set(0))).await.expect("the largest set");
    refused_fields(client.update_guardrails(update_guardrails(OWN, set(1))).await, &["guardrails.guardrails"]);
    let mut many: Vec<pb::Guardrail> = set(0);
    many.push(guardrail("one-more", "true"));
    refused_fields(client.update_guardrails(update_guardrails(OWN, many)).await, &["guardrails.guardrails"]);
}

/// Given a stream of many documents and a large active content that a guardrail looks at, the stream is evaluated within its limits, and
/// says what is wrong in its first documents.
#[tokio::test]
async fn a_stream_beside_a_large_active_content() {
    let hub = Hub::start(Database::Sqlite).await;
    let client = hub.client().await;
    let active: String = (0..ELEMENTS * 5).map(|number| format!("k{number}: {number}\n")).collect();
    create(&client, "p", Yaml, pb::PolicySettings::default()).await;
    release(&client, "p", &active).await;
    set_guardrails(&client, OWN, &[("kept", "active == null || content.n == active.content.k1")]).await;
    let documents: String = (0..ELEMENTS).map(|_| "---\nn: 1\n").collect();
    let good = client.draft(draft_of_its_kind("p", &documents)).await.expect("a draft");
    let name = good.version.expect("a version").name;
    client.stage(pb::StageRequest { name, ..Default::default() }).await.expect("it holds for every document");
    client.draft(draft_of_its_kind("p", &documents.replace("n: 1", "n: 2"))).await.expect("a draft");
    let request = pb::StageRequest { name: version("p", 3), ..Default::default() };
    let error = refused(client.stage(request).await, Code::FailedPrecondition, "VALIDATION_FAILED");
    assert!(error.message().contains("kept") && error.metadata()["pointer"].starts_with("/0"), "{error:?}");
}
