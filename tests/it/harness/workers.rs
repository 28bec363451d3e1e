//! The check workers of a server, as the operating system shows them.

use std::time::Instant;

use super::Hub;
use super::watching::DEADLINE;

/// A process that a server started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerProcess {
    pub pid: u32,
    /// State of the process: `R` runs, `S` sleeps, `Z` has ended and was not waited for.
    pub state: char,
}

/// Returns every child of a server, including zombies.
pub fn workers(hub: &Hub) -> Vec<WorkerProcess> {
    let processes = std::fs::read_dir("/proc").expect("processes").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| {
        let (state, parent) = state_and_parent(pid)?;
        (parent == hub.pid()).then_some(WorkerProcess { pid, state })
    })
    .collect()
}

fn state_and_parent(pid: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before may contain spaces and brackets.
    let mut words = stat.rsplit_once(") ")?.1.split(' ');
    Some((words.next()?.chars().next()?, words.next()?.parse().ok()?))
}

/// Returns whether a process is gone or a zombie.
fn has_ended(pid: u32) -> bool {
    state_and_parent(pid).is_none_or(|(state, _)| state == 'Z')
}

/// Waits until the workers are as wanted and returns them.
pub async fn workers_until(hub: &Hub, wanted: impl Fn(&[WorkerProcess]) -> bool) -> Vec<WorkerProcess> {
    let started = Instant::now();
    loop {
        let found = workers(hub);
        if wanted(&found) {
            return found;
        }
        assert!(started.elapsed() < DEADLINE, "the workers never came to what was wanted: {found:?}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// Returns the CPU time that a process has used, in ticks of the kernel.
pub fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let words: Vec<&str> = stat.rsplit_once(") ").map(|(_, words)| words.split(' ').collect()).unwrap_or_default();
    // Fields 14 and 15 of proc(5): the first two fields are cut off.
    [11, 12].iter().filter_map(|at| words.get(*at)?.parse::<u64>().ok()).sum()
}

/// Waits until these workers have ended and returns the most CPU time, in ticks, that one of them used meanwhile.
pub async fn ended_after_ticks(pids: &[u32]) -> u64 {
    let before: Vec<u64> = pids.iter().map(|pid| cpu_ticks(*pid)).collect();
    let (started, mut most) = (Instant::now(), 0);
    while !pids.iter().all(|pid| has_ended(*pid)) {
        let used = pids.iter().zip(&before).map(|(pid, before)| cpu_ticks(*pid).saturating_sub(*before));
        most = used.fold(most, u64::max);
        assert!(started.elapsed() < DEADLINE, "a worker goes on: {pids:?}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    most
}

/// CPU time, one second in ticks, that a check may still use after its caller has gone. The check's own limit is four seconds.
pub const LEFT_TICKS_MAX: u64 = 100;

/// Waits until a worker other than `but` runs a long check: it has used a fifth of a second more CPU than when it was first seen.
pub async fn busy_worker(hub: &Hub, but: Option<u32>) -> u32 {
    const BUSY_TICKS: u64 = 20;
    let mut first_seen = std::collections::HashMap::new();
    let started = Instant::now();
    loop {
        for worker in workers(hub).into_iter().filter(|worker| worker.state != 'Z' && Some(worker.pid) != but) {
            let ticks = cpu_ticks(worker.pid);
            let first = *first_seen.entry(worker.pid).or_insert(ticks);
            if ticks >= first + BUSY_TICKS {
                return worker.pid;
            }
        }
        assert!(started.elapsed() < DEADLINE, "no worker is busy: {:?}", workers(hub));
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// Sends a signal to a process.
pub fn signal(pid: u32, name: &str) {
    let status = std::process::Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(status.expect("kill runs").success(), "failed to send SIG{name} to {pid}");
}
