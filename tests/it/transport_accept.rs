//! Accepting connections: who may connect, how long the start may take, and what happens when the process has no file descriptors left.

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use policyhub::client::pb;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use crate::harness::frames::{EMPTY_MESSAGE, GOAWAY, HEADERS, Peer, SETTINGS, WireFrame};
use crate::harness::http::get;
use crate::harness::metrics::{self, counted};
use crate::harness::plain_server;
use crate::harness::watching::{DEADLINE, head};
use crate::harness::{Database, Hub};
use crate::tls::certificate;

const LIST_SIGNING_KEYS: &str = "/policyhub.v1.AdminService/ListSigningKeys";

#[tokio::test]
async fn a_silent_socket_is_closed() {
    let hub = Hub::start_with(Database::Sqlite, &["--handshake-timeout-ms", "200"]).await;
    let mut silent = Peer::silent(&hub.grpc).await;
    let mut halting = Peer::silent(&hub.grpc).await;
    halting.say(b"PRI * HTTP/2.0\r\n").await;
    assert_eq!(silent.next().await, None);
    assert_eq!(halting.next().await, None);
    metrics::wait_for(&hub, r#"policyhub_connections_closed_total{cause="handshake_timeout"} 2"#).await;
    let mut other = Peer::silent(&hub.grpc).await;
    other.say(b"GET / HTTP/1.1\r\nHost: policyhub\r\n\r\n").await;
    assert_eq!(other.next().await, None);
    metrics::wait_for(&hub, r#"policyhub_connections_closed_total{cause="handshake"} 1"#).await;
    // A client that has sent its preface has no further time limit.
    let mut peer = Peer::connect(&hub.grpc).await;
    peer.settings().await.expect("settings");
    assert!(peer.is_open_after(Duration::from_secs(1)).await);

    let mut silent = Peer::silent(&plain_server::server().await.to_string()).await;
    assert!(silent.is_open_after(Duration::from_secs(2)).await, "tonic waits");
}

#[tokio::test]
async fn a_silent_tls_handshake_is_closed() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (cert, key) = certificate(dir.path(), "server");
    let arguments = ["--tls-cert", &cert, "--tls-key", &key, "--handshake-timeout-ms", "200"];
    let hub = Hub::start_with(Database::Sqlite, &arguments).await;
    let mut silent = Peer::silent(&hub.grpc).await;
    let mut halting = Peer::silent(&hub.grpc).await;
    // The header of a handshake record without its content.
    halting.say(&[0x16, 0x03, 0x01, 0x01, 0x00]).await;
    assert_eq!(silent.next().await, None);
    assert_eq!(halting.next().await, None);
    metrics::wait_for(&hub, r#"policyhub_connections_closed_total{cause="handshake_timeout"} 2"#).await;
    let mut plain = Peer::connect(&hub.grpc).await;
    // A TLS alert, which is no HTTP/2 frame, and the end of the connection.
    while plain.next().await.is_some() {}
    metrics::wait_for(&hub, r#"policyhub_connections_closed_total{cause="handshake"} 1"#).await;
}

#[tokio::test]
async fn a_silent_client_of_the_http_port_is_closed() {
    let hub = Hub::start_with(Database::Sqlite, &["--handshake-timeout-ms", "200"]).await;
    let mut silent = Peer::silent(&hub.http).await;
    let mut halting = Peer::silent(&hub.http).await;
    halting.say(b"GET /livez HTTP/1.1\r\nHost:").await;
    let mut idle = Peer::silent(&hub.http).await;
    idle.say(b"GET /livez HTTP/1.1\r\nHost: policyhub\r\n\r\n").await;
    for peer in [&mut silent, &mut halting, &mut idle] {
        // An answer, if there was one, and the end, long before the connection's maximum age.
        let ended = async { while peer.next().await.is_some() {} };
        tokio::time::timeout(Duration::from_secs(30), ended).await.expect("the silence ends it");
    }
    let (status, _, body) = get(&hub.http, "/livez").expect("an answer");
    assert_eq!((status, body.as_str()), (200, "ok\n"));
}

/// Given a client that holds silent connections open, the oldest ones are closed, and probes still connect, also from the same address.
#[tokio::test]
async fn half_requests_do_not_starve_probes() {
    let hub = Hub::start_with(Database::Sqlite, &["--handshake-timeout-ms", "30000"]).await;
    let mut half = Vec::new();
    for number in 0..300 {
        let mut peer = Peer::silent(&hub.http).await;
        if number % 2 == 0 {
            peer.say(b"GET /livez HTTP/1.1\r\nHost:").await;
        }
        half.push(peer);
    }
    for path in ["/livez", "/readyz"] {
        let failed = (0..30).filter(|_| !matches!(get(&hub.http, path), Ok((200, ..)))).count();
        assert_eq!(failed, 0, "of 30 probes of {path} failed");
    }
    // Long before any other limit applies, the oldest connections are closed, and the newest ones are still open.
    let first = half.first_mut().expect("a peer");
    let ended = tokio::time::timeout(Duration::from_secs(15), first.next()).await;
    assert_eq!(ended.expect("closed at once"), None);
    assert!(half.last_mut().expect("a peer").is_open_after(Duration::from_millis(500)).await);
}

/// Opens a connection with an authenticated call.
async fn known(hub: &Hub) -> Peer {
    let mut peer = Peer::connect(&hub.grpc).await;
    peer.call(1, LIST_SIGNING_KEYS, Some(&hub.token()), &EMPTY_MESSAGE).await;
    peer.until(HEADERS).await.expect("an answer");
    peer
}

#[tokio::test]
async fn there_is_room_for_so_many_connections() {
    let hub = Hub::start_with(Database::Sqlite, &["--max-connections", "2"]).await;
    let mut first = known(&hub).await;
    let mut second = known(&hub).await;
    for _ in 0..3 {
        let mut third = Peer::connect(&hub.grpc).await;
        assert_eq!(third.settings().await, None, "refused at once, not left waiting");
    }
    let text = metrics::text(&hub);
    assert_eq!(counted(&text, r#"policyhub_connections_closed_total{cause="limit"}"#), Some(3.0), "{text}");
    assert_eq!(counted(&text, "policyhub_connections_open"), Some(2.0), "{text}");
    assert!(first.is_served().await && second.is_served().await, "those inside notice nothing");
    drop(first);
    metrics::wait_for(&hub, "policyhub_connections_open 1").await;
    assert!(Peer::connect(&hub.grpc).await.settings().await.is_some());
}

/// Given four networks with as many connections as permitted, another network can still connect, and no authenticated connection is closed
/// for it.
#[tokio::test]
async fn networks_that_fill_the_port_keep_nobody_out() {
    const MAX_CONNECTIONS: usize = 256;
    let hub = Hub::start_with(Database::Sqlite, &["--max-connections", &MAX_CONNECTIONS.to_string()]).await;
    let mut inside = known(&hub).await;
    let mut silent = Vec::new();
    for host in 2..=5 {
        for _ in 0..MAX_CONNECTIONS / 4 {
            let mut peer = Peer::connect_from(host, &hub.grpc).await;
            assert!(peer.settings().await.is_some(), "127.0.0.{host} gets in");
            silent.push(peer);
        }
    }
    for host in 6..=8 {
        let mut newcomer = Peer::connect_from(host, &hub.grpc).await;
        assert!(newcomer.settings().await.is_some(), "127.0.0.{host} is kept out");
        silent.push(newcomer);
    }
    head(&hub.client().await).await;
    assert!(inside.is_served().await, "whoever is known stays");
    assert!(silent.last_mut().expect("a peer").is_served().await, "the oldest give way, not the newest");
}

/// A connection without a credential is closed, and one with an authenticated call stays.
#[tokio::test]
async fn a_connection_without_a_credential_ends_early() {
    let hub = Hub::start_with(Database::Sqlite, &["--unidentified-connection-age-ms", "100"]).await;
    let mut known = known(&hub).await;
    let mut watching = Peer::connect(&hub.grpc).await;
    watching.call(1, "/grpc.health.v1.Health/Watch", None, &EMPTY_MESSAGE).await;
    assert!(watching.until(GOAWAY).await.is_some(), "a stream that anybody may open does not hold it");
    let mut silent = Peer::connect(&hub.grpc).await;
    assert!(silent.until(GOAWAY).await.is_some());
    assert!(known.is_served().await);
}

/// Returns the CPU time of a process so far, in hundredths of a second (`proc_pid_stat(5)`, fields 14 and 15).
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let (_, after) = stat.rsplit_once(')').expect("a name");
    after.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}

fn limit_files(pid: u32, files: usize) {
    let mut prlimit = Command::new("prlimit");
    let status = prlimit.args(["--pid", &pid.to_string(), &format!("--nofile={files}:")]).status();
    assert!(status.expect("prlimit runs").success());
}

/// Without file descriptors, the listening socket stays readable, so a loop that only retries would use a whole core.
#[tokio::test]
async fn without_file_descriptors_it_waits() {
    let hub = Hub::start(Database::Sqlite).await;
    let client = hub.client().await;
    // Open as many database connections as this test's calls need.
    futures_util::future::join_all((0..16).map(|_| head(&client))).await;
    let files = std::fs::read_dir(format!("/proc/{}/fd", hub.pid())).expect("a process").count();
    let started = Instant::now();
    limit_files(hub.pid(), files + 4);
    let mut waiting = Vec::new();
    for _ in 0..40 {
        waiting.push(Peer::connect(&hub.grpc).await);
    }
    let said = || hub.log.lock().expect("the log").contains("failed to accept a connection");
    let exhausted = async {
        while !said() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, exhausted).await.expect("it must run out of file descriptors");
    const WINDOW: Duration = Duration::from_secs(1);
    let before = cpu_ticks(hub.pid());
    tokio::time::sleep(WINDOW).await;
    let spent = cpu_ticks(hub.pid()) - before;
    assert!(spent < 30, "{spent} hundredths of a second of CPU in {WINDOW:?} of having nothing to do");
    // Open connections are served meanwhile, and new ones as soon as there are descriptors.
    head(&client).await;
    let mut last = waiting.pop().expect("one that waits");
    drop(waiting);
    assert!(last.settings().await.is_some(), "it takes connections again");
    client.list_signing_keys(pb::ListSigningKeysRequest::default()).await.expect("an answer");
    let text = metrics::text(&hub);
    let errors = counted(&text, "policyhub_accept_errors_total").expect("a count");
    // Never more often than the shortest pause permits, however long this took.
    let most = started.elapsed().as_secs_f64() / 0.05 + 1.0;
    assert!((2.0..=most).contains(&errors), "{errors} errors, at most {most}");
}

/// tonic's server retries at once after each error. Ours would take over 80 minutes for these retries.
#[tokio::test]
async fn tonic_does_not_wait() {
    const EMFILE: i32 = 24;
    let errors = (0..10_000).map(|_| Err::<tokio::net::TcpStream, _>(std::io::Error::from_raw_os_error(EMFILE)));
    let (_, health) = tonic_health::server::health_reporter();
    let served = Server::builder().add_service(health).serve_with_incoming(tokio_stream::iter(errors));
    tokio::time::timeout(DEADLINE, served).await.expect("it spins").expect("an end");
}

/// tonic's shutdown waits for a silent socket; ours does not.
#[tokio::test]
async fn a_silent_socket_does_not_hold_the_end_up() {
    let arguments = ["--handshake-timeout-ms", "30000", "--drain-timeout-ms", "22000"];
    let mut hub = Hub::start_with(Database::Sqlite, &arguments).await;
    let silent = Peer::silent(&hub.grpc).await;
    metrics::wait_for(&hub, "policyhub_connections_open 1").await;
    hub.signal("TERM");
    assert_eq!(tokio::time::timeout(DEADLINE, hub.ended()).await.expect("it ends").code(), Some(0));
    assert!(!hub.log.lock().expect("the log").contains("did not end in time"), "it waited for the deadline");
    drop(silent);
    // The listener is closed, so that clients fail fast.
    let address = hub.grpc.trim_start_matches("http://").to_owned();
    drop(TcpListener::bind(&address).expect("the port is free"));

    let stopped = CancellationToken::new();
    let (address, mut ended) = plain_server::serve(|server| server, stopped.clone()).await;
    let silent = Peer::silent(&address.to_string()).await;
    let mut served = Peer::connect(&address.to_string()).await;
    served.settings().await.expect("both are accepted");
    served.say(&WireFrame::bytes(SETTINGS, 1, 0, &[])).await;
    drop(served);
    stopped.cancel();
    assert!(tokio::time::timeout(Duration::from_secs(2), &mut ended).await.is_err(), "tonic waits for {silent:?}");
    ended.abort();
}
