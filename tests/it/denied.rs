//! Refusals of unauthenticated callers: each is counted, some are logged, never with a token, and a flood is bounded.

use std::time::Instant;

use policyhub::client::pb;

use crate::harness::metrics::{counted, text};
use crate::harness::watching::DEADLINE;
use crate::harness::{Database, Hub};

const CALLS: usize = 10_000;
const AT_ONCE: usize = 50;

/// Returns the lines of the log about refusals.
fn lines(hub: &Hub) -> Vec<serde_json::Value> {
    let log = hub.log.lock().expect("the log").clone();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    lines.filter(|line| line["target"] == "policyhub::denied").collect()
}

#[tokio::test]
async fn a_flood_of_bad_tokens_is_counted_and_bounded() {
    let hub = Hub::start(Database::Sqlite).await;
    let started = Instant::now();
    let callers: Vec<_> = (0..AT_ONCE)
        .map(|caller| {
            let client = hub.client_with(Some(format!("secret{caller}.not.a-token")));
            async move {
                let client = client.await;
                for _ in 0..CALLS / AT_ONCE {
                    let error =
                        client.list_namespaces(pb::ListNamespacesRequest::default()).await.expect_err("a refusal");
                    assert_eq!(error.code(), tonic::Code::Unauthenticated, "{error}");
                }
            }
        })
        .collect();
    futures_util::future::join_all(callers).await;
    let seconds = usize::try_from(started.elapsed().as_secs()).expect("a short time") + 1;
    let received = lines(&hub).iter().filter(|line| line["fields"]["message"] == "denied").count();
    assert!((100..=100 + 10 * seconds).contains(&received), "{received} lines in {seconds} s");
    let row = "policyhub_denied_calls_total{reason=\"TOKEN_MALFORMED\"}";
    assert_eq!(counted(&text(&hub), row), Some(CALLS as f64));

    // Refusals without a line of their own are counted in the log too.
    loop {
        let lines = lines(&hub);
        let suppressed: u64 = lines.iter().filter_map(|line| line["fields"]["suppressed"].as_u64()).sum();
        let received = lines.iter().filter(|line| line["fields"]["message"] == "denied").count() as u64;
        if suppressed + received == CALLS as u64 {
            break;
        }
        assert!(started.elapsed() < DEADLINE * 4, "{received} told and {suppressed} counted of {CALLS}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let one = &lines(&hub)[0]["fields"];
    assert_eq!(one["actor"], "anonymous");
    assert_eq!(one["method"], "/policyhub.v1.AdminService/ListNamespaces");
    assert_eq!(one["reason"], "TOKEN_MALFORMED");
    assert!(one["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{one}");
    let log = hub.log.lock().expect("the log").clone();
    assert!(!log.contains("secret"), "no part of a token is in the log");
}
