//! Hostile Cedar and Rego: each ends in a verdict or a named limit, and the server answers other tenants.

use policyhub::client::pb::PolicyKind::{Cedar, Rego};
use policyhub::client::{CONTENT_MAX_BYTES, Client, pb};

use crate::engines::{check, checked};
use crate::harness::calls::release;
use crate::harness::{Database, Hub};

/// The text that every finding of a limit begins with.
const OVER_LIMIT: &str = "CHECK_LIMIT_EXCEEDED (";

/// Stages a hostile content beside a policy of somebody else, and returns the first finding of the check.
async fn first_finding(kind: pb::PolicyKind, content: &str, check_id: &str) -> String {
    let hub = Hub::start(Database::Sqlite).await;
    let client: Client = hub.client().await;
    let (_, report) = checked(&client, "hostile", kind, content.as_bytes().to_vec(), "").await;
    release(&client, "other", "a: 1").await;
    check(&report, check_id).findings[0].message.clone()
}

/// Returns a content of several files with one test.
async fn tested(body: &str) -> String {
    let text: &'static str = format!("package t\n\n{body}\n").leak();
    let file = policyhub::checks::content_tar::ContentFile { path: "t_test.rego".to_owned(), bytes: text.as_bytes() };
    let content = policyhub::checks::content_tar::write(vec![file]).expect("a content");
    let hub = Hub::start(Database::Sqlite).await;
    let client = hub.client().await;
    let (staged, report) = checked(&client, "hostile", Rego, content, "application/x-tar").await;
    release(&client, "other", "a: 1").await;
    assert!(!staged, "{report:?}");
    let messages: Vec<&str> = check(&report, "rego").findings.iter().map(|found| found.message.as_str()).collect();
    messages.join("; ")
}

#[tokio::test]
async fn deep_parentheses_in_cedar() {
    let deep =
        format!("permit(principal, action, resource) when {{ {}1{} == 1 }};", "(".repeat(100_000), ")".repeat(100_000));
    let found = first_finding(Cedar, &deep, "parse").await;
    assert!(found.starts_with(OVER_LIMIT) || found.contains("recursion") || found.contains("deep"), "{found}");
}

#[tokio::test]
async fn a_large_cedar_policy() {
    let one = "permit(principal == User::\"someone\", action, resource);\n";
    let found = first_finding(Cedar, &one.repeat(CONTENT_MAX_BYTES / one.len()), "parse").await;
    assert!(found.starts_with("Cedar: ") || found.starts_with(OVER_LIMIT), "{found}");
}

#[tokio::test]
async fn deep_expressions_in_rego() {
    let found =
        first_finding(Rego, &format!("package p\n\nx := {}1{}\n", "[".repeat(100_000), "]".repeat(100_000)), "parse")
            .await;
    assert!(found.contains("depth") || found.starts_with(OVER_LIMIT), "{found}");
}

#[tokio::test]
async fn a_comprehension_that_does_not_end() {
    let found = tested(
        "test_a if count([1 | some x in numbers.range(0, 10000000); some y in numbers.range(0, 10000000); x == y]) > 0",
    )
    .await;
    assert!(found.starts_with(OVER_LIMIT), "{found}");
}

#[tokio::test]
async fn a_product_that_needs_no_memory() {
    let found = tested(
        "r := numbers.range(0, 2000)\n\ntest_a if {\n  some x in r\n  some y in r\n  some z in r\n  x + y + z < 0\n}",
    )
    .await;
    assert!(found.starts_with(OVER_LIMIT), "{found}");
}

#[tokio::test]
async fn a_pattern_that_explodes() {
    let found = tested("test_a if regex.match(`((a{1,1000}){1,1000}){1,1000}$`, \"aaaa\")").await;
    assert!(found.starts_with("1 of 1 test failed") || found.starts_with(OVER_LIMIT), "{found}");
    let back = tested("test_a if regex.match(`^(a+)+$`, concat(\"\", [\"a\" | some _ in numbers.range(0, 5000)]) )\n\ntest_b if false").await;
    assert!(back.contains(" failed") || back.starts_with(OVER_LIMIT), "{back}");
}

#[tokio::test]
async fn rego_reaches_nothing_outside() {
    let found =
        tested("test_a if http.send({\"method\": \"get\", \"url\": \"http://127.0.0.1\"}).status_code == 200").await;
    assert!(found.contains("http.send is not available in a check"), "{found}");
}
