//! Rates of calls for a namespace and a principal: calls over a rate are refused before the database, with a time to retry, and without
//! effect on anybody else (docs/guarantees.md#g23).

use std::sync::Arc;
use std::time::Instant;

use policyhub::client::pb;
use policyhub::client::pb::policy_service_client::PolicyServiceClient;
use policyhub::client::{Client, ClientError};
use tokio::task::JoinSet;
use tonic::Code;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use crate::harness::calls::{NAMESPACE, draft_request, head, policy, publish, refused, release};
use crate::harness::http::metric;
use crate::harness::watching::DEADLINE;
use crate::harness::{Database, Hub, on_both_databases};
use crate::quotas::{grant, make, update};

/// One call a second: of consecutive calls, all but the first are refused.
const ONE_A_SECOND: pb::NamespaceQuotas = pb::NamespaceQuotas {
    max_policies: 0,
    max_versions: 0,
    max_content_bytes: 0,
    max_streams: 0,
    writes_per_second: 1,
    reads_per_second: 1,
};
/// Number of calls of a noisy tenant, and how many of them are concurrent.
const NOISE: usize = 1_200;
const NOISY_TASKS: usize = 12;
/// Rounds of the other tenant: a draft and a read each.
const NEIGHBOURS: usize = 20;
const STATEMENTS: &str = "policyhub_database_statements_total";
const REFUSED_READS: &str = r#"policyhub_quota_refusals_total{quota="reads_per_second"}"#;
const REFUSED_WRITES: &str = r#"policyhub_quota_refusals_total{quota="writes_per_second"}"#;

/// Returns a client of the service without the SDK's waits and retries.
async fn raw(hub: &Hub) -> PolicyServiceClient<InterceptedService<Channel, impl Interceptor + Clone + use<>>> {
    let token: MetadataValue<Ascii> = format!("Bearer {}", hub.token()).parse().expect("a header");
    let channel = Channel::from_shared(hub.grpc.clone()).expect("an address").connect().await;
    PolicyServiceClient::with_interceptor(channel.expect("a connection"), move |mut request: tonic::Request<()>| {
        request.metadata_mut().insert("authorization", token.clone());
        Ok(request)
    })
}

async fn read(client: &Client) -> Result<pb::GetPolicyResponse, ClientError> {
    client.get_policy(pb::GetPolicyRequest { name: policy("p") }).await
}

/// Reads until a read is refused: on a machine that stalls, several may be within the rate.
async fn refused_read(client: &Client) -> ClientError {
    for _ in 0..1_000 {
        if let Err(error) = read(client).await {
            return error;
        }
    }
    panic!("no read was refused");
}

/// Makes the calls of the other tenant, which must succeed.
async fn neighbour(client: &Client, number: usize) {
    let parent = "namespaces/team/policies/p".to_owned();
    let request = pb::DraftRequest { parent, ..draft_request("p", &format!("a: {number}")) };
    client.draft(request).await.expect("the neighbour's draft");
    let active = pb::ListActiveRequest { parent: "namespaces/team".to_owned(), ..Default::default() };
    client.list_active(active).await.expect("the neighbour's read");
}

fn counted(hub: &Hub, row: &str) -> f64 {
    metric(&hub.http, row).unwrap_or_else(|| panic!("no {row}"))
}

on_both_databases! {
    /// Given a call over its rate, the refusal names the rate and the time to retry; other kinds and other namespaces are not affected;
    /// whoever raises the rate is never refused.
    async fn a_rate_is_of_one_namespace_and_one_kind(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        make(&client, "team", pb::NamespaceQuotas::default()).await;
        grant(&client, ONE_A_SECOND).await;
        let error = refused_read(&client).await;
        assert_eq!((error.code(), error.reason()), (Code::ResourceExhausted, "RATE_LIMITED"));
        let of = |key: &str| error.metadata().get(key).map(String::as_str);
        assert_eq!(
            (of("quota"), of("limit_per_second"), of("subject")),
            (Some("reads_per_second"), Some("1"), Some(NAMESPACE))
        );
        let wait = error.retry_after().expect("a time to come again");
        assert!(!wait.is_zero() && wait.as_secs_f64() <= 1.0, "{wait:?}");
        // A report is no read, a read is no write, and another namespace has separate rates.
        let report = pb::ReportStatusRequest { name: format!("{NAMESPACE}/subscribers/s"), ..Default::default() };
        assert_ne!(client.report_status(report).await.expect_err("it says nothing").reason(), "RATE_LIMITED");
        for _ in 0..20 {
            let elsewhere = pb::GetNamespaceRequest { name: "namespaces/team".to_owned() };
            client.get_namespace(elsewhere).await.expect("another namespace");
        }
        let watched = pb::WatchActiveRequest { targets: vec![pb::WatchTarget { parent: NAMESPACE.to_owned(), ..Default::default() }], ..Default::default() };
        let mut refusals = 0;
        for _ in 0..20 {
            let opened = client.watch_active(watched.clone()).await;
            refusals += usize::from(opened.is_err_and(|error| error.reason() == "RATE_LIMITED"));
        }
        assert!(refusals > 0, "opening a watch is a read");
        // The SDK waits as long as the refusal says, so writes succeed one by one.
        publish(&client, "p", "a: 2").await;
        assert!(counted(&hub, REFUSED_READS) >= 2.0);
        update(&client, NAMESPACE, pb::NamespaceQuotas::default(), &["quotas"]).await.expect("never refused");
        for _ in 0..20 {
            read(&client).await.expect("no limit any more");
        }
    }

    /// Given a noisy tenant, its calls are refused before any query, and the other tenant is answered.
    async fn a_noisy_tenant_costs_its_neighbour_no_query(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        make(&client, "team", pb::NamespaceQuotas::default()).await;
        let asked = counted(&hub, STATEMENTS);
        for number in 0..NEIGHBOURS {
            neighbour(&client, number).await;
        }
        let each = (counted(&hub, STATEMENTS) - asked) / NEIGHBOURS as f64;
        grant(&client, ONE_A_SECOND).await;
        let (at, noisy) = (head_past_the_limit(&client).await, raw(&hub).await);
        let before = [STATEMENTS, REFUSED_READS, REFUSED_WRITES].map(|row| counted(&hub, row));
        let mut noise = JoinSet::new();
        for task in 0..NOISY_TASKS {
            let mut noisy = noisy.clone();
            noise.spawn(async move {
                let (mut refused, mut wrote) = (0_u32, 0_i64);
                for number in 0..NOISE / NOISY_TASKS {
                    let answer = if (task + number) % 2 == 0 {
                        let drafted = noisy.draft(draft_request("p", &format!("b: {task}.{number}"))).await;
                        wrote += i64::from(drafted.is_ok());
                        drafted.map(drop)
                    } else {
                        noisy.get_policy(pb::GetPolicyRequest { name: policy("p") }).await.map(drop)
                    };
                    match answer.map_err(ClientError::from) {
                        Ok(()) => {}
                        Err(error) => {
                            assert_eq!(error.reason(), "RATE_LIMITED", "{error:?}");
                            refused += 1;
                        }
                    }
                }
                (refused, wrote)
            });
        }
        // Meanwhile, the calls of the other tenant.
        for number in 0..NEIGHBOURS {
            neighbour(&client, number).await;
        }
        let ended = noise.join_all().await;
        let after = [STATEMENTS, REFUSED_READS, REFUSED_WRITES].map(|row| counted(&hub, row));
        let refused: u32 = ended.iter().map(|(refused, _)| refused).sum();
        let wrote: i64 = ended.iter().map(|(_, wrote)| wrote).sum();
        assert!(refused as usize > NOISE * 9 / 10, "only {refused} of {NOISE} were refused");
        assert_eq!(after[1] + after[2] - before[1] - before[2], f64::from(refused), "each is counted");
        // If each refused call made a single query, they would make four times as many as permitted here.
        let accepted = (NOISE - refused as usize + NEIGHBOURS) as f64;
        let (asked, room) = (after[0] - before[0], accepted * each + f64::from(refused) / 4.0);
        assert!(asked < room, "{asked} statements for {accepted} calls of {each} each and {refused} refusals");
        grant(&client, pb::NamespaceQuotas::default()).await;
        assert_eq!(head(&client).await, at + wrote, "a refused write leaves nothing");
    }

    /// Quotas are in effect from the first call after a restart.
    async fn a_restart_knows_what_was_granted(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        grant(&client, ONE_A_SECOND).await;
        let hub = hub.restart().await;
        assert_eq!(refused_read(&hub.client().await).await.reason(), "RATE_LIMITED");
    }
}

/// Returns the head of the log, with as many tries as needed.
async fn head_past_the_limit(client: &Client) -> i64 {
    let started = Instant::now();
    loop {
        let request = pb::GetNamespaceRequest { name: NAMESPACE.to_owned() };
        match client.get_namespace(request).await {
            Ok(found) => return found.namespace.and_then(|found| found.head).expect("a head").revision,
            Err(error) => assert!(error.reason() == "RATE_LIMITED" && started.elapsed() < DEADLINE, "{error:?}"),
        }
    }
}

#[tokio::test]
async fn another_replica_learns_what_was_granted() {
    let one = Hub::start(Database::Postgres).await;
    let keys = one.data_dir().join("keys").display().to_string();
    let dir = Arc::new(tempfile::tempdir().expect("a temporary directory"));
    let other = Hub::start_on(dir, one.database_url.clone(), &["--keys-dir", &keys]).await;
    let (client, there) = (one.client().await, other.client().await);
    release(&client, "p", "a: 1").await;
    read(&there).await.expect("no limit yet");
    grant(&client, ONE_A_SECOND).await;
    let started = Instant::now();
    while read(&there).await.is_ok() {
        assert!(started.elapsed() < DEADLINE, "the other replica never learned it");
    }
    grant(&client, pb::NamespaceQuotas::default()).await;
    let mut in_a_row = 0;
    while in_a_row < 20 {
        in_a_row = if read(&there).await.is_ok() { in_a_row + 1 } else { 0 };
        assert!(started.elapsed() < DEADLINE, "the other replica never learned it");
    }
}

#[tokio::test]
async fn a_principal_has_rates_and_watches_of_its_own() {
    let arguments = ["--principal-reads-per-second", "1", "--principal-max-streams", "1"];
    let hub = Hub::start_with(Database::Sqlite, &arguments).await;
    let client = hub.client().await;
    release(&client, "p", "a: 1").await;
    let error = refused_read(&client).await;
    let of = |key: &str| error.metadata().get(key).map(String::as_str);
    assert_eq!((error.reason(), of("subject")), ("RATE_LIMITED", Some("local:admin")));
    // The rate is of the caller, in whatever namespace it calls.
    let mut elsewhere = String::new();
    for _ in 0..100 {
        let request = pb::GetNamespaceRequest { name: "namespaces/nowhere".to_owned() };
        elsewhere = client.get_namespace(request).await.expect_err("it is not there").reason().to_owned();
        if elsewhere == "RATE_LIMITED" {
            break;
        }
    }
    assert_eq!(elsewhere, "RATE_LIMITED");
    // Another caller has its own rate.
    let issue = ["token", "issue", "--subject", "ci", "--ttl", "1h"];
    let issued = hub.cli().args(issue).output().expect("the binary runs");
    let token = String::from_utf8(issued.stdout).expect("UTF-8").trim().to_owned();
    let other = hub.client_with(Some(token)).await;
    let first = read(&other).await.map_err(|error| error.reason().to_owned());
    assert_ne!(first.err().as_deref(), Some("RATE_LIMITED"));
    // One watch at a time.
    let watched = pb::WatchActiveRequest {
        targets: vec![pb::WatchTarget { parent: NAMESPACE.to_owned(), ..Default::default() }],
        ..Default::default()
    };
    let started = Instant::now();
    let mut open = None;
    loop {
        assert!(started.elapsed() < DEADLINE, "no second watch was refused");
        match client.watch_active(watched.clone()).await {
            Ok(stream) => assert!(open.replace(stream).is_none(), "two watches of one principal"),
            Err(error) if error.reason() == "RATE_LIMITED" => {}
            error => {
                let error = refused(error, Code::ResourceExhausted, "QUOTA_EXCEEDED");
                assert_eq!(error.metadata()["subject"], "local:admin");
                assert!(open.is_some());
                break;
            }
        }
    }
}
