//! Asks worker processes what can't be bounded inside of ours: what a stranger's schema says.
//!
//! A worker that outgrows its limits, hangs or dies is an outcome of that check and of nothing else. A check whose caller is
//! gone ends at once, with its process. Callers hold a slot (`check_slots`), so there are never more workers than slots,
//! besides those that are ending.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::slots::{CHECKS_AT_ONCE_MAX, CheckSlot};
use super::worker_process::{Ended, Worker};
use crate::checks::worker_messages::{Isolation, QUESTION_MAX_BYTES, encode};
use crate::checks::{CHECK_WALL_MAX_SECONDS, CheckLimit, SchemaAnswer, SchemaCheck, SchemaOutcome};
use crate::domain::{Error, Reason, Result};

/// Checks of one worker. More: what a library keeps of hostile schemas adds up. Fewer: more starts, a few milliseconds each.
const CHECKS_PER_WORKER_MAX: u32 = 200;
/// How long a worker may take to start, milliseconds as a rule. Longer: with the wait for a slot and a second try, callers give up
/// before they are told why.
const START_MAX: Duration = Duration::from_secs(3);
/// How long a check may take by the clock.
const CHECK_WALL_MAX: Duration = Duration::from_secs(CHECK_WALL_MAX_SECONDS);

/// What is asked of a worker, as it is sent.
#[derive(Debug)]
pub struct Question(Vec<u8>);

impl Question {
    /// # Errors
    /// `INTERNAL` when it is larger than any that can be asked.
    pub fn new(check: &SchemaCheck) -> Result<Self> {
        encode(check, QUESTION_MAX_BYTES)
            .map(Self)
            .map_err(|error| Error::internal(format!("failed to write a question to a check worker: {error}")))
    }
}

/// The workers, and what became of them.
#[derive(Debug)]
pub struct CheckWorkers {
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
    pub async fn warm(&self) {
        if let Ok(worker) = self.start().await {
            self.keep(worker);
        }
    }

    /// Has a worker answer, within its limits. The process ends when this is dropped.
    ///
    /// # Errors
    /// `CHECKS_UNAVAILABLE` when no worker can be started.
    pub async fn ask(&self, question: &Question, _slot: &CheckSlot) -> Result<SchemaOutcome> {
        let mut waiting = Waiting { abandoned: Some(&self.abandoned) };
        let outcome = self.answer(question).await;
        waiting.abandoned = None;
        if let Ok(SchemaOutcome::OverLimit(limit)) = outcome {
            let counts = CheckLimit::ALL.iter().zip(&self.over_limit);
            counts.filter(|(each, _)| **each == limit).for_each(|(_, count)| _ = count.fetch_add(1, Ordering::Relaxed));
        }
        outcome
    }

    async fn answer(&self, question: &Question) -> Result<SchemaOutcome> {
        let worker = self.take().await?;
        let is_new = worker.answered() == 0;
        let ended = match self.answer_by(worker, question).await {
            Ok(answer) => return Ok(SchemaOutcome::Answered(answer)),
            Err(ended) => ended,
        };
        match ended {
            // What the checks before left in a worker's memory must not decide about this one.
            Ended::Over(CheckLimit::Memory) if !is_new => {}
            Ended::Over(limit) => return Ok(SchemaOutcome::OverLimit(limit)),
            // At a stop of the server each process may get a signal.
            Ended::Killed => {}
        }
        Ok(match self.answer_by(self.start().await?, question).await {
            Ok(answer) => SchemaOutcome::Answered(answer),
            Err(Ended::Over(limit)) => SchemaOutcome::OverLimit(limit),
            Err(Ended::Killed) => SchemaOutcome::OverLimit(CheckLimit::Died),
        })
    }

    async fn answer_by(&self, mut worker: Worker, question: &Question) -> std::result::Result<SchemaAnswer, Ended> {
        match tokio::time::timeout(CHECK_WALL_MAX, worker.ask(&question.0)).await {
            Ok(Ok(answer)) => {
                self.keep(worker);
                Ok(answer)
            }
            Ok(Err(error)) => Err(worker.end(&error).await),
            Err(_) => Err(Ended::Over(CheckLimit::WallTime)),
        }
    }

    /// Why no worker can be started; `None`: the last start went well.
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Checks that a limit ended, and those that their callers left, since the start.
    pub fn ended(&self) -> (Vec<(CheckLimit, u64)>, u64) {
        let counts = self.over_limit.iter().map(|count| count.load(Ordering::Relaxed));
        (CheckLimit::ALL.into_iter().zip(counts).collect(), self.abandoned.load(Ordering::Relaxed))
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::checks::SchemaTask;
    use crate::domain::name::NamespaceId;
    use crate::service::checking::slots::CheckSlots;

    /// Takes a question, and says that its schema is one.
    const ANSWERS: &str = r#"question; send '\0\0\0\015' '{"Errors":[]}'"#;
    /// Takes a question, and has no memory for it.
    const OUT_OF_MEMORY: &str = "question; echo 'memory allocation of 8 bytes failed' >&2; kill -ABRT $$";
    /// Takes a question, and is ended by somebody else.
    const KILLED: &str = "question; kill -TERM $$";

    /// What becomes of that many checks by workers that do as these lines of a shell say.
    async fn outcomes(checks: usize, lines: &[&str]) -> Vec<Result<SchemaOutcome>> {
        let dir = tempfile::tempdir().expect("a directory");
        let program = dir.path().join("worker");
        let question =
            Question::new(&SchemaCheck { schema: "{}".to_owned(), task: SchemaTask::Compile }).expect("short");
        let script = format!(
            "#!/bin/sh\nquestion() {{ head -c {} >{}; }}\nsend() {{ printf \"$1\"; printf %s \"$2\"; }}\n{}\n",
            question.0.len(),
            dir.path().join("asked").display(),
            lines.join("\n"),
        );
        std::fs::write(&program, script).expect("a script");
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o700)).expect("a mode");
        let workers = CheckWorkers { program, ..Default::default() };
        let namespace = NamespaceId::parse("namespace", "n").expect("an id");
        let slot = CheckSlots::default().take(&namespace).await.expect("a slot");
        let mut outcomes = Vec::new();
        for _ in 0..checks {
            outcomes.push(workers.ask(&question, &slot).await);
        }
        outcomes
    }

    const GREETS: &str = r#"send '\0\0\0\024' '{"isolation":"Full"}'"#;

    fn answered() -> SchemaOutcome {
        SchemaOutcome::Answered(SchemaAnswer::Errors(Vec::new()))
    }

    /// A worker that has answered before may have kept memory: the check is done again by a new one.
    #[tokio::test]
    async fn what_a_check_leaves_behind_fails_no_other() {
        let outcomes = outcomes(2, &[GREETS, ANSWERS, OUT_OF_MEMORY]).await;
        assert!(outcomes.iter().all(|outcome| outcome.as_ref().expect("an outcome") == &answered()), "{outcomes:?}");
    }

    /// What a new worker has no memory for, or is killed over and over, is a finding.
    #[tokio::test]
    async fn ends_of_new_workers_are_findings() {
        for (line, limit) in [
            (OUT_OF_MEMORY, CheckLimit::Memory),
            (KILLED, CheckLimit::Died),
            ("question; exit 101", CheckLimit::Died),
            (r"question; send '\377\377\377\377' ''", CheckLimit::Died),
            ("question; kill -XCPU $$", CheckLimit::Cpu),
        ] {
            let outcomes = outcomes(1, &[GREETS, line]).await;
            let outcome = outcomes.first().expect("one").as_ref().expect("an outcome");
            assert_eq!(outcome, &SchemaOutcome::OverLimit(limit), "{line}");
        }
    }

    /// What is no worker is refused before it is asked.
    #[tokio::test]
    async fn what_does_not_greet_is_not_asked() {
        for line in ["exit 1", "echo nonsense", r"send '\0\0\0\002' '{}'"] {
            let outcomes = outcomes(1, &[line]).await;
            let refused = outcomes.first().expect("one").as_ref().expect_err("a refusal");
            assert_eq!(refused.reason, Reason::ChecksUnavailable, "{line}");
        }
    }
}
