//! One worker process: started with an empty environment, asked one question at a time, killed when it is dropped.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use crate::checks::worker_messages::{ANSWER_MAX_BYTES, Greeting, Isolation, LENGTH_BYTES, decode, length};
use crate::checks::{CheckLimit, SchemaAnswer};

/// The command that a program of ours runs as a worker by.
const COMMAND: &str = "check-worker";
/// How long a worker that closed its pipes may take to end. Then it is killed.
const END_MAX: Duration = Duration::from_secs(1);
/// What is read of the last words of a worker.
const LAST_WORDS_MAX_BYTES: u64 = 4 * 1024;
/// How the standard library says that memory is not to be had.
const OUT_OF_MEMORY: &str = "memory allocation of ";
/// How the standard library says that a stack was too small.
const OUT_OF_STACK: &str = "has overflowed its stack";

/// A worker that waits for a question, or is at one.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    questions: ChildStdin,
    answers: ChildStdout,
    last_words: ChildStderr,
    answered: u32,
}

/// How a worker ended that did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By a limit, or by itself.
    Over(CheckLimit),
    /// By somebody else, who sent a signal: the kernel without memory, an operator, or a supervisor that stops all processes
    /// of the server at once.
    Killed,
}

impl Worker {
    /// Starts one, and waits until it is ready.
    ///
    /// # Errors
    /// When the system starts no process, or it ends before it is ready.
    pub async fn start(program: &Path) -> io::Result<(Self, Isolation)> {
        let mut command = Command::new(program);
        command.arg0("policyhub").arg(COMMAND).env_clear().current_dir("/").kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(questions), Some(answers), Some(last_words)) = pipes else {
            return Err(io::Error::other("a process without pipes"));
        };
        let mut worker = Self { child, questions, answers, last_words, answered: 0 };
        match worker.receive::<Greeting>().await {
            Ok(greeting) => Ok((worker, greeting.isolation)),
            Err(error) => Err(io::Error::other(format!("{error}; it said: {:?}", worker.last_words().await))),
        }
    }

    /// Sends a question that is encoded already, and waits for its answer.
    ///
    /// # Errors
    /// When the process ends or says something else: then it is of no use any more.
    pub async fn ask(&mut self, question: &[u8]) -> io::Result<SchemaAnswer> {
        self.questions.write_all(question).await?;
        let answer = self.receive().await?;
        self.answered += 1;
        Ok(answer)
    }

    /// Questions it answered so far.
    pub fn answered(&self) -> u32 {
        self.answered
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Why it did not answer.
    pub async fn end(mut self, error: &io::Error) -> Ended {
        let Ok(Ok(status)) = tokio::time::timeout(END_MAX, self.child.wait()).await else {
            tracing::warn!(%error, "a check worker said what it may not say, and is killed");
            return Ended::Over(CheckLimit::Died);
        };
        let signal =
            std::os::unix::process::ExitStatusExt::signal(&status).and_then(|number| Signal::try_from(number).ok());
        let last_words = self.last_words().await;
        let limit = match signal {
            Some(Signal::SIGKILL | Signal::SIGTERM | Signal::SIGINT | Signal::SIGHUP | Signal::SIGQUIT) => {
                return Ended::Killed;
            }
            Some(Signal::SIGXCPU) => CheckLimit::Cpu,
            Some(Signal::SIGABRT) if last_words.contains(OUT_OF_MEMORY) => CheckLimit::Memory,
            Some(Signal::SIGABRT) if last_words.contains(OUT_OF_STACK) => CheckLimit::Stack,
            _ => CheckLimit::Died,
        };
        if limit == CheckLimit::Died {
            tracing::warn!(%status, ?last_words, "a check worker ended by itself");
        }
        Ended::Over(limit)
    }

    async fn receive<T: DeserializeOwned>(&mut self) -> io::Result<T> {
        let mut head = [0; LENGTH_BYTES];
        self.answers.read_exact(&mut head).await?;
        let mut bytes = vec![0; length(head, ANSWER_MAX_BYTES)?];
        self.answers.read_exact(&mut bytes).await?;
        decode(&bytes)
    }

    /// What it wrote before it ended. Of one that runs on: nothing, after a while.
    async fn last_words(&mut self) -> String {
        let mut bytes = Vec::new();
        let mut stderr = (&mut self.last_words).take(LAST_WORDS_MAX_BYTES);
        let _ = tokio::time::timeout(END_MAX, stderr.read_to_end(&mut bytes)).await;
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
