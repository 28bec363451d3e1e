//! The whole corpus of real policies, replayed through a server on each database: every version is published in the original order, then
//! everything is read back and verified. `make corpus` runs it and prints counts and rates.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Mutex;

use crate::harness::{Database, Hub};

mod history;
mod keys;
mod log;
mod publisher;
mod queues;
mod readback;
mod replay;
mod table;
mod watcher;

/// Runs one database at a time, so that the rates are not shared.
static TURN: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the whole corpus: make corpus"]
async fn sqlite() {
    replay_through(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the whole corpus: make corpus"]
async fn postgres() {
    replay_through(Database::Postgres).await;
}

async fn replay_through(database: Database) {
    let _turn = TURN.lock().await;
    let mut table = table::CorpusTable::new(database);
    let history = Arc::new(history::CorpusHistory::unpack());
    history.describe(&mut table);
    let hub = Hub::start_with(database, &["--heartbeat-interval-ms", "100"]).await;
    let client = hub.client().await;
    let keys = keys::CorpusKeys::of(&client).await;

    let watcher = watcher::CorpusWatcher::start(&client, &keys).await;
    let published = publisher::run(&client, &history, &mut table).await;
    let watched = watcher.level_at(published.last_revision).await;
    watched.describe(published.ended, &mut table);

    readback::versions(&client, &history, &keys, &mut table).await;
    let started = Instant::now();
    let events = log::read(&client).await;
    table.rate("events read", events.len(), started);
    let started = Instant::now();
    let replay = log::verify(&events, &keys);
    table.rate("events verified", events.len(), started);
    log::check_counts(&events, &history);
    log::check_head(&client, &events).await;

    let set_digest = readback::active_now(&client, &history, &replay, &keys).await;
    watched.check(&history, &replay, &set_digest);
    readback::active_then(&client, &history, &replay, &keys, &mut table).await;
    table.print();
}
