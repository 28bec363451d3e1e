//! Processes under measurement: started on one core, read from outside, ended when dropped.
//!
//! Invariant: CPU time comes from the kernel's clock of the process, all threads together, in nanoseconds.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

/// Time a server may take until it listens.
const START_MAX: Duration = Duration::from_secs(120);
/// Time a server may take to end in order.
const END_MAX: Duration = Duration::from_secs(30);
/// Pause between two checks.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// The core that a process runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Core {
    /// The server's own core.
    Server,
    /// The driver's own core.
    Driver,
    /// Any core.
    Any,
}

/// Returns whether processes can be pinned here, which needs two cores and `taskset`.
pub fn can_pin() -> bool {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let taskset = Command::new("taskset").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    cores >= 2 && taskset.is_ok_and(|status| status.success())
}

/// Returns a command on a core; on any core when nothing can be pinned.
pub fn command(core: Core, program: impl AsRef<OsStr>) -> Command {
    let number = match core {
        Core::Server => Some("0"),
        Core::Driver => Some("1"),
        Core::Any => None,
    };
    let mut command = if let Some(number) = number.filter(|_| can_pin()) {
        let mut command = Command::new("taskset");
        command.args(["-c", number]).arg(program);
        command
    } else {
        Command::new(program)
    };
    // Settings of the caller would make the runs differ.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("POLICYHUB_") || name.to_string_lossy().starts_with("ETCD_") {
            command.env_remove(name);
        }
    }
    command
}

/// A process that ends when this value is dropped.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts a process with its output in a file.
    pub fn start(mut command: Command, log: &Path) -> Result<Self> {
        let file = std::fs::File::create(log).with_context(|| format!("failed to write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("failed to start {:?}", command.get_program()))?;
        Ok(Self(child))
    }

    /// Returns the process id.
    pub fn id(&self) -> i32 {
        self.0.id().cast_signed()
    }

    /// Ends the process in order.
    pub fn end(mut self) -> Result<()> {
        kill(Pid::from_raw(self.id()), Signal::SIGTERM)?;
        let began = Instant::now();
        while self.0.try_wait()?.is_none() {
            if began.elapsed() > END_MAX {
                bail!("a server did not end");
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Waits until `ready` returns a value.
    pub fn wait_for<T>(&mut self, log: &Path, mut ready: impl FnMut() -> Option<T>) -> Result<T> {
        let began = Instant::now();
        loop {
            if let Some(found) = ready() {
                return Ok(found);
            }
            if self.0.try_wait()?.is_some() || began.elapsed() > START_MAX {
                bail!("a server did not start:\n{}", std::fs::read_to_string(log).unwrap_or_default());
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns the CPU time that a process has used so far.
pub fn cpu(process: i32) -> Result<Duration> {
    Ok(clock_getcpuclockid(Pid::from_raw(process))?.now()?.into())
}

/// Returns the resident memory of a process, in KiB: exact, from its page tables.
pub fn memory_kib(process: i32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).context("no Rss")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

/// Returns an address that was free a moment ago, for servers that don't choose their own.
pub fn free_address() -> Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Returns the body of a GET over HTTP/1.0 when the status is 200.
pub fn get(address: SocketAddr, path: &str) -> Option<String> {
    use std::io::{Read as _, Write as _};
    let mut socket = std::net::TcpStream::connect(address).ok()?;
    socket.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.lines().next()?.contains(" 200 ").then(|| body.to_owned())
}
