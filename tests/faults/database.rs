//! The database of a schedule: a file, or a PostgreSQL that can be killed, stopped and started again.
//!
//! Boundary: the cluster is that of the integration tests; faults are applied from outside, to its processes.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::postgres::Cluster;

/// A PostgreSQL that takes longer to start counts as failed.
const START_MAX: Duration = Duration::from_secs(60);

/// A separate PostgreSQL.
pub struct Postgres {
    pub(super) cluster: Cluster,
    pub(super) data: PathBuf,
    bin: PathBuf,
    /// Environment variables of its processes: the shim of a power cut, while a schedule has one.
    pub(super) environment: Mutex<Vec<(&'static str, PathBuf)>>,
}

impl Postgres {
    /// Starts one.
    pub fn start() -> Self {
        let cluster = Cluster::start(&[]);
        let data = PathBuf::from(cluster.psql("postgres", "SHOW data_directory"));
        let postmaster = postmaster(&data).expect("a postmaster");
        let program = fs::read_link(format!("/proc/{postmaster}/exe")).expect("the postmaster's program");
        let bin = program.parent().expect("a directory").to_owned();
        Self { cluster, data, bin, environment: Mutex::default() }
    }

    /// Creates a database and returns its name and port.
    pub fn create_database(&self) -> (String, u16) {
        let url = self.cluster.create_database();
        let name = url.rsplit('/').next().expect("a name").to_owned();
        let port = url.rsplit(':').next().and_then(|rest| rest.split('/').next()?.parse().ok()).expect("a port");
        (name, port)
    }

    /// Drops a database and ends its connections.
    pub fn drop_database(&self, name: &str) {
        self.cluster.psql("postgres", &format!("DROP DATABASE {name} WITH (FORCE)"));
    }

    /// Ends every connection of a database.
    pub fn terminate_backends(&self, name: &str) {
        let sql = format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{name}'");
        self.cluster.psql("postgres", &sql);
    }

    /// Sends a signal to the postmaster and all its children.
    pub fn signal(&self, signal: &str) {
        for process in processes(&self.data) {
            super::server::send(signal, process);
        }
    }

    /// Kills every process and waits until none is left.
    pub fn kill(&self) {
        // The postmaster first, so that no new process is started.
        let processes = processes(&self.data);
        for process in &processes {
            super::server::send("KILL", *process);
        }
        let alive = |process: &u32| {
            let status = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            !status.is_empty() && !status.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z"))
        };
        let deadline = Instant::now() + START_MAX;
        while processes.iter().any(alive) {
            assert!(Instant::now() < deadline, "PostgreSQL survived SIGKILL");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Starts it again after it was killed, and waits until it answers.
    pub fn start_again(&self) {
        let mut command = self.program("pg_ctl");
        command.args(["start", "-s", "-w", "-t", "60", "-D"]).arg(&self.data);
        // Beside the data directory, because a power cut would remove it there.
        command.arg("-l").arg(self.data.with_file_name("restarted.log"));
        command.envs(self.environment.lock().expect("the environment").iter().cloned());
        // The old processes may still hold a shared memory segment for a moment.
        let deadline = Instant::now() + START_MAX;
        while !command.status().expect("pg_ctl runs").success() {
            assert!(Instant::now() < deadline, "PostgreSQL does not start again: see {}", self.data.display());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Returns a command of PostgreSQL's programs that runs as the cluster's user.
    pub(super) fn program(&self, name: &str) -> Command {
        let owner = fs::metadata(&self.data).expect("the data directory");
        let mut command = Command::new(self.bin.join(name));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("LC_ALL", "C");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
        if owner.uid() != fs::metadata("/proc/self").expect("our own process").uid() {
            command.uid(owner.uid()).gid(owner.gid());
        }
        command
    }

    /// Kills every process and copies the data directory.
    ///
    /// # Errors
    /// When the copy can't be made.
    pub fn copy_when_killed(&self) -> Result<(), String> {
        self.kill();
        copy_directory(&self.data, &self.data.with_file_name("kept"))
    }

    /// Kills every process and replaces the data directory by the copy.
    ///
    /// # Errors
    /// When the copy can't be put there.
    pub fn put_copy_back(&self) -> Result<(), String> {
        self.kill();
        copy_directory(&self.data.with_file_name("kept"), &self.data)
    }
}

/// Returns the processes of a data directory: the postmaster first, then its children.
fn processes(data: &Path) -> Vec<u32> {
    let Some(postmaster) = postmaster(data) else { return Vec::new() };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let child = |process: &u32| {
        let status = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let parent = status.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        parent == Some(postmaster)
    };
    [postmaster].into_iter().chain(ids.filter(child)).collect()
}

/// Replaces a directory with a copy of another one, with owners and modes, but without the file that names a postmaster.
pub(super) fn copy_directory(from: &Path, to: &Path) -> Result<(), String> {
    if to.exists() {
        fs::remove_dir_all(to).map_err(|error| error.to_string())?;
    }
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().map_err(|error| error.to_string())?;
    let _ = fs::remove_file(to.join("postmaster.pid"));
    if copied.success() { Ok(()) } else { Err(format!("failed to copy {}", from.display())) }
}

fn postmaster(data: &std::path::Path) -> Option<u32> {
    fs::read_to_string(data.join("postmaster.pid")).ok()?.lines().next()?.trim().parse().ok()
}
