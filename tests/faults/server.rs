//! One server process on its own ports, which can be killed, paused, stopped in order, and started again.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A server that takes longer to start counts as failed.
const START_MAX: Duration = Duration::from_secs(30);
/// Ports for servers that restart on them: below the range from which the kernel assigns ports.
const PORTS: std::ops::Range<u16> = 15_000..30_000;

/// Distance between the first ports of two runs whose process ids follow each other.
const PORTS_APART: u32 = 997;

/// Returns a free port that the kernel assigns to no connection while its server is down.
pub fn steady_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let span = PORTS.end - PORTS.start;
    // Far from the first port of another run that was started shortly before.
    let first = u16::try_from(std::process::id().wrapping_mul(PORTS_APART) % u32::from(span)).expect("below a port");
    for _ in 0..span {
        let port = PORTS.start + first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % span;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port of {PORTS:?} is free");
}

/// Returns the binary under test: the one that was built with this program, or `BINARY`.
pub fn binary() -> OsString {
    std::env::var_os("BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_policyhub").into())
}

/// Sends a signal by name. A process that has ended is no error.
pub fn send(signal: &str, process: u32) {
    let mut kill = Command::new("kill");
    kill.args([&format!("-{signal}"), &process.to_string()]).stderr(Stdio::null());
    let _ = kill.status();
}

/// Returns how long the threads of a process have waited for a processor in total, as Linux counts it; `None` when it has ended.
pub fn waited_for_processor(process: u32) -> Option<Duration> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).ok()?.flatten();
    // The fields are: time on a processor, time waiting for one, both in nanoseconds, and a count.
    let waited = threads.filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok());
    let nanoseconds = waited.filter_map(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok());
    Some(Duration::from_nanos(nanoseconds.sum()))
}

/// A server process.
#[derive(Debug)]
pub struct ServerProcess {
    pub grpc: SocketAddr,
    http: SocketAddr,
    directory: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    child: Option<Child>,
    log: PathBuf,
    binary: OsString,
    /// The id of its process, or of the last one; 0 before the first.
    pub process: Arc<AtomicU32>,
}

impl ServerProcess {
    /// Returns a server that does not run yet. Its data, its log, and its keys unless `arguments` name another directory, are in
    /// `directory`.
    pub fn new(directory: &Path, arguments: Vec<String>, environment: Vec<(String, String)>) -> Self {
        let address = || SocketAddr::from(([127, 0, 0, 1], steady_port()));
        let (grpc, http) = (address(), address());
        let log = directory.join("server.log");
        let (directory, process) = (directory.to_owned(), Arc::default());
        Self { grpc, http, directory, arguments, environment, child: None, log, binary: binary(), process }
    }

    /// Uses this binary from the next start on.
    pub fn runs_from_now_on(&mut self, binary: OsString) {
        self.binary = binary;
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("POLICYHUB_")) {
            command.env_remove(name);
        }
        command.arg("serve").args(["--log-format", "json"]);
        command.args([format!("--grpc-addr={}", self.grpc), format!("--http-addr={}", self.http)]);
        // A variable, because the version before does not know the flag.
        command.env("POLICYHUB_CONSOLE_ADDR", "off");
        command.arg("--data-dir").arg(self.directory.join("data")).args(&self.arguments);
        command.envs(self.environment.iter().cloned());
        command
    }

    /// Starts it with this environment besides its own, and waits until it serves.
    ///
    /// # Errors
    /// What it said instead.
    pub async fn start(&mut self, environment: Vec<(OsString, OsString)>) -> Result<(), String> {
        let failed = |error: io::Error| error.to_string();
        fs::create_dir_all(&self.directory).map_err(failed)?;
        let log = File::options().create(true).append(true).open(&self.log).map_err(failed)?;
        let begin = usize::try_from(log.metadata().map_err(failed)?.len()).expect("fits");
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.envs(environment);
        let child = command.spawn().map_err(failed)?;
        self.process.store(child.id(), Ordering::Relaxed);
        self.child = Some(child);
        let deadline = Instant::now() + START_MAX;
        loop {
            let said = fs::read(&self.log).map_err(failed)?;
            let said = String::from_utf8_lossy(&said[begin.min(said.len())..]).into_owned();
            if said.contains(r#""message":"serving""#) {
                return Ok(());
            }
            if let Some(status) = self.exited() {
                return Err(format!("a server did not start ({status}): {said}"));
            }
            if Instant::now() > deadline {
                return Err(format!("a server did not start in {START_MAX:?}: {said}"));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn exited(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().ok().flatten())
    }

    /// Returns whether it runs, as far as it was started.
    pub fn runs(&mut self) -> bool {
        self.child.is_some() && self.exited().is_none()
    }

    /// Sends a signal by name.
    pub fn signal(&self, signal: &str) {
        if let Some(child) = &self.child {
            send(signal, child.id());
        }
    }

    /// Kills the process as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Waits until it ends, at most this long. `None`: it still runs.
    pub async fn ended(&mut self, at_most: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + at_most;
        while Instant::now() < deadline {
            if let Some(status) = self.exited() {
                self.child = None;
                return Some(status);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        None
    }

    /// Returns the current resident memory, in bytes.
    pub fn resident_bytes(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.as_ref()?.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    }

    /// Returns the current address space, in bytes.
    pub fn address_space_bytes(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.as_ref()?.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmSize:"))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    }

    /// Returns the number of the highest open file, counted from 1, to which a limit applies.
    pub fn open_files(&self) -> Option<u64> {
        let files = fs::read_dir(format!("/proc/{}/fd", self.child.as_ref()?.id())).ok()?.flatten();
        files.filter_map(|file| file.file_name().to_str()?.parse::<u64>().ok()).max().map(|highest| highest + 1)
    }

    /// Sets a soft limit, by its name for `prlimit`, and returns the limit before.
    pub fn limit(&self, name: &str, most: &str) -> Option<String> {
        let process = self.child.as_ref()?.id().to_string();
        let prlimit = |arguments: &[&str]| {
            let output = Command::new("prlimit").args(["--pid", &process]).args(arguments).output().expect("prlimit");
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let before = prlimit(&["--noheadings", "--raw", "--output=SOFT", &format!("--{name}")])?;
        prlimit(&[&format!("--{name}={most}:")])?;
        Some(before)
    }

    /// Returns its data directory.
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Returns the arguments that name its database and its keys, when they are not in its data directory.
    pub fn store_arguments(&self) -> Vec<String> {
        let names =
            |argument: &&String| ["--database-url=", "--keys-dir="].iter().any(|name| argument.starts_with(name));
        self.arguments.iter().filter(names).cloned().collect()
    }

    /// Returns the admin's token.
    pub fn token(&self) -> io::Result<String> {
        Ok(fs::read_to_string(self.directory.join("data/admin.token"))?.trim().to_owned())
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.signal("CONT");
        self.kill();
    }
}
