//! One worker process: started with an empty environment, sent one request at a time, killed when it is dropped.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use crate::checks::worker_messages::{
    CHECK_RESPONSE_MAX_BYTES, CHECK_WORKER_COMMAND, Isolation, LENGTH_BYTES, WorkerReady, decode, length,
};
use crate::checks::{CheckLimit, TaskAnswer};

/// How long a worker that closed its pipes may take to end. Then it is killed.
pub(super) const END_MAX: Duration = Duration::from_secs(1);
/// How much of the standard error of a worker is read.
const STDERR_MAX_BYTES: u64 = 4 * 1024;
/// How the standard library reports that an allocation failed.
const OUT_OF_MEMORY: &str = "memory allocation of ";
/// How the standard library reports a stack overflow.
const OUT_OF_STACK: &str = "has overflowed its stack";

/// A worker process, idle or at a request.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    requests: ChildStdin,
    answers: ChildStdout,
    stderr: ChildStderr,
    answered: u32,
}

/// Why a worker ended without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerEnd {
    /// The worker exceeded a limit, or ended by itself.
    Over(CheckLimit),
    /// Another process sent a signal: the kernel when memory is short, an operator, or a supervisor that stops all processes of the server
    /// at once.
    Killed,
}

impl Worker {
    /// Starts a worker, and waits until it is ready.
    ///
    /// # Errors
    /// `io::Error` when the process can't be started, or ends before it is ready.
    pub async fn start(program: &Path) -> io::Result<(Self, Isolation)> {
        let mut command = Command::new(program);
        command.arg0("policyhub").arg(CHECK_WORKER_COMMAND).env_clear().current_dir("/").kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(requests), Some(answers), Some(stderr)) = pipes else {
            return Err(io::Error::other("a process without pipes"));
        };
        let mut worker = Self { child, requests, answers, stderr, answered: 0 };
        match worker.receive::<WorkerReady>().await {
            Ok(ready) => Ok((worker, ready.isolation)),
            Err(error) => Err(io::Error::other(format!("{error}; it said: {:?}", worker.read_stderr().await))),
        }
    }

    /// Sends an encoded request, and adds the answers to its tasks as they come.
    ///
    /// # Errors
    /// `io::Error` when the process ends or sends anything else: then it must not be used again.
    pub async fn ask(&mut self, request: &[u8], tasks: usize, answers: &mut Vec<TaskAnswer>) -> io::Result<()> {
        self.requests.write_all(request).await?;
        for _ in 0..tasks {
            answers.push(self.receive().await?);
        }
        self.answered += 1;
        Ok(())
    }

    /// Returns how many requests it answered so far.
    pub fn answered(&self) -> u32 {
        self.answered
    }

    /// Returns whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for the end of the process, and returns why it did not answer.
    pub async fn end(mut self, error: &io::Error) -> WorkerEnd {
        let Ok(Ok(status)) = tokio::time::timeout(END_MAX, self.child.wait()).await else {
            tracing::warn!(%error, "a check worker sent an invalid answer and is killed");
            return WorkerEnd::Over(CheckLimit::Died);
        };
        let signal =
            std::os::unix::process::ExitStatusExt::signal(&status).and_then(|number| Signal::try_from(number).ok());
        let stderr = self.read_stderr().await;
        let limit = match signal {
            Some(Signal::SIGKILL | Signal::SIGTERM | Signal::SIGINT | Signal::SIGHUP | Signal::SIGQUIT) => {
                return WorkerEnd::Killed;
            }
            Some(Signal::SIGXCPU) => CheckLimit::Cpu,
            Some(Signal::SIGABRT) if stderr.contains(OUT_OF_MEMORY) => CheckLimit::Memory,
            Some(Signal::SIGABRT) if stderr.contains(OUT_OF_STACK) => CheckLimit::Stack,
            _ => CheckLimit::Died,
        };
        if limit == CheckLimit::Died {
            tracing::warn!(%status, ?stderr, "a check worker ended by itself");
        }
        WorkerEnd::Over(limit)
    }

    async fn receive<T: DeserializeOwned>(&mut self) -> io::Result<T> {
        let mut head = [0; LENGTH_BYTES];
        self.answers.read_exact(&mut head).await?;
        let mut bytes = vec![0; length(head, CHECK_RESPONSE_MAX_BYTES)?];
        self.answers.read_exact(&mut bytes).await?;
        decode(&bytes)
    }

    /// Returns what the process wrote to standard error before it ended; nothing, after a short wait, if it still runs.
    async fn read_stderr(&mut self) -> String {
        let mut bytes = Vec::new();
        let mut stderr = (&mut self.stderr).take(STDERR_MAX_BYTES);
        let _ = tokio::time::timeout(END_MAX, stderr.read_to_end(&mut bytes)).await;
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
