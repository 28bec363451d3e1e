//! Everything malformed that a connection can carry, as named cases against a real server.
//!
//! After each case the same server must answer a good call on another connection, within `HANG_MAX` like the case itself; at the end it
//! is the same process, nothing in its log panicked, and it has not grown by more than `GROWTH_MAX_KIB`.

mod beginnings;
mod case;
mod compression;
mod floods;
mod frames;
mod grpc;
pub mod hpack;
mod requests;
mod streams;
mod wire;

use std::collections::BTreeSet;
use std::time::Duration;

use policyhub::client::pb;

use crate::harness::calls::NAMESPACE;
use crate::harness::{Database, Hub};
use crate::tls::certificate;
use case::{AbuseCase, HANG_MAX, say_unread};

/// The lowest number of cases, so that none get lost unnoticed.
const CASES_MIN: usize = 300;
/// How much one table of cases may make a server grow, in KiB. The server keeps some memory per thread and in its allocator.
const GROWTH_MAX_KIB: u64 = 32 * 1024;
/// Settings with which the server ends connections that do not begin or do not answer, well before a test times out.
const IMPATIENT: &[&str] =
    &["--handshake-timeout-ms", "300", "--keepalive-interval-ms", "300", "--keepalive-timeout-ms", "300"];

/// Plays every case against one server and reports all failures at once.
async fn play(hub: &mut Hub, cases: &[AbuseCase]) {
    let address = hub.grpc.split_once("//").expect("a URL").1.to_owned();
    serves(hub).await.expect("a server");
    let before = resident_kib(hub);
    let mut wrong = Vec::new();
    for case in cases {
        if let Err(why) = case.play(&address).await {
            wrong.push(format!("{}: {why}", case.name));
        }
        if let Err(why) = serves(hub).await {
            wrong.push(format!("after {}: {why}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    unharmed(hub, before, GROWTH_MAX_KIB);
}

/// Checks that the server answers a good call on a new connection in time.
async fn serves(hub: &Hub) -> Result<(), String> {
    let ca = hub.dir.path().join("ca.pem");
    let call = async {
        let ca = std::fs::read(&ca).ok();
        let client = policyhub::client::Client::connect(&hub.grpc, Some(hub.token()), ca).await?;
        client.get_namespace(pb::GetNamespaceRequest { name: NAMESPACE.to_owned() }).await
    };
    match tokio::time::timeout(HANG_MAX, call).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("a good call was refused: {error:?}")),
        Err(_) => Err("a good call hangs".to_owned()),
    }
}

/// Checks that it is the same process, without a panic, and not much larger.
pub fn unharmed(hub: &mut Hub, before_kib: u64, growth_max_kib: u64) {
    assert!(hub.is_running(), "the server has ended");
    let log = hub.log.lock().expect("the log").clone();
    assert!(!log.contains("panic"), "a panic:\n{log}");
    let grown = resident_kib(hub).saturating_sub(before_kib);
    assert!(grown <= growth_max_kib, "the server grew by {grown} KiB");
}

/// Returns the resident memory of the server, in KiB.
pub fn resident_kib(hub: &Hub) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", hub.pid())).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn cases_are_many_and_have_names_of_their_own() {
    let tables = [
        frames::cases(),
        streams::cases(),
        compression::cases(),
        requests::cases(),
        grpc::cases("a.b.c"),
        floods::cases(),
        beginnings::plaintext(),
        beginnings::tls(),
    ];
    let names: Vec<&str> = tables.iter().flatten().map(|case| case.name).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "a name is there twice");
    assert!(names.len() >= CASES_MIN, "{} cases", names.len());
}

#[tokio::test]
async fn frames_that_are_none() {
    play(&mut Hub::start(Database::Sqlite).await, &frames::cases()).await;
}

#[tokio::test]
async fn streams_that_are_none() {
    play(&mut Hub::start(Database::Sqlite).await, &streams::cases()).await;
}

#[tokio::test]
async fn header_blocks_that_are_none() {
    play(&mut Hub::start(Database::Sqlite).await, &compression::cases()).await;
}

#[tokio::test]
async fn requests_that_are_none() {
    play(&mut Hub::start(Database::Sqlite).await, &requests::cases()).await;
}

#[tokio::test]
async fn calls_that_are_none() {
    let mut hub = Hub::start(Database::Sqlite).await;
    let token = hub.token();
    play(&mut hub, &grpc::cases(&token)).await;
}

#[tokio::test]
async fn floods_are_borne_or_ended() {
    play(&mut Hub::start(Database::Sqlite).await, &floods::cases()).await;
}

#[tokio::test]
async fn beginnings_that_are_none() {
    play(&mut Hub::start_with(Database::Sqlite, IMPATIENT).await, &beginnings::plaintext()).await;
}

#[tokio::test]
async fn handshakes_that_are_none() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (cert, key) = certificate(dir.path(), "server");
    let arguments = [&["--tls-cert", &cert, "--tls-key", &key], IMPATIENT].concat();
    let mut hub = Hub::start_with(Database::Sqlite, &arguments).await;
    std::fs::copy(&cert, hub.dir.path().join("ca.pem")).expect("a copy");
    play(&mut hub, &beginnings::tls()).await;
}

/// Given clients that send requests and never read, the server's memory for answers stays bounded.
#[tokio::test]
async fn answers_nobody_reads_cost_little() {
    let mut hub = Hub::start(Database::Sqlite).await;
    let address = hub.grpc.split_once("//").expect("a URL").1.to_owned();
    serves(&hub).await.expect("a server");
    let before = resident_kib(&hub);
    for (name, bytes) in floods::unread() {
        let begun = [wire::PREFACE, &wire::setting(2, 0), &bytes].concat();
        let open = say_unread(&address, &begun, Duration::from_millis(500)).await;
        serves(&hub).await.unwrap_or_else(|why| panic!("{name}: {why}"));
        unharmed(&mut hub, before, GROWTH_MAX_KIB);
        drop(open);
    }
}
