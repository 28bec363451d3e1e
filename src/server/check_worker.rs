//! `policyhub check-worker`: evaluates untrusted text for the server, without any other rights.
//!
//! It drops its rights before it reads a byte: CPU time, memory, files, the network. The check runs on its own thread, so that the
//! process can end during a check: when the server ends for any reason, the pipe closes. A third thread lowers the priority of a check
//! that takes long, and so of every later one of this process: the server then starts another process.

use std::io::{self, Write as _};
use std::os::fd::RawFd;
use std::process::exit;
use std::sync::mpsc;

use anyhow::{Context as _, Result};
use nix::sys::resource::{Resource, UsageWho, getrusage, setrlimit};
use nix::sys::time::TimeValLike as _;

use crate::checks::worker_messages::{
    CHECK_REQUEST_MAX_BYTES, CHECK_RESPONSE_MAX_BYTES, Isolation, WorkerReady, encode, read,
};
use crate::checks::{
    CHECK_ADDRESS_SPACE_MAX_BYTES, CHECK_CPU_MAX_SECONDS, CHECK_MEMORY_MAX_BYTES, CHECK_SHORT_MAX,
    CHECK_STACK_MAX_BYTES, Evaluation,
};

/// CPU time of a worker, for all its checks together.
const WORKER_CPU_MAX_SECONDS: u64 = 15 * 60;
/// File descriptors of a worker: its pipes.
const WORKER_OPEN_FILES_MAX: u64 = 3;
/// How much a check that is no longer short gives way to the server: a quarter of a core that both want is its.
const LONG_CHECK_NICE: i32 = 5;
/// The highest file descriptor of the pipes.
const STDERR: RawFd = 2;
const MICROSECONDS_PER_SECOND: u64 = 1_000_000;
/// Exit code when a check panics or can't be answered.
const FAILED: i32 = 101;

/// Answers requests from stdin on stdout until stdin ends.
///
/// # Errors
/// A limit can't be set, or a request can't be read.
pub fn check_worker() -> Result<()> {
    let isolation = give_up_rights()?;
    let (requests, received) = mpsc::sync_channel(1);
    let (turns, taken) = mpsc::channel();
    // A panic on any thread ends the process: otherwise requests would stay without an answer.
    let default_hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        default_hook(panic);
        exit(FAILED);
    }));
    std::thread::Builder::new()
        .name("check".to_owned())
        .stack_size(CHECK_STACK_MAX_BYTES)
        .spawn(move || answer(&received, &turns))
        .context("failed to start the thread of checks")?;
    std::thread::Builder::new()
        .name("priority".to_owned())
        .spawn(move || give_way(&taken))
        .context("failed to start the thread of priorities")?;
    send(&encode(&WorkerReady { isolation }, CHECK_RESPONSE_MAX_BYTES)?)?;
    let mut stdin = io::stdin().lock();
    while let Some(evaluation) =
        read::<Evaluation>(&mut stdin, CHECK_REQUEST_MAX_BYTES).context("failed to read a request")?
    {
        limit_cpu()?;
        requests.send(evaluation).context("failed to hand on a request")?;
    }
    Ok(())
}

/// Answers requests until the process ends.
fn answer(requests: &mpsc::Receiver<Evaluation>, turns: &mpsc::Sender<Turn>) {
    // Nobody receives them once the priority is low.
    let say = |turn| _ = turns.send(turn);
    while let Ok(evaluation) = requests.recv() {
        say(Turn::Begins(this_thread()));
        for answer in evaluation.answers() {
            let sent = encode(&answer, CHECK_RESPONSE_MAX_BYTES).and_then(|answer| send(&answer));
            if sent.is_err() {
                exit(FAILED);
            }
        }
        say(Turn::Ended);
    }
}

/// What the thread of checks says of itself.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    /// A check begins on this thread. `None`: the system knows the priority of the process alone.
    Begins(Option<rustix::thread::Pid>),
    /// The check has ended.
    Ended,
}

/// Linux knows the priority of each thread, other systems that of a process.
#[cfg(target_os = "linux")]
fn this_thread() -> Option<rustix::thread::Pid> {
    Some(rustix::thread::gettid())
}

#[cfg(not(target_os = "linux"))]
fn this_thread() -> Option<rustix::thread::Pid> {
    None
}

/// Lowers the priority of the first check that takes long.
fn give_way(turns: &mpsc::Receiver<Turn>) {
    while let Ok(turn) = turns.recv() {
        let Turn::Begins(thread) = turn else { continue };
        if turns.recv_timeout(CHECK_SHORT_MAX) == Err(mpsc::RecvTimeoutError::Timeout) {
            // Only a raise can be denied.
            let _ = rustix::process::setpriority_process(thread, LONG_CHECK_NICE);
            return;
        }
    }
}

fn send(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

fn give_up_rights() -> Result<Isolation> {
    close_inherited();
    end_before_the_server();
    let limit =
        |what: Resource, most: u64| setrlimit(what, most, most).with_context(|| format!("failed to set {what:?}"));
    limit(Resource::RLIMIT_CORE, 0)?;
    limit(Resource::RLIMIT_DATA, CHECK_MEMORY_MAX_BYTES)?;
    limit(Resource::RLIMIT_AS, CHECK_ADDRESS_SPACE_MAX_BYTES)?;
    let isolation = isolate();
    // Set after the isolation, whose rules need a descriptor.
    limit(Resource::RLIMIT_NOFILE, WORKER_OPEN_FILES_MAX)?;
    limit_cpu()?;
    Ok(isolation)
}

/// Makes Linux end this process first when memory is short, as in a container with a small limit: then the check is lost, and not
/// the server. Other systems have no such file.
fn end_before_the_server() {
    const MOST: &str = "1000";
    let _ = std::fs::write("/proc/self/oom_score_adj", MOST);
}

/// Closes descriptors that were inherited from whatever started the server.
fn close_inherited() {
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else { return };
    let open: Vec<RawFd> = open.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > STDERR) {
        // The listing's own descriptor is among them, and already closed.
        let _ = nix::unistd::close(descriptor);
    }
}

/// Limits the CPU time of the next check, on top of what was used before. The system counts whole seconds, so a check may get one more.
fn limit_cpu() -> Result<()> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).context("failed to read the CPU time used")?;
    let used = (usage.user_time() + usage.system_time()).num_microseconds();
    let most = u64::try_from(used).unwrap_or_default().div_ceil(MICROSECONDS_PER_SECOND) + CHECK_CPU_MAX_SECONDS;
    setrlimit(Resource::RLIMIT_CPU, most.min(WORKER_CPU_MAX_SECONDS), WORKER_CPU_MAX_SECONDS)
        .context("failed to set RLIMIT_CPU")
}

/// Makes the kernel deny this process, and whatever it starts, files, the network and other processes, as far as the kernel can.
/// The server logs how far that is.
#[cfg(target_os = "linux")]
fn isolate() -> Isolation {
    use landlock::{ABI, Access as _, AccessFs, AccessNet, Ruleset, RulesetAttr as _, RulesetStatus, Scope};
    let abi = ABI::V6;
    let made = Ruleset::default()
        .handle_access(AccessFs::from_all(abi))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(abi)))
        .and_then(|rules| rules.scope(Scope::from_all(abi)))
        .and_then(Ruleset::create)
        .and_then(|rules| rules.restrict_self());
    match made.map(|made| made.ruleset) {
        Ok(RulesetStatus::FullyEnforced) => Isolation::Full,
        Ok(RulesetStatus::PartiallyEnforced) => Isolation::Partial,
        Ok(RulesetStatus::NotEnforced) | Err(_) => Isolation::None,
    }
}

#[cfg(not(target_os = "linux"))]
fn isolate() -> Isolation {
    Isolation::None
}
