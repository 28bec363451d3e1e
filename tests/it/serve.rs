//! A server that runs and ends: its files, its HTTP port, its health, and its shutdown.

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use policyhub::client::pb::watch_active_response::Message;
use policyhub::client::signing::KeySet;
use policyhub::client::{Client, SetChange, pb};
use tokio_stream::StreamExt as _;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::calls::{Revision as _, activate, draft_request, policy, publish, release};
use crate::harness::http::get;
use crate::harness::proxy::NetworkProxy;
use crate::harness::subscribing::{at, eventually, subscribers};
use crate::harness::watching::{self, DEADLINE};
use crate::harness::{Database, Hub, on_both_databases};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("metadata").permissions().mode() & 0o777
}

#[tokio::test]
async fn what_it_writes_is_its_owners_alone() {
    let hub = Hub::start(Database::Sqlite).await;
    let data = hub.data_dir();
    let address: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(data.join("addr.json")).expect("addr.json")).expect("json");
    assert_eq!(format!("http://{}", address["grpc"].as_str().expect("grpc")), hub.grpc);
    assert_eq!(format!("http://{}", address["http"].as_str().expect("http")), hub.http);
    assert_eq!(mode(&data), 0o700);
    assert_eq!(mode(&data.join("keys")), 0o700);
    assert_eq!(mode(&data.join("admin.token")), 0o600);
    for name in ["signing-eddsa.pem", "seal.pem", "issuer.pem"] {
        assert_eq!(mode(&data.join("keys").join(name)), 0o600, "{name}");
    }
}

on_both_databases! {
    async fn the_http_port_answers(hub: Hub) {
        release(&hub.client().await, "p", "a: 1").await;
        let bad = pb::GetPolicyRequest { name: policy("absent") };
        hub.client().await.get_policy(bad).await.expect_err("no such policy");
        let http = hub.http.clone();
        for path in ["/livez", "/readyz"] {
            let (status, _, body) = get(&http, path).expect("an answer");
            assert_eq!((status, body.as_str()), (200, "ok\n"), "{path}");
        }
        let (status, head, body) = get(&http, "/metrics").expect("an answer");
        assert!(status == 200 && head.contains("content-type: text/plain; version=0.0.4"), "{head}");
        let counted = |method: &str, code: &str| {
            let (method, code) = (format!(r#"method="/policyhub.v1.PolicyService/{method}""#), format!(r#"code="{code}""#));
            let row = body.lines().find(|line| {
                line.starts_with("policyhub_rpc_calls") && line.contains(&method) && line.contains(&code)
            });
            row.and_then(|row| row.rsplit(' ').next()?.parse::<f64>().ok())
        };
        assert_eq!(counted("Draft", "Ok"), Some(1.0), "{body}");
        assert_eq!(counted("GetPolicy", "NotFound"), Some(1.0), "{body}");
        assert!(!body.contains("default") && !body.contains("absent"), "a metric names a tenant:\n{body}");

        let (status, head, body) = get(&http, "/.well-known/jwks.json").expect("an answer");
        assert!(status == 200 && head.contains("cache-control: public, max-age=60"), "{head}");
        let keys = KeySet::parse_jwks(body.as_bytes()).expect("a key set");
        assert_eq!(keys, watching::keys(&hub.client().await).await);
        assert!(!body.contains("\"d\""), "a private key is public: {body}");
        assert_eq!(get(&http, "/").expect("an answer").0, 404);
    }

    /// Given SIGTERM, streams are asked to reconnect, calls are finished, and the process ends with 0.
    async fn it_ends_as_it_is_asked_to(hub: Hub) {
        let mut hub = hub;
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        let mut watch = watching::open(&client).await;
        watching::change(&mut watch).await;
        let channel = Endpoint::from_shared(hub.grpc.clone()).expect("an endpoint").connect().await.expect("a connection");
        let mut health = HealthClient::new(channel);
        let ask = HealthCheckRequest { service: "policyhub.v1.SyncService".to_owned() };
        let mut health = health.watch(ask).await.expect("a stream").into_inner();
        assert_eq!(health.next().await.expect("a status").expect("a status").status().as_str_name(), "SERVING");

        hub.signal("TERM");
        match watching::change(&mut watch).await {
            SetChange::Reconnect { reason, backoff } => {
                assert_eq!(reason, "draining");
                assert!(backoff < std::time::Duration::from_secs(5), "{backoff:?}");
            }
            other => panic!("{other:?}"),
        }
        assert!(watch.next().await.expect("an end in order").is_none(), "reconnect is the last message");
        assert_eq!(health.next().await.expect("a status").expect("a status").status().as_str_name(), "NOT_SERVING");
        drop((watch, health, client));
        let status = tokio::time::timeout(DEADLINE, hub.ended()).await.expect("it ends");
        assert_eq!(status.code(), Some(0));
        assert_eq!(crate::harness::calls::active(&hub.restart().await.client().await, "p").await, 1);
    }
}

/// Publishes, activates and returns the revision.
async fn activated(client: &Client, content: &str) -> i64 {
    let version = publish(client, "p", content).await.version;
    activate(client, "p", version).await
}

/// `policyhub watch` survives a drain: it reconnects to the next server and misses nothing.
#[tokio::test]
async fn a_watching_command_goes_on_over_a_drain_and_a_kill() {
    let mut hub = Hub::start_with(Database::Sqlite, &["--heartbeat-interval-ms", "100"]).await;
    let client = hub.client().await;
    let (before, first) = (activated(&client, "a: 0").await, activated(&client, "a: 1").await);
    let proxy = NetworkProxy::before(hub.grpc_port()).await;
    let mut command = hub.cli();
    let arguments = ["watch", "--output", "json", "--subscriber-id", "shop", "--report", "--until-revision"];
    command.args(arguments).arg((first + 2 * (first - before)).to_string());
    command.arg("--server").arg(format!("http://127.0.0.1:{}", proxy.port));
    let child =
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().expect("it runs");
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output());
    let applied = async |client: &Client, revision: i64| {
        eventually("it is reported", async || {
            subscribers(client).await.get("shop").is_some_and(|shop| shop.applied == Some(at(revision)))
        })
        .await;
    };
    applied(&client, first).await;
    hub.signal("TERM");
    assert!(tokio::time::timeout(DEADLINE, hub.ended()).await.expect("it ends").success());
    let mut hub = hub.restart().await;
    proxy.aim(hub.grpc_port());
    let client = hub.client().await;
    let second = activated(&client, "a: 2").await;
    applied(&client, second).await;
    hub.kill().await;
    let hub = hub.restart().await;
    proxy.aim(hub.grpc_port());
    let third = activated(&hub.client().await, "a: 3").await;

    let output = tokio::time::timeout(DEADLINE, ended).await.expect("it ends").expect("a thread").expect("an output");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{err}");
    let messages: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let revisions = |name: &str| -> Vec<i64> {
        messages.iter().filter_map(|message| message[name]["cursor"]["revision"].as_i64()).collect()
    };
    assert_eq!((revisions("snapshot"), revisions("activation")), (vec![first], vec![second, third]), "{out}");
    assert!(messages.iter().any(|message| message["reconnect"]["reason"] == "RECONNECT_REASON_DRAINING"), "{out}");
    assert!(err.contains(&format!("server says draining; going on from 1:{first}")), "{err}");
}

/// Given a client that never reads its stream, the server can still end.
#[tokio::test]
async fn a_reader_that_is_stuck_is_left_behind() {
    let mut hub = Hub::start_with(Database::Sqlite, &["--drain-timeout-ms", "1000"]).await;
    let client = hub.client().await;
    for index in 0..8 {
        release(&client, &format!("large-{index}"), &format!("text: {}", "x".repeat(900 * 1024))).await;
    }
    // Far more than any window: the stream stays in the middle of its snapshot.
    let stuck = watching::raw(&client, None).await.expect("a stream");
    // And a connection that never sends anything.
    let silent = TcpStream::connect(hub.grpc.trim_start_matches("http://")).expect("a connection");
    hub.signal("TERM");
    // While it drains it reports that; it may end before anybody has asked.
    while let Ok((status, _, body)) = get(&hub.http, "/readyz") {
        assert!(matches!((status, body.as_str()), (200, "ok\n") | (503, "draining\n")), "{status} {body}");
    }
    let status = tokio::time::timeout(DEADLINE, hub.ended()).await.expect("it ends");
    assert_eq!(status.code(), Some(0));
    drop((stuck, silent));
}

/// Given a draining server, `/readyz` says so. A stuck reader keeps it draining for as long as this test needs.
#[tokio::test]
async fn while_it_drains_it_is_not_ready() {
    let mut hub = Hub::start_with(Database::Sqlite, &["--drain-timeout-ms", "20000"]).await;
    let client = hub.client().await;
    for index in 0..8 {
        release(&client, &format!("large-{index}"), &format!("text: {}", "x".repeat(900 * 1024))).await;
    }
    let mut stuck = watching::raw(&client, None).await.expect("a stream");
    hub.signal("TERM");
    loop {
        match get(&hub.http, "/readyz").expect("it drains, so it answers") {
            (503, _, body) => break assert_eq!(body, "draining\n"),
            (status, _, _) => assert_eq!(status, 200),
        }
    }
    assert_eq!(get(&hub.http, "/livez").expect("an answer").0, 200, "it lives until it has ended");
    // Now the reader reads. After a shutdown in order it gets the status; a reset connection has none.
    let mut last = None;
    let in_order = loop {
        match stuck.message().await {
            Ok(Some(message)) => last = message.message,
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    assert_eq!(in_order, matches!(last, Some(Message::Reconnect(_))), "{last:?}");
    drop((stuck, client));
    assert_eq!(tokio::time::timeout(DEADLINE, hub.ended()).await.expect("it ends").code(), Some(0));
}

/// Writes acknowledged before the signal are there; the others happened completely or not at all.
#[tokio::test]
async fn writes_at_the_end_are_whole() {
    let mut hub = Hub::start(Database::Sqlite).await;
    let client = hub.client().await;
    release(&client, "p", "a: 1").await;
    let writers = (0..8).map(|writer| {
        let client = client.clone();
        tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            while let Ok(answer) = client.draft(draft_request("p", &format!("a: {writer}"))).await {
                acknowledged.push(answer.cursor.revision());
            }
            acknowledged
        })
    });
    let writers: Vec<_> = writers.collect();
    while watching::head(&client).await < 40 {}
    hub.signal("TERM");
    assert_eq!(tokio::time::timeout(DEADLINE, hub.ended()).await.expect("it ends").code(), Some(0));
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.await.expect("a writer"));
    }
    let hub = hub.restart().await;
    let log = watching::log(&hub.client().await).await;
    let places: Vec<i64> = log.iter().map(|event| event.cursor.expect("a cursor").revision).collect();
    assert_eq!(places, (1..=places.len() as i64).collect::<Vec<_>>());
    assert!(!acknowledged.is_empty() && acknowledged.iter().all(|revision| places.contains(revision)));
}
