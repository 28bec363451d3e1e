//! A database over a network, and whether its identity is verified.

use std::sync::Arc;

use crate::harness::Hub;
use crate::harness::postgres::Cluster;

const WARNING: &str = "the database is remote and nothing proves who it is";

async fn log_of(url: String) -> String {
    let hub = Hub::start_on(Arc::new(tempfile::tempdir().expect("a temporary directory")), url, &[]).await;
    hub.log.lock().expect("the log").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_database_that_nothing_verifies_is_a_warning() {
    let url = Cluster::shared().create_database();
    assert!(!log_of(url).await.contains(WARNING), "loopback is no network");
    // A local address that is not loopback.
    for mode in ["", "?sslmode=disable", "?sslmode=prefer"] {
        let log = log_of(Cluster::shared().create_database().replace("127.0.0.1", "0.0.0.0") + mode).await;
        assert!(log.contains(WARNING) && log.contains("sslmode=verify-full"), "{mode}: {log}");
    }
}
