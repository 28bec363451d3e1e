//! What a PostgreSQL suffers: stopped, killed, frozen, promoted. Everything it does is undone or ends with the cluster.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::postgres::{Cluster, unprivileged};

/// After this long a PostgreSQL that was started is not coming.
const RESTARTED_WITHIN: Duration = Duration::from_secs(60);
/// After this long a process that was killed is a defect of the test.
const KILLED_WITHIN: Duration = Duration::from_secs(30);

impl Cluster {
    /// Returns its data directory. Ask while it runs.
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

    /// Returns a shell as its administrator, with its programs; add variables and run it.
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

    /// Ends it as a power cut would, without a checkpoint.
    pub fn stop(&self, data: &Path) {
        self.control(&["stop", "-m", "immediate"], data);
    }

    /// Starts it again after `stop` or `kill`.
    pub fn start_again(&self, data: &Path) {
        let log = data.with_file_name("restarted.log");
        let deadline = Instant::now() + RESTARTED_WITHIN;
        // The processes before may still hold a segment of shared memory for a moment.
        while !self.try_control(&["start", "-l", log.to_str().expect("a path")], data) {
            assert!(Instant::now() < deadline, "PostgreSQL does not start again: see {}", log.display());
        }
    }

    /// Kills every process of it (SIGKILL).
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

    /// Freezes every process of it (SIGSTOP): it keeps its connections and answers nothing.
    pub fn freeze(&self, data: &Path) {
        let postmaster = postmaster(data);
        let mut stopped = self.stopped.lock().expect("the processes");
        // First the one that would start others.
        signal("STOP", &[postmaster]);
        stopped.push(postmaster);
        let children = children(postmaster);
        signal("STOP", &children);
        stopped.extend(children);
    }

    /// Locks a namespace in a session of its own, and keeps it until that is dropped.
    pub fn hold(&self, database: &str, namespace: &str) -> FaultSession {
        self.hold_by(database, &format!("SELECT 1 FROM namespaces WHERE id = '{namespace}' FOR UPDATE"))
    }

    /// Takes a lock by this SQL in a session of its own, and keeps it until that is dropped.
    pub fn hold_by(&self, database: &str, sql: &str) -> FaultSession {
        let sql = format!("{sql}; SELECT pg_sleep(600)");
        let mut command = self.psql_command(database, &sql);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("psql runs");
        let holding =
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()";
        while self.psql(database, holding) == "0" {}
        FaultSession(child)
    }

    /// Ends the session of `hold`. PostgreSQL would notice only at the end of its statement that the client is gone.
    pub fn release(&self, database: &str, session: FaultSession) {
        let holding = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep' \
                       AND datname = current_database()";
        self.psql(database, holding);
        drop(session);
    }

    /// Returns the backend that waits for a lock on its namespace, as soon as there is one.
    pub fn waiting(&self, database: &str) -> u32 {
        let waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%FOR UPDATE%' \
                       AND datname = current_database() LIMIT 1";
        loop {
            if let Ok(pid) = self.psql(database, waiting).parse() {
                return pid;
            }
        }
    }

    /// Lets what was frozen go on.
    pub fn go_on(&self) {
        signal("CONT", &std::mem::take(&mut *self.stopped.lock().expect("the processes")));
    }

    /// Makes a standby a primary.
    pub fn promote(&self) {
        assert_eq!(self.psql("postgres", "SELECT pg_promote(true, 60)"), "t");
    }
}

/// A session of psql. Dropping it ends it.
#[derive(Debug)]
pub struct FaultSession(Child);

impl Drop for FaultSession {
    fn drop(&mut self) {
        // It may have ended with its server.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends a signal to processes.
pub fn signal(name: &str, processes: &[u32]) {
    if processes.is_empty() {
        return;
    }
    // One that ended meanwhile is no fault.
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

/// Returns whether a process is there and no zombie.
fn is_alive(process: &u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z"))
}

fn children(parent: u32) -> Vec<u32> {
    let is_child = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // After the name in brackets: state, then parent.
        stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok()) == Some(parent)
    };
    let entries = fs::read_dir("/proc").expect("processes").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_child).collect()
}
