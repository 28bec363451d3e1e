//! A server is killed, and then the power fails: what the next server read from the write-ahead log is still there after the power cut
//! (docs/guarantees.md#g1).

use std::fs;
use std::path::Path;

use policyhub::client::Client;

use crate::harness::Hub;
use crate::harness::calls::{draft, draft_request};
use crate::harness::copies::with_suffix;
use crate::harness::disk_error::{DiskOperation, ENOSPC, FailingDisk, HANGS};
use crate::harness::outages::until;
use crate::harness::watching::{self, LIVELY};

/// Reduces the database to what was flushed.
fn cut(database: &Path, durable: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let file = with_suffix(database, suffix);
        let flushed = durable.join(file.file_name().expect("a name"));
        match fs::read(&flushed) {
            Ok(bytes) => fs::write(&file, bytes).expect("written"),
            Err(_) => drop(fs::remove_file(&file)),
        }
    }
}

/// Kills the server while a write is in the write-ahead log and its flush has not ended.
async fn killed_before_a_flush(hub: &mut Hub, disk: &FailingDisk, client: Client) {
    let before = disk.failures();
    disk.fail_all(&[DiskOperation::Sync], HANGS, &["-wal"]);
    let hanging = tokio::spawn(async move { client.draft(draft_request("p", "a: 2")).await });
    until("the flush hangs", || disk.failures() > before).await;
    hub.kill().await;
    assert!(hanging.await.expect("a task").is_err(), "it was not acknowledged");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_start_showed_survives_a_power_cut() {
    let (mut hub, disk, durable) = Hub::start_on_losing_disk(LIVELY).await;
    let client = hub.client().await;
    draft(&client, "p", "a: 1").await;
    let acknowledged = watching::log(&client).await.len();
    killed_before_a_flush(&mut hub, &disk, client).await;
    // The next server writes nothing, so that no write of its own flushes the log.
    disk.fail_all(&[DiskOperation::Write], ENOSPC, &["policyhub.db", "-wal"]);
    let mut hub = hub.restart().await;
    let shown = watching::log(&hub.client().await).await;
    assert_eq!(shown.len(), acknowledged + 1, "what was in the log and not flushed is shown: else this shows nothing");
    hub.kill().await;
    cut(&hub.data_dir().join("policyhub.db"), &durable);
    disk.heal();
    let hub = hub.restart().await;
    let client = hub.client().await;
    let after = watching::log(&client).await;
    assert_eq!(after.len(), shown.len(), "what was shown is gone");
    assert_eq!(after.last().map(|event| &event.hash), shown.last().map(|event| &event.hash));
    draft(&client, "p", "a: 3").await;
}
