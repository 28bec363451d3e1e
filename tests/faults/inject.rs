//! Applies each fault to the deployment.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::check::record::Drain;
use super::disk_error::{DiskOperation, EIO, ENOSPC, FailingDisk};
use super::fault::{DiskError, FILES_LEFT, InjectedFault, Link, MEMORY_LEFT_BYTES, THROTTLE_BYTES_PER_SECOND};
use super::plan::PlanStep;
use super::proxy::{Mode, ProxyEnding};
use super::recorder::Recorder;
use super::restore::{self, Replacement};
use super::server;
use super::storm;
use super::stuck;
use super::world::{DRAIN_MAX_MS, Deployment, END_MAX_MS};

/// How long to wait for a COMMIT that is to be lost.
const COMMIT_WAIT: Duration = Duration::from_secs(2);
/// How long to wait for the calls that are to fail.
const DISK_WAIT: Duration = Duration::from_secs(2);
/// A longer fault is waited for; a shorter one runs beside the writers.
const LONG_HOLD: Duration = Duration::from_secs(5);
/// The files of SQLite whose calls fail: the database and its write-ahead log.
const DISK_FILES: [&str; 2] = ["policyhub.db", "policyhub.db-wal"];

/// Applies a fault and records how long it is active. Returns whether it had an effect: a COMMIT that nobody sent can't be lost.
pub async fn strike(world: &mut Deployment, step: &PlanStep, recorder: &Recorder) -> bool {
    let (place, replica) = step.fault.disturbs();
    let trouble = recorder.begin_trouble(place, replica);
    let struck = inflict(world, step, recorder).await;
    recorder.end_trouble(trouble, Duration::from_millis(step.hold_ms));
    struck
}

async fn inflict(world: &mut Deployment, step: &PlanStep, recorder: &Recorder) -> bool {
    let hold = Duration::from_millis(step.hold_ms);
    match step.fault {
        InjectedFault::KillServer(replica) => {
            world.servers[replica].kill();
            sleep(hold / 4).await;
            start(world, replica, recorder).await;
        }
        InjectedFault::PauseServer(replica) => {
            world.servers[replica].signal("STOP");
            sleep(hold).await;
            world.servers[replica].signal("CONT");
        }
        InjectedFault::DrainServer(replica) => drain(world, replica, recorder).await,
        InjectedFault::Upgrade(replica) => {
            // The first one migrates the database: from then on, the earlier version can't start again.
            world.servers.iter_mut().for_each(|server| server.runs_from_now_on(server::binary()));
            drain(world, replica, recorder).await;
        }
        InjectedFault::PowerCut => {
            world.servers[0].kill();
            match world.disk.as_ref().map(|(disk, _)| (disk.was_synced(), disk.cut())) {
                Some((true, Ok(_))) => {}
                other => recorder.overdue(format!("the power cut was none: {other:?}")),
            }
            start(world, 0, recorder).await;
        }
        InjectedFault::Disk { error, first, count } => {
            return disk_fails(world, error, (first, count), hold, recorder).await;
        }
        InjectedFault::Restore | InjectedFault::Promote => {
            let replacement =
                if step.fault == InjectedFault::Promote { Replacement::Standby } else { Replacement::Copy };
            let replaced = restore::strike(world, replacement, hold, recorder).await;
            return replaced.map_err(|said| recorder.overdue(format!("{}: {said}", step.fault.name()))).is_ok();
        }
        InjectedFault::PowerCutPostgres => return cut_power_of_postgres(world, hold, recorder).await,
        InjectedFault::KillPostgres | InjectedFault::PausePostgres | InjectedFault::TerminateBackends => {
            on_postgres(world, step).await
        }
        InjectedFault::Cut(link) => world.link(link).end(ProxyEnding::Fin),
        InjectedFault::Reset(link) => world.link(link).end(ProxyEnding::Reset),
        InjectedFault::Blackhole(link) => hurt(world, link, Mode::Blackhole, hold).await,
        InjectedFault::BlackholeUp(link) => hurt(world, link, Mode::BlackholeUp, hold).await,
        InjectedFault::BlackholeDown(link) => hurt(world, link, Mode::BlackholeDown, hold).await,
        InjectedFault::Delay(link, ms) => hurt(world, link, Mode::Delay(Duration::from_millis(ms)), hold).await,
        InjectedFault::Throttle(link) => hurt(world, link, Mode::Throttle(THROTTLE_BYTES_PER_SECOND), hold).await,
        InjectedFault::ClockJump(replica, seconds) => {
            let jump =
                |seconds| world.clocks[replica].set(seconds).map_err(|error| recorder.overdue(error.to_string()));
            let jumped = jump(seconds).is_ok();
            sleep(hold).await;
            return jump(0).is_ok() && jumped;
        }
        InjectedFault::FewFiles(replica) => return squeeze(world, replica, Squeezed::Files, hold, recorder).await,
        InjectedFault::LittleMemory(replica) => return squeeze(world, replica, Squeezed::Memory, hold, recorder).await,
        InjectedFault::LoseCommit(replica) => return lose(world, replica, Mode::LoseCommit).await,
        InjectedFault::LoseCommitAnswer(replica) => return lose(world, replica, Mode::LoseCommitAnswer).await,
        InjectedFault::Storm(streams) => storm::strike(world, streams, recorder).await,
        InjectedFault::Stuck(readers) => {
            stuck::strike(world, readers, recorder).await;
        }
    }
    true
}

/// Disturbs a link while the schedule continues; waits only when the fault lasts too long for that.
async fn hurt(world: &Deployment, link: Link, mode: Mode, hold: Duration) {
    world.link(link).set_for(mode, hold);
    if hold > LONG_HOLD {
        sleep(hold).await;
    }
}

/// The resource that a server has little of.
enum Squeezed {
    Files,
    Memory,
}

/// Limits a server to little more of a resource than it uses, for a while. A server that dies of it starts again. Returns whether the limit
/// was set.
async fn squeeze(world: &mut Deployment, replica: usize, of: Squeezed, hold: Duration, recorder: &Recorder) -> bool {
    let server = &mut world.servers[replica];
    let limited = match of {
        Squeezed::Files => server.open_files().map(|open| ("nofile", open + FILES_LEFT)),
        Squeezed::Memory => server.address_space_bytes().map(|taken| ("as", taken + MEMORY_LEFT_BYTES)),
    };
    let Some((limit, most)) = limited else { return false };
    let before = server.limit(limit, &most.to_string());
    sleep(hold).await;
    let Some(before) = before else { return false };
    if !server.runs() {
        // Only missing memory ends a process; missing files do not.
        if limit != "as" {
            recorder.overdue(format!("replica {replica} ended when it could not open a file"));
        }
        start(world, replica, recorder).await;
    } else if server.limit(limit, &before).is_none() {
        recorder.overdue(format!("the limit `{limit}` of replica {replica} could not be lifted"));
    }
    true
}

async fn start(world: &mut Deployment, replica: usize, recorder: &Recorder) {
    // A server that starts without its database ends at once, and its operator would restart it until it runs.
    world.open_database_link(replica);
    if let Err(said) = world.start_server(replica).await {
        recorder.overdue(format!("replica {replica}: {said}"));
    }
}

/// Sends SIGTERM under load, waits for the end, and starts the server again.
pub async fn drain(world: &mut Deployment, replica: usize, recorder: &Recorder) {
    let began = Instant::now();
    let allowed = Duration::from_millis(END_MAX_MS);
    world.servers[replica].signal("TERM");
    let ended = world.servers[replica].ended(allowed + Duration::from_millis(DRAIN_MAX_MS)).await;
    let success = ended.is_some_and(|status| status.success());
    recorder.note(|history| history.drains.push(Drain { replica, took: began.elapsed(), allowed, success }));
    world.servers[replica].kill();
    start(world, replica, recorder).await;
}

async fn on_postgres(world: &mut Deployment, step: &PlanStep) {
    let Some(postgres) = world.postgres.clone() else { return };
    let hold = Duration::from_millis(step.hold_ms);
    let name = world.database_name.clone();
    let fault = step.fault;
    world.postgres_is_down = fault == InjectedFault::KillPostgres;
    let done = tokio::task::spawn_blocking(move || match fault {
        InjectedFault::KillPostgres => {
            postgres.kill();
            std::thread::sleep(hold);
            postgres.start_again();
        }
        InjectedFault::PausePostgres => {
            postgres.signal("STOP");
            std::thread::sleep(hold);
            postgres.signal("CONT");
        }
        _ => postgres.terminate_backends(&name),
    });
    done.await.expect("PostgreSQL is struck");
    world.postgres_is_down = false;
}

/// Kills PostgreSQL, which has only what it synced when it starts again. Returns whether anything was lost: everything may have been
/// synced, but not in every schedule.
async fn cut_power_of_postgres(world: &mut Deployment, hold: Duration, recorder: &Recorder) -> bool {
    let Some(postgres) = world.postgres.clone() else { return false };
    world.postgres_is_down = true;
    let done = tokio::task::spawn_blocking(move || {
        let lost = postgres.cut_power();
        std::thread::sleep(hold);
        postgres.start_again();
        lost
    });
    let lost = done.await.expect("PostgreSQL is struck");
    world.postgres_is_down = false;
    lost.map_err(|said| recorder.overdue(format!("the power cut of PostgreSQL was none: {said}")))
        .is_ok_and(|files| files > 0)
}

async fn lose(world: &Deployment, replica: usize, mode: Mode) -> bool {
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

/// Lets calls on SQLite's files fail until the fault ends. Returns whether any did.
async fn disk_fails(
    world: &mut Deployment,
    error: DiskError,
    (first, count): (u32, u32),
    hold: Duration,
    recorder: &Recorder,
) -> bool {
    let Some(failing) = world.disk.as_ref().map(|(_, failing)| failing) else { return false };
    let before = failing.failures();
    let (operation, errno) = match error {
        DiskError::Write(errno) => (DiskOperation::Write, errno),
        DiskError::ShortWrite(errno) => (DiskOperation::ShortWrite, errno),
        DiskError::Sync(errno) => (DiskOperation::Sync, errno),
        DiskError::Truncate => (DiskOperation::Truncate, EIO),
        DiskError::Full => (DiskOperation::Write, ENOSPC),
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

/// Waits until this many calls have failed.
async fn strikes(failing: &FailingDisk, wanted: usize) {
    let deadline = Instant::now() + DISK_WAIT;
    while failing.failures() < wanted && Instant::now() < deadline {
        sleep(Duration::from_millis(2)).await;
    }
}
