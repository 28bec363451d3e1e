//! Worker processes, for checks whose cost only a limit of the kernel can bound: JSON Schemas, guardrails, Cedar and Rego.
//!
//! A worker that exceeds its limits, hangs or dies fails only that check. A check whose caller is gone ends at once, with its process.
//! Callers hold a slot (`slots.rs`), so there are never more workers than slots, besides those that are ending and those that are ready.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::slots::{CHECKS_AT_ONCE_MAX, CheckSlot, SLOT_WAIT_MAX};
use super::worker_process::{END_MAX, Worker, WorkerEnd};
use crate::checks::worker_messages::{CHECK_REQUEST_MAX_BYTES, Isolation, encode};
use crate::checks::{CHECK_SHORT_MAX, CHECK_WALL_MAX_SECONDS, CheckLimit, Evaluation, TaskAnswer, TaskOutcome};
use crate::domain::limits::CALL_TIMEOUT_DEFAULT_SECONDS;
use crate::domain::{Error, Reason, Result};

/// Number of evaluations of one worker. More: memory that a library keeps of hostile text adds up. Fewer: more starts, a few
/// milliseconds each.
const CHECKS_PER_WORKER_MAX: u32 = 200;
/// Workers that are started when no idle one is left. With a single one, the next check takes the last again, and a start runs beside it.
const READY_WORKERS: usize = 2;
/// Timeout of a worker's start, usually milliseconds. Longer: with the wait for a slot and a second try, callers time out before they get
/// a reason.
const START_MAX: Duration = Duration::from_secs(3);
/// Wall-clock timeout of a check.
const CHECK_WALL_MAX: Duration = Duration::from_secs(CHECK_WALL_MAX_SECONDS);

// The longest that a check takes: it waits for a slot, the first worker is killed, and a second one repeats the request. A process that
// was killed is gone in moments, so both ends count as one. Longer: callers time out before they get the reason.
const _: () = assert!(
    SLOT_WAIT_MAX.as_millis()
        + 2 * (START_MAX.as_millis() + CHECK_SHORT_MAX.as_millis() + CHECK_WALL_MAX.as_millis())
        + END_MAX.as_millis()
        < Duration::from_secs(CALL_TIMEOUT_DEFAULT_SECONDS).as_millis()
);

/// A request to a worker, encoded.
#[derive(Debug)]
pub struct WorkerRequest {
    bytes: Vec<u8>,
    tasks: usize,
}

impl WorkerRequest {
    /// Encodes a request.
    ///
    /// # Errors
    /// `INTERNAL` when it is larger than the largest valid request.
    pub fn new(evaluation: &Evaluation) -> Result<Self> {
        encode(evaluation, CHECK_REQUEST_MAX_BYTES)
            .map(|bytes| Self { bytes, tasks: evaluation.tasks.len() })
            .map_err(|error| Error::internal(format!("failed to encode a request to a check worker: {error}")))
    }
}

/// The idle workers, and counts of how checks ended.
#[derive(Debug)]
pub struct CheckWorkers {
    program: PathBuf,
    idle: Mutex<VecDeque<Worker>>,
    /// Told when an idle worker was taken.
    taken: Notify,
    /// Why the last start failed, if it did.
    failure: Mutex<Option<String>>,
    /// The isolation that the last worker reported.
    isolation: Mutex<Option<Isolation>>,
    over_limit: [AtomicU64; CheckLimit::ALL.len()],
    abandoned: AtomicU64,
}

impl Default for CheckWorkers {
    fn default() -> Self {
        Self {
            program: own_program(),
            idle: Mutex::default(),
            taken: Notify::default(),
            failure: Mutex::default(),
            isolation: Mutex::default(),
            over_limit: Default::default(),
            abandoned: AtomicU64::new(0),
        }
    }
}

/// Returns the path of the running program, even when its file was replaced by another version, which may not know these requests.
fn own_program() -> PathBuf {
    if cfg!(target_os = "linux") {
        return PathBuf::from("/proc/self/exe");
    }
    std::env::current_exe().unwrap_or_default()
}

impl CheckWorkers {
    /// Starts a worker, so that the first check finds it ready. When that fails, the reason is logged, and returned by every check.
    pub async fn warm(&self) {
        if let Ok(worker) = self.start().await {
            self.keep(worker);
        }
    }

    /// Starts workers whenever the last idle one was taken, until it is dropped: a check that loses its worker costs nobody else the start
    /// of one.
    pub async fn keep_ready(&self) {
        loop {
            self.taken.notified().await;
            if !self.idle.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
                continue;
            }
            for _ in 0..READY_WORKERS {
                self.warm().await;
            }
        }
    }

    /// Sends a request to a worker, and waits for the outcomes of its tasks within the limits, which count for all of them together.
    /// The process ends when this is dropped.
    ///
    /// # Errors
    /// `CHECKS_UNAVAILABLE` when no worker can be started.
    pub async fn ask(&self, request: &WorkerRequest, _slot: &CheckSlot) -> Result<Vec<TaskOutcome>> {
        let mut guard = AbandonGuard { abandoned: Some(&self.abandoned) };
        let ended = self.answer(request).await;
        guard.abandoned = None;
        let (answers, over) = ended?;
        let mut outcomes: Vec<TaskOutcome> = answers.into_iter().map(TaskOutcome::Answered).collect();
        if let Some(limit) = over {
            let counts = CheckLimit::ALL.iter().zip(&self.over_limit);
            counts.filter(|(each, _)| **each == limit).for_each(|(_, count)| _ = count.fetch_add(1, Ordering::Relaxed));
            outcomes.push(TaskOutcome::OverLimit(limit));
            outcomes.resize(request.tasks, TaskOutcome::NotRun);
        }
        Ok(outcomes)
    }

    /// Returns the answers, and the limit that ended the task after them, if one did.
    async fn answer(&self, request: &WorkerRequest) -> Result<(Vec<TaskAnswer>, Option<CheckLimit>)> {
        let worker = self.take().await?;
        let is_new = worker.answered() == 0;
        let (answers, ended) = self.answer_by(worker, request).await;
        match ended {
            None => return Ok((answers, None)),
            // Memory that earlier checks left in this worker must not decide about this one.
            Some(WorkerEnd::Over(CheckLimit::Memory)) if !is_new => {}
            Some(WorkerEnd::Over(limit)) => return Ok((answers, Some(limit))),
            // When the server is stopped, each process may get a signal.
            Some(WorkerEnd::Killed) => {}
        }
        let (answers, ended) = self.answer_by(self.start().await?, request).await;
        let over = ended.map(|ended| match ended {
            WorkerEnd::Over(limit) => limit,
            WorkerEnd::Killed => CheckLimit::Died,
        });
        Ok((answers, over))
    }

    async fn answer_by(&self, mut worker: Worker, request: &WorkerRequest) -> (Vec<TaskAnswer>, Option<WorkerEnd>) {
        let mut answers = Vec::new();
        let mut is_short = true;
        let asked = {
            let mut asked = pin!(worker.ask(&request.bytes, request.tasks, &mut answers));
            match tokio::time::timeout(CHECK_SHORT_MAX / 2, &mut asked).await {
                Ok(asked) => Ok(asked),
                Err(_) => {
                    is_short = false;
                    tokio::time::timeout(CHECK_WALL_MAX, asked).await
                }
            }
        };
        let ended = match asked {
            Ok(Ok(())) => {
                // After half of the time the priority may be low for good, as the two clocks differ: such a worker is not used again.
                if is_short {
                    self.keep(worker);
                }
                None
            }
            Ok(Err(error)) => Some(worker.end(&error).await),
            Err(_) => Some(WorkerEnd::Over(CheckLimit::WallTime)),
        };
        (answers, ended)
    }

    /// Returns why the last start failed; none when it did not.
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the number of checks that each limit ended, and of those abandoned by their callers, since the start.
    pub fn ended(&self) -> (Vec<(CheckLimit, u64)>, u64) {
        let counts = self.over_limit.iter().map(|count| count.load(Ordering::Relaxed));
        (CheckLimit::ALL.into_iter().zip(counts).collect(), self.abandoned.load(Ordering::Relaxed))
    }

    async fn take(&self) -> Result<Worker> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            // A caller that has to start its own needs no second one beside it.
            let Some(mut worker) = idle else { return self.start().await };
            self.taken.notify_one();
            // A worker that ended while it was idle is dropped.
            if worker.is_running() {
                return Ok(worker);
            }
        }
    }

    fn keep(&self, worker: Worker) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if worker.answered() < CHECKS_PER_WORKER_MAX && idle.len() < CHECKS_AT_ONCE_MAX {
            idle.push_back(worker);
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
                self.log_isolation(isolation);
                Ok(worker)
            }
            Err(why) => {
                if failure.is_none() {
                    tracing::error!(
                        why,
                        "failed to start a check worker: until one starts, no JSON Schema, guardrail, Cedar, Rego or template is checked"
                    );
                }
                *failure = Some(why.clone());
                let message = "this server can't start the process that checks run in: try again later, or ask its operator \
                               to look into its log";
                let internal = Some(format!("failed to start a check worker: {why}"));
                Err(Error { internal, ..Error::new(Reason::ChecksUnavailable, message) })
            }
        }
    }

    /// Logs once how far the kernel isolates workers, and again when that changes.
    fn log_isolation(&self, isolation: Isolation) {
        let logged = self.isolation.lock().unwrap_or_else(PoisonError::into_inner).replace(isolation);
        match isolation {
            _ if logged == Some(isolation) => {}
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

/// Counts a check that its caller abandoned.
struct AbandonGuard<'a> {
    abandoned: Option<&'a AtomicU64>,
}

impl Drop for AbandonGuard<'_> {
    fn drop(&mut self) {
        if let Some(abandoned) = self.abandoned {
            abandoned.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::path::Path;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::checks::{EvaluatedContent, Facts, Task};
    use crate::domain::name::NamespaceId;
    use crate::service::SlotUse;
    use crate::service::checking::slots::CheckSlots;

    /// Reads a request, and answers that the schema is valid.
    const ANSWERS: &str = r#"request; send '\0\0\0\017' '{"Findings":[]}'"#;
    /// Reads a request, and runs out of memory.
    const OUT_OF_MEMORY: &str = "request; echo 'memory allocation of 8 bytes failed' >&2; kill -ABRT $$";
    /// Reads a request, and is killed by another process.
    const KILLED: &str = "request; kill -TERM $$";

    /// Writes a script by another process. A descriptor of this process could be inherited by what another test starts meanwhile, and
    /// the system starts no file that is open for writing (ETXTBSY).
    fn write_program(program: &Path, script: &str) {
        let mut shell = Command::new("sh")
            .args(["-c", "cat >\"$0\" && chmod 700 \"$0\""])
            .arg(program)
            .stdin(Stdio::piped())
            .spawn()
            .expect("a shell");
        shell.stdin.take().expect("stdin").write_all(script.as_bytes()).expect("written");
        assert!(shell.wait().expect("an end").success());
    }

    /// Returns the outcomes of that many checks by workers that run these lines of a shell.
    async fn outcomes(checks: usize, lines: &[&str]) -> Vec<Result<Vec<TaskOutcome>>> {
        let dir = tempfile::tempdir().expect("a directory");
        let program = dir.path().join("worker");
        let tasks = vec![Task::JsonSchema { schema: "{}".to_owned() }];
        let request =
            WorkerRequest::new(&Evaluation { content: EvaluatedContent::None, facts: Facts::default(), tasks })
                .expect("short");
        let script = format!(
            "#!/bin/sh\nrequest() {{ head -c {} >{}; }}\nsend() {{ printf \"$1\"; printf %s \"$2\"; }}\n{}\n",
            request.bytes.len(),
            dir.path().join("asked").display(),
            lines.join("\n"),
        );
        write_program(&program, &script);
        let workers = CheckWorkers { program, ..Default::default() };
        let namespace = NamespaceId::parse("namespace", "n").expect("an id");
        let slot = CheckSlots::default().take(SlotUse::Check, &namespace).await.expect("a slot");
        let mut outcomes = Vec::new();
        for _ in 0..checks {
            outcomes.push(workers.ask(&request, &slot).await);
        }
        outcomes
    }

    const REPORTS_READY: &str = r#"send '\0\0\0\024' '{"isolation":"Full"}'"#;

    fn answered() -> Vec<TaskOutcome> {
        vec![TaskOutcome::Answered(TaskAnswer::Findings(Vec::new()))]
    }

    /// Given a worker that has answered before and may have kept memory, a new one repeats the check.
    #[tokio::test]
    async fn what_a_check_leaves_behind_fails_no_other() {
        let outcomes = outcomes(2, &[REPORTS_READY, ANSWERS, OUT_OF_MEMORY]).await;
        assert!(outcomes.iter().all(|outcome| outcome.as_ref().expect("an outcome") == &answered()), "{outcomes:?}");
    }

    /// Given new workers that run out of memory, or are killed repeatedly, the check fails.
    #[tokio::test]
    async fn ends_of_new_workers_are_findings() {
        for (line, limit) in [
            (OUT_OF_MEMORY, CheckLimit::Memory),
            (KILLED, CheckLimit::Died),
            ("request; exit 101", CheckLimit::Died),
            (r"request; send '\377\377\377\377' ''", CheckLimit::Died),
            ("request; kill -XCPU $$", CheckLimit::Cpu),
        ] {
            let outcomes = outcomes(1, &[REPORTS_READY, line]).await;
            let outcome = outcomes.first().expect("one").as_ref().expect("an outcome");
            assert_eq!(outcome, &[TaskOutcome::OverLimit(limit)], "{line}");
        }
    }

    /// Given a process that is no worker, it gets no request.
    #[tokio::test]
    async fn what_is_no_worker_gets_no_request() {
        for line in ["exit 1", "echo nonsense", r"send '\0\0\0\002' '{}'"] {
            let outcomes = outcomes(1, &[line]).await;
            let refused = outcomes.first().expect("one").as_ref().expect_err("a refusal");
            assert_eq!(refused.reason, Reason::ChecksUnavailable, "{line}");
        }
    }
}
