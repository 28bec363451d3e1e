//! Probes are answered whatever unauthenticated clients do to the gRPC port.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::harness::frames::{EMPTY_MESSAGE, Peer};
use crate::harness::http::get;
use crate::harness::{Database, Hub};

const STRANGERS: usize = 4;
const CALLS_PER_CONNECTION: u32 = 100;
const PROBES: usize = 30;
/// The default timeout of a kubelet's probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Opens one connection after the other and sends complete small calls without a token, as many as one connection permits.
async fn flood(address: String, calls: Arc<AtomicUsize>, is_over: Arc<AtomicBool>) {
    let mut connections = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let mut peer = Peer::connect(&address).await;
        for number in 0..CALLS_PER_CONNECTION {
            peer.call(2 * number + 1, "/policyhub.v1.SyncService/GetActive", None, &EMPTY_MESSAGE).await;
            calls.fetch_add(1, Ordering::Relaxed);
        }
        connections.push(peer);
    }
}

/// Given calls that are small, complete and well formed, no limit on incomplete requests applies; probes are still answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_without_a_token_starve_no_probe() {
    let hub = Hub::start(Database::Sqlite).await;
    let (calls, is_over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let mut strangers = JoinSet::new();
    for _ in 0..STRANGERS {
        strangers.spawn(flood(hub.grpc.clone(), Arc::clone(&calls), Arc::clone(&is_over)));
    }
    let mut failed = Vec::new();
    for number in 0..PROBES {
        // Each probe runs during calls that came after the one before.
        let before = calls.load(Ordering::Relaxed);
        while calls.load(Ordering::Relaxed) < before + CALLS_PER_CONNECTION as usize {
            tokio::task::yield_now().await;
        }
        let address = hub.http.clone();
        let probe = tokio::task::spawn_blocking(move || get(&address, "/livez"));
        match tokio::time::timeout(PROBE_TIMEOUT, probe).await {
            Ok(Ok(Ok((200, ..)))) => {}
            answer => failed.push(format!("probe {number}: {answer:?}")),
        }
    }
    is_over.store(true, Ordering::Relaxed);
    strangers.shutdown().await;
    assert!(failed.is_empty(), "after {} calls: {failed:?}", calls.load(Ordering::Relaxed));
}
