//! Faults of a PostgreSQL: stopped, killed, frozen, promoted. Each fault is undone or ends with the cluster.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::postgres::{Cluster, unprivileged};

/// A PostgreSQL that takes longer to start counts as failed.
const RESTARTED_WITHIN: Duration = Duration::from_secs(60);
/// A killed process that is still alive after this long is a defect of the test.
const KILLED_WITHIN: Duration = Duration::from_secs(30);

impl Cluster {
    /// Returns the cluster's data directory. The cluster must be running.
    pub fn data(&self) -> PathBuf {
        PathBuf::from(self.psql("postgres", "SHOW data_directory"))
    }

    fn control(&self, arguments: &[&str], data: &Path) {
        assert!(self.try_control(arguments, data), "failed to {arguments:?} PostgreSQL");
    }

    fn try_control(&self, arguments: &[&str], data: &Path) -> bool {
        let mut command = Command::new(self.bin.join("pg_ctl"));
        command.args(arguments).args(["-s", "-w", "-t", "60", "-D"]).arg(data).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("LC_ALL", "C");
        if let Some((user, group)) = unprivileged() {
            command.uid(user).gid(group);
        }
        command.status().expect("pg_ctl runs").success()
    }

    /// Returns a shell that runs as the cluster's user, with PostgreSQL's programs in its path. The caller adds variables and runs it.
    pub fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("bash");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = format!("{}:{}", self.bin.display(), path.display());
        command.args(["-euc", script]).stdin(Stdio::null()).current_dir("/");
        command.env_clear().env("PATH", path).env("LC_ALL", "C");
        if let Some((user, group)) = unprivileged() {
            command.uid(user).gid(group);
        }
        command
    }

    /// Stops the cluster without a checkpoint, as a power cut would.
    pub fn stop(&self, data: &Path) {
        self.control(&["stop", "-m", "immediate"], data);
    }

    /// Starts the cluster again after `stop` or `kill`.
    pub fn start_again(&self, data: &Path) {
        let log = data.with_file_name("restarted.log");
        let deadline = Instant::now() + RESTARTED_WITHIN;
        // The old processes may still hold a shared memory segment for a moment.
        while !self.try_control(&["start", "-l", log.to_str().expect("a path")], data) {
            assert!(Instant::now() < deadline, "PostgreSQL does not start again: see {}", log.display());
        }
    }

    /// Kills every process of the cluster (SIGKILL).
    pub fn kill(&self, data: &Path) {
        let postmaster = postmaster(data);
        let all: Vec<u32> = std::iter::once(postmaster).chain(children(postmaster)).collect();
        signal("KILL", &all);
        let deadline = Instant::now() + KILLED_WITHIN;
        while all.iter().any(is_alive) {
            assert!(Instant::now() < deadline, "PostgreSQL survived SIGKILL");
            std::thread::yield_now();
        }
    }

    /// Freezes every process of the cluster (SIGSTOP): connections stay open and nothing is answered.
    pub fn freeze(&self, data: &Path) {
        let postmaster = postmaster(data);
        let mut stopped = self.stopped.lock().expect("the processes");
        // Stop the postmaster first, because it would start new processes.
        signal("STOP", &[postmaster]);
        stopped.push(postmaster);
        let children = children(postmaster);
        signal("STOP", &children);
        stopped.extend(children);
    }

    /// Locks a namespace in a separate session, until the session is dropped.
    pub fn hold(&self, database: &str, namespace: &str) -> FaultSession {
        self.hold_by(database, &format!("SELECT 1 FROM namespaces WHERE id = '{namespace}' FOR UPDATE"))
    }

    /// Takes a lock by this SQL in a separate session, until the session is dropped.
    pub fn hold_by(&self, database: &str, sql: &str) -> FaultSession {
        let sql = format!("{sql}; SELECT pg_sleep(600)");
        let mut command = self.psql_command(database, &sql);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("psql runs");
        let holding =
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()";
        while self.psql(database, holding) == "0" {}
        FaultSession(child)
    }

    /// Ends a session of `hold`. Otherwise PostgreSQL would notice that the client is gone only when its statement ends.
    pub fn release(&self, database: &str, session: FaultSession) {
        let holding = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep' \
                       AND datname = current_database()";
        self.psql(database, holding);
        drop(session);
    }

    /// Waits for a backend that waits for a namespace lock and returns its process id.
    pub fn waiting(&self, database: &str) -> u32 {
        let waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%FOR UPDATE%' \
                       AND datname = current_database() LIMIT 1";
        loop {
            if let Ok(pid) = self.psql(database, waiting).parse() {
                return pid;
            }
        }
    }

    /// Resumes what was frozen.
    pub fn go_on(&self) {
        signal("CONT", &std::mem::take(&mut *self.stopped.lock().expect("the processes")));
    }

    /// Makes a standby a primary.
    pub fn promote(&self) {
        assert_eq!(self.psql("postgres", "SELECT pg_promote(true, 60)"), "t");
    }
}

/// A session of psql, which ends when it is dropped.
#[derive(Debug)]
pub struct FaultSession(Child);

impl Drop for FaultSession {
    fn drop(&mut self) {
        // The session may have ended with its server.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends a signal to processes.
pub fn signal(name: &str, processes: &[u32]) {
    if processes.is_empty() {
        return;
    }
    // A process that has ended meanwhile is not an error.
    let _ = Command::new("kill")
        .arg(format!("-{name}"))
        .args(processes.iter().map(ToString::to_string))
        .stderr(Stdio::null())
        .status()
        .expect("kill runs");
}

fn postmaster(data: &Path) -> u32 {
    let pid = fs::read_to_string(data.join("postmaster.pid")).expect("postmaster.pid");
    pid.lines().next().and_then(|line| line.parse().ok()).expect("a process id")
}

/// Returns whether a process exists and is not a zombie.
fn is_alive(process: &u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z"))
}

fn children(parent: u32) -> Vec<u32> {
    let is_child = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The fields after the name in brackets are the state and the parent.
        stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok()) == Some(parent)
    };
    let entries = fs::read_dir("/proc").expect("processes").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_child).collect()
}
