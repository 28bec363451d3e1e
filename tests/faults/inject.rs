//! What each fault does to the world.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::check::record::Drain;
use super::disk_error::{EIO, ENOSPC, FailingDisk, Operation};
use super::fault::{DiskError, Fault, THROTTLE_BYTES_PER_SECOND};
use super::plan::Step;
use super::proxy::{Ending, Mode};
use super::recorder::Recorder;
use super::storm;
use super::stuck;
use super::world::{DRAIN_MAX_MS, END_MAX_MS, World};

/// How long a COMMIT is waited for that shall be lost.
const COMMIT_WAIT: Duration = Duration::from_secs(2);
/// How long the calls are waited for that shall fail.
const DISK_WAIT: Duration = Duration::from_secs(2);
/// The files of SQLite whose calls fail: the database and its write-ahead log.
const DISK_FILES: [&str; 2] = ["policyhub.db", "policyhub.db-wal"];

/// Strikes. Answers whether it struck: a COMMIT that nobody sent can't be lost.
pub async fn strike(world: &mut World, step: &Step, recorder: &Recorder) -> bool {
    let hold = Duration::from_millis(step.hold_ms);
    match step.fault {
        Fault::KillServer(replica) => {
            world.servers[replica].kill();
            sleep(hold / 4).await;
            start(world, replica, recorder).await;
        }
        Fault::PauseServer(replica) => {
            world.servers[replica].signal("STOP");
            sleep(hold).await;
            world.servers[replica].signal("CONT");
        }
        Fault::DrainServer(replica) => drain(world, replica, recorder).await,
        Fault::PowerCut => {
            world.servers[0].kill();
            match world.disk.as_ref().map(|(disk, _)| (disk.was_synced(), disk.cut())) {
                Some((true, Ok(_))) => {}
                other => recorder.overdue(format!("the power cut was none: {other:?}")),
            }
            start(world, 0, recorder).await;
        }
        Fault::Disk { error, first, count } => return disk_fails(world, error, (first, count), hold, recorder).await,
        Fault::KillPostgres | Fault::PausePostgres | Fault::TerminateBackends => on_postgres(world, step).await,
        Fault::Cut(link) => world.link(link).end(Ending::Fin),
        Fault::Reset(link) => world.link(link).end(Ending::Reset),
        Fault::Blackhole(link) => world.link(link).set_for(Mode::Blackhole, hold),
        Fault::Delay(link, ms) => world.link(link).set_for(Mode::Delay(Duration::from_millis(ms)), hold),
        Fault::Throttle(link) => world.link(link).set_for(Mode::Throttle(THROTTLE_BYTES_PER_SECOND), hold),
        Fault::LoseCommit(replica) => return lose(world, replica, Mode::LoseCommit).await,
        Fault::LoseCommitAnswer(replica) => return lose(world, replica, Mode::LoseCommitAnswer).await,
        Fault::Storm(streams) => storm::strike(world, streams, recorder).await,
        Fault::Stuck(readers) => {
            stuck::strike(world, readers, recorder).await;
        }
    }
    true
}

async fn start(world: &mut World, replica: usize, recorder: &Recorder) {
    if let Err(said) = world.start_server(replica).await {
        recorder.overdue(format!("replica {replica}: {said}"));
    }
}

/// SIGTERM under load, and the end that must follow; then it starts again.
pub async fn drain(world: &mut World, replica: usize, recorder: &Recorder) {
    let began = Instant::now();
    let allowed = Duration::from_millis(END_MAX_MS);
    world.servers[replica].signal("TERM");
    let ended = world.servers[replica].ended(allowed + Duration::from_millis(DRAIN_MAX_MS)).await;
    let success = ended.is_some_and(|status| status.success());
    recorder.note(|history| history.drains.push(Drain { replica, took: began.elapsed(), allowed, success }));
    world.servers[replica].kill();
    start(world, replica, recorder).await;
}

async fn on_postgres(world: &mut World, step: &Step) {
    let Some(postgres) = world.postgres.clone() else { return };
    let hold = Duration::from_millis(step.hold_ms);
    let name = world.database_name.clone();
    let fault = step.fault;
    world.postgres_is_down = fault == Fault::KillPostgres;
    let done = tokio::task::spawn_blocking(move || match fault {
        Fault::KillPostgres => {
            postgres.kill();
            std::thread::sleep(hold);
            postgres.start_again();
        }
        Fault::PausePostgres => {
            postgres.signal("STOP");
            std::thread::sleep(hold);
            postgres.signal("CONT");
        }
        _ => postgres.terminate_backends(&name),
    });
    done.await.expect("PostgreSQL is struck");
    world.postgres_is_down = false;
}

async fn lose(world: &World, replica: usize, mode: Mode) -> bool {
    let link = world.link(super::plan::Link::Database(replica));
    let before = link.lost_commits();
    link.set(mode);
    let deadline = Instant::now() + COMMIT_WAIT;
    while link.lost_commits() == before && Instant::now() < deadline {
        sleep(Duration::from_millis(2)).await;
    }
    link.set(Mode::Open);
    link.lost_commits() > before
}

/// Calls on SQLite's files fail until the fault is over. Answers whether any did.
async fn disk_fails(
    world: &mut World,
    error: DiskError,
    (first, count): (u32, u32),
    hold: Duration,
    recorder: &Recorder,
) -> bool {
    let Some(failing) = world.disk.as_ref().map(|(_, failing)| failing) else { return false };
    let before = failing.failures();
    let (operation, errno) = match error {
        DiskError::Write(errno) => (Operation::Write, errno),
        DiskError::ShortWrite(errno) => (Operation::ShortWrite, errno),
        DiskError::Sync(errno) => (Operation::Sync, errno),
        DiskError::Truncate => (Operation::Truncate, EIO),
        DiskError::Full => (Operation::Write, ENOSPC),
    };
    failing.fail(operation, first, count, errno, &DISK_FILES);
    if error == DiskError::Truncate {
        drain(world, 0, recorder).await;
    } else {
        strikes(failing, before + count.max(1) as usize).await;
        sleep(hold).await;
    }
    let Some((_, failing)) = &world.disk else { return false };
    failing.heal();
    failing.failures() > before
}

/// Waits until so many calls have failed.
async fn strikes(failing: &FailingDisk, wanted: usize) {
    let deadline = Instant::now() + DISK_WAIT;
    while failing.failures() < wanted && Instant::now() < deadline {
        sleep(Duration::from_millis(2)).await;
    }
}
