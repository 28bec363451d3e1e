//! Asks worker processes what can't be bounded inside of ours: what a stranger's schema says.
//!
//! A worker that outgrows its limits, hangs or dies is an outcome of that check and of nothing else. A check whose caller is
//! gone ends at once, with its process. Callers hold a slot (`check_slots`), so there are never more workers than slots,
//! besides those that are ending.

mod process;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use process::{Ended, Worker};

use super::check_slots::{CHECKS_AT_ONCE_MAX, CheckSlot};
use crate::checks::worker_messages::{Isolation, QUESTION_MAX_BYTES, encode};
use crate::checks::{CHECK_WALL_MAX_SECONDS, CheckLimit, SchemaCheck, SchemaOutcome};
use crate::domain::{Error, Reason, Result};

/// Checks of one worker. More: what a library keeps of hostile schemas adds up. Fewer: more starts, a few milliseconds each.
const CHECKS_PER_WORKER_MAX: u32 = 200;
/// How long a worker may take to start. A machine that starts nothing in that time checks nothing either.
const START_MAX: Duration = Duration::from_secs(5);
/// How long a check may take by the clock.
const CHECK_WALL_MAX: Duration = Duration::from_secs(CHECK_WALL_MAX_SECONDS);
/// Tries of a check whose worker was ended by a signal of somebody else: at a stop, each process may get one.
const TRIES_MAX: usize = 2;

/// The workers, and what became of them.
#[derive(Debug)]
pub(super) struct CheckWorkers {
    program: PathBuf,
    idle: Mutex<Vec<Worker>>,
    /// Why the last start failed, if it did.
    failure: Mutex<Option<String>>,
    /// What the last worker that started said of itself.
    isolation: Mutex<Option<Isolation>>,
    over_limit: [AtomicU64; CheckLimit::ALL.len()],
    abandoned: AtomicU64,
}

impl Default for CheckWorkers {
    fn default() -> Self {
        Self {
            program: own_program(),
            idle: Mutex::default(),
            failure: Mutex::default(),
            isolation: Mutex::default(),
            over_limit: Default::default(),
            abandoned: AtomicU64::new(0),
        }
    }
}

/// The program that runs, also when its file was replaced by another version meanwhile: that may not know our questions.
fn own_program() -> PathBuf {
    if cfg!(target_os = "linux") {
        return PathBuf::from("/proc/self/exe");
    }
    std::env::current_exe().unwrap_or_default()
}

impl CheckWorkers {
    /// Starts a worker that the first check finds ready. When that fails, the log says why, and so does every check.
    pub(super) async fn warm(&self) {
        if let Ok(worker) = self.start().await {
            self.keep(worker);
        }
    }

    /// Has a worker answer, within its limits. The process ends when this is dropped.
    ///
    /// # Errors
    /// `CHECKS_UNAVAILABLE` when no worker can be started.
    pub(super) async fn ask(&self, check: &SchemaCheck, _slot: &CheckSlot) -> Result<SchemaOutcome> {
        let question = encode(check, QUESTION_MAX_BYTES)
            .map_err(|error| Error::internal(format!("failed to write a question to a check worker: {error}")))?;
        for _ in 0..TRIES_MAX {
            let mut worker = self.take().await?;
            let mut waiting = Waiting { abandoned: Some(&self.abandoned) };
            let answered = tokio::time::timeout(CHECK_WALL_MAX, worker.ask(&question)).await;
            let ended = match answered {
                Ok(Ok(answer)) => {
                    waiting.abandoned = None;
                    self.keep(worker);
                    return Ok(SchemaOutcome::Answered(answer));
                }
                Ok(Err(error)) => worker.end(&error).await,
                Err(_) => Ended::Over(CheckLimit::WallTime),
            };
            waiting.abandoned = None;
            if let Ended::Over(limit) = ended {
                return Ok(self.count(limit));
            }
        }
        Ok(self.count(CheckLimit::Died))
    }

    /// Why no worker can be started; `None`: the last start went well.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Checks that a limit ended, and those that their callers left, since the start.
    pub(super) fn ended(&self) -> (Vec<(CheckLimit, u64)>, u64) {
        let counts = self.over_limit.iter().map(|count| count.load(Ordering::Relaxed));
        (CheckLimit::ALL.into_iter().zip(counts).collect(), self.abandoned.load(Ordering::Relaxed))
    }

    fn count(&self, limit: CheckLimit) -> SchemaOutcome {
        let counts = CheckLimit::ALL.iter().zip(&self.over_limit);
        counts.filter(|(each, _)| **each == limit).for_each(|(_, count)| _ = count.fetch_add(1, Ordering::Relaxed));
        SchemaOutcome::OverLimit(limit)
    }

    async fn take(&self) -> Result<Worker> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(mut worker) = idle else { return self.start().await };
            // One that ended while it waited is left aside.
            if worker.is_running() {
                return Ok(worker);
            }
        }
    }

    fn keep(&self, worker: Worker) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if worker.answered() < CHECKS_PER_WORKER_MAX && idle.len() < CHECKS_AT_ONCE_MAX {
            idle.push(worker);
        }
    }

    async fn start(&self) -> Result<Worker> {
        let started = match tokio::time::timeout(START_MAX, Worker::start(&self.program)).await {
            Ok(started) => started.map_err(|error| error.to_string()),
            Err(_) => Err(format!("it was not ready within {} s", START_MAX.as_secs())),
        };
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        match started {
            Ok((worker, isolation)) => {
                if failure.take().is_some() {
                    tracing::info!("check workers can be started again");
                }
                self.tell_isolation(isolation);
                Ok(worker)
            }
            Err(why) => {
                if failure.is_none() {
                    tracing::error!(
                        why,
                        "failed to start a check worker: versions with a JSON Schema are not checked until it works"
                    );
                }
                *failure = Some(why.clone());
                Err(Error {
                    internal: Some(format!("failed to start a check worker: {why}")),
                    ..Error::new(Reason::ChecksUnavailable, "this server can't start the process that checks run in")
                })
            }
        }
    }

    /// Says once how far the kernel helps, and again when that changes.
    fn tell_isolation(&self, isolation: Isolation) {
        let told = self.isolation.lock().unwrap_or_else(PoisonError::into_inner).replace(isolation);
        match isolation {
            _ if told == Some(isolation) => {}
            Isolation::Full => tracing::info!("check workers have neither files nor the network"),
            Isolation::Partial => tracing::warn!(
                "the kernel has an older Landlock: it keeps check workers from files, and not from all else"
            ),
            Isolation::None => tracing::warn!(
                "the kernel gives check workers no Landlock: they are limited, but not kept from files and the network"
            ),
        }
    }
}

/// Counts a check that its caller left.
struct Waiting<'a> {
    abandoned: Option<&'a AtomicU64>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(abandoned) = self.abandoned {
            abandoned.fetch_add(1, Ordering::Relaxed);
        }
    }
}
