//! An older copy that an operator puts in place of the database, or a promoted standby that lacks the tail; and the bump of the epoch that
//! accepts the loss (docs/guarantees.md#g1b).
//!
//! Before the copy is put in place, clients are disconnected and the log is read once more: it has everything that anybody was answered,
//! so that the validators know what was given up.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::calls::{FaultCaller, NAMESPACE};
use super::check::record::{Branch, RecordedEvent};
use super::fault::Link;
use super::proxy::{Mode, ProxyEnding};
use super::recorder::Recorder;
use super::world::{Deployment, END_MAX_MS};

/// Number of writes that are acknowledged between the copy and its return, and how long they are waited for.
const TAIL_WRITES: usize = 8;
const TAIL_MAX: Duration = Duration::from_secs(4);
/// How long reading the log and raising the epoch may take.
const STEP_MAX: Duration = Duration::from_secs(20);
/// How long a standby follows the writers before it is disconnected.
const STREAMS_FOR: Duration = Duration::from_millis(300);
/// Pause between two reads of the log, which must be equal: then all begun writes have ended.
const LOG_REST: Duration = Duration::from_millis(300);

/// What replaces the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replacement {
    /// A copy of its files.
    Copy,
    /// A standby of PostgreSQL that streamed until it was disconnected.
    Standby,
}

/// Replaces the database. Returns whether anything was lost.
///
/// # Errors
/// What did not go as an operator would have it.
pub async fn strike(
    world: &mut Deployment,
    replacement: Replacement,
    hold: Duration,
    recorder: &Recorder,
) -> Result<bool, String> {
    (0..world.servers.len()).for_each(|replica| world.open_database_link(replica));
    let (kept, copied) = match replacement {
        Replacement::Copy => {
            let kept = copy(world).await?;
            let copied = recorder.now();
            resume(world).await?;
            (kept, copied)
        }
        Replacement::Standby => (Vec::new(), stream(world, recorder).await?),
    };
    let (wanted, deadline) = (recorder.acknowledged() + TAIL_WRITES, Instant::now() + TAIL_MAX);
    while recorder.acknowledged() < wanted && Instant::now() < deadline {
        sleep(Duration::from_millis(5)).await;
    }
    for replica in 0..world.servers.len() {
        let link = world.link(Link::Clients(replica));
        link.set(Mode::Isolated);
        link.end(ProxyEnding::Reset);
    }
    let mut logs = vec![read_log(world, NAMESPACE).await?];
    for other in recorder.others() {
        logs.push(read_log(world, &other.namespace).await?);
    }
    match replacement {
        Replacement::Copy => put_back(world, &kept).await?,
        Replacement::Standby => promote(world).await?,
    }
    let replaced = recorder.now();
    (0..world.servers.len()).for_each(|replica| world.link(Link::Clients(replica)).set(Mode::Open));
    sleep(hold).await;
    let raised_logs = raise(world).await?;
    let raised = recorder.now();
    let recorders = std::iter::once(recorder).chain(recorder.others().iter().map(AsRef::as_ref));
    for (recorder, log) in recorders.zip(logs) {
        recorder.note(|history| history.branches.push(Branch { log, copied, replaced, raised }));
    }
    Ok(raised_logs > 0)
}

/// Lets a standby stream, and disconnects it. Returns a time up to which it has all writes.
async fn stream(world: &Deployment, recorder: &Recorder) -> Result<Duration, String> {
    let postgres = world.postgres.clone().ok_or("there is no standby of SQLite")?;
    let began = tokio::task::spawn_blocking({
        let postgres = Arc::clone(&postgres);
        move || postgres.start_standby()
    });
    began.await.map_err(|error| error.to_string())??;
    sleep(STREAMS_FOR).await;
    let copied = recorder.now();
    tokio::task::spawn_blocking(move || postgres.cut_standby_off()).await.map_err(|error| error.to_string())??;
    Ok(copied)
}

/// Kills PostgreSQL and promotes the standby.
async fn promote(world: &mut Deployment) -> Result<(), String> {
    let postgres = world.postgres.clone().ok_or("there is no standby of SQLite")?;
    world.postgres_is_down = true;
    tokio::task::spawn_blocking(move || postgres.promote_standby()).await.map_err(|error| error.to_string())??;
    world.postgres_is_down = false;
    Ok(())
}

/// Stops what writes, and copies the database.
async fn copy(world: &mut Deployment) -> Result<Vec<(PathBuf, PathBuf)>, String> {
    if let Some(postgres) = world.postgres.clone() {
        world.postgres_is_down = true;
        tokio::task::spawn_blocking(move || postgres.copy_when_killed()).await.map_err(|error| error.to_string())??;
        return Ok(Vec::new());
    }
    stop(world).await?;
    let database = world.servers[0].data().join("policyhub.db");
    let mut kept = Vec::new();
    for suffix in ["", "-wal"] {
        let file = PathBuf::from(format!("{}{suffix}", database.display()));
        let copy = PathBuf::from(format!("{}.kept{suffix}", database.display()));
        if file.exists() {
            std::fs::copy(&file, &copy).map_err(|error| error.to_string())?;
            kept.push((copy, file));
        }
    }
    Ok(kept)
}

/// Replaces the database by the copy.
async fn put_back(world: &mut Deployment, kept: &[(PathBuf, PathBuf)]) -> Result<(), String> {
    if let Some(postgres) = world.postgres.clone() {
        world.postgres_is_down = true;
        tokio::task::spawn_blocking(move || postgres.put_copy_back()).await.map_err(|error| error.to_string())??;
        return resume(world).await;
    }
    stop(world).await?;
    let database = world.servers[0].data().join("policyhub.db");
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", database.display()));
    }
    for (copy, file) in kept {
        std::fs::rename(copy, file).map_err(|error| error.to_string())?;
    }
    if let Some((disk, _)) = &world.disk {
        disk.adopt().map_err(|error| error.to_string())?;
    }
    resume(world).await
}

/// Stops the server of SQLite in order.
async fn stop(world: &mut Deployment) -> Result<(), String> {
    world.servers[0].signal("TERM");
    let ended = world.servers[0].ended(Duration::from_millis(END_MAX_MS)).await;
    let in_order = ended.is_some_and(|status| status.success());
    world.servers[0].kill();
    if in_order { Ok(()) } else { Err(format!("the server did not end in order before a copy: {ended:?}")) }
}

/// Starts what was stopped.
async fn resume(world: &mut Deployment) -> Result<(), String> {
    if let Some(postgres) = world.postgres.clone() {
        tokio::task::spawn_blocking(move || postgres.start_again()).await.map_err(|error| error.to_string())?;
        world.postgres_is_down = false;
        return Ok(());
    }
    world.start_server(0).await
}

/// Returns the log once nothing is added to it any more.
async fn read_log(world: &Deployment, namespace: &str) -> Result<Vec<RecordedEvent>, String> {
    let token = world.servers[0].token().map_err(|error| error.to_string())?;
    // Not through the proxies, because clients are disconnected.
    let caller = FaultCaller::new(world.servers[0].grpc, &token).of(namespace);
    let deadline = Instant::now() + STEP_MAX;
    let mut before: Option<Vec<RecordedEvent>> = None;
    loop {
        match caller.log().await {
            Ok(log) if before.as_ref().is_some_and(|before| before.len() == log.len()) => return Ok(log),
            Ok(log) => before = Some(log),
            Err(error) if Instant::now() > deadline => return Err(format!("the log before a restore: {error}")),
            Err(_) => {}
        }
        sleep(LOG_REST).await;
    }
}

/// Accepts the loss. Returns how many logs were raised: 0 when nothing was lost.
async fn raise(world: &Deployment) -> Result<i64, String> {
    let deadline = Instant::now() + STEP_MAX;
    loop {
        let mut command = Command::new(super::server::binary());
        command.args(["epoch", "bump", "--accept-loss", "--output", "json"]).arg("--data-dir");
        command.arg(world.servers[0].data()).args(world.servers[0].store_arguments());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("POLICYHUB_")) {
            command.env_remove(name);
        }
        // Its writes must reach the same disk.
        world.mount(0, &mut command);
        command.stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output()).await.map_err(|error| error.to_string())?;
        let output = output.map_err(|error| error.to_string())?;
        if output.status.success() {
            let said: serde_json::Value = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
            return said["raised"].as_i64().ok_or_else(|| format!("a bump said {said}"));
        }
        if Instant::now() > deadline {
            return Err(format!("no bump in {STEP_MAX:?}: {}", String::from_utf8_lossy(&output.stderr)));
        }
        sleep(LOG_REST).await;
    }
}
