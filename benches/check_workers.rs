//! Measures the start of a check worker, and a check by a worker and in process, and prints a table. Asserts nothing.
//!
//! Times are medians. An answer is compared with that in process before its time counts.

use std::hint::black_box;
use std::io::Write as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result};
use policyhub::checks::worker_messages::{
    CHECK_REQUEST_MAX_BYTES, CHECK_RESPONSE_MAX_BYTES, WorkerReady, encode, read,
};
use policyhub::checks::{EvaluatedContent, Evaluation, Facts, Task, TaskAnswer};

/// Number of starts for a median.
const STARTS: usize = 51;
/// Number of checks for a median.
const CHECKS: usize = 201;
/// Numbers of rules in a content: of about 100 bytes up to 1 MiB.
const RULES: [usize; 3] = [1, 100, 10_000];

struct CheckWorker {
    child: Child,
    questions: ChildStdin,
    answers: ChildStdout,
}

impl CheckWorker {
    /// Starts a worker as a server does.
    fn start() -> Result<(Self, WorkerReady)> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_policyhub"));
        command.arg("check-worker").env_clear().current_dir("/");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (questions, answers) = (child.stdin.take().context("stdin")?, child.stdout.take().context("stdout")?);
        let mut worker = Self { child, questions, answers };
        let greeting = read(&mut worker.answers, CHECK_RESPONSE_MAX_BYTES)?.context("it ended")?;
        Ok((worker, greeting))
    }

    fn ask(&mut self, check: &Evaluation) -> Result<TaskAnswer> {
        self.questions.write_all(&encode(check, CHECK_REQUEST_MAX_BYTES)?)?;
        read(&mut self.answers, CHECK_RESPONSE_MAX_BYTES)?.context("it ended")
    }

    /// Closes the worker's pipe, so that it ends.
    fn end(self) -> Result<()> {
        let Self { mut child, questions, answers } = self;
        drop((questions, answers));
        child.wait()?;
        Ok(())
    }
}

/// Returns the resident memory of a process, its program included, as Linux reports it.
fn resident_mib(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? / 1024)
}

fn median_us(mut of: impl FnMut() -> Result<()>, rounds: usize) -> Result<f64> {
    let mut taken = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let begun = Instant::now();
        of()?;
        taken.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    taken.sort_by(f64::total_cmp);
    Ok(taken.get(rounds / 2).copied().unwrap_or_default())
}

/// Returns a check of this many rules, which satisfy a schema of a few keywords.
fn check(rules: usize) -> Evaluation {
    let rule = |number: usize| {
        serde_json::json!({
            "id": format!("rule-{number}"), "effect": "deny", "subjects": ["group:operators", "group:auditors"],
            "port": number % 65_536,
        })
    };
    let schema = serde_json::json!({
        "type": "array",
        "items": {
            "type": "object", "required": ["id", "effect"], "additionalProperties": false,
            "properties": {
                "id": {"type": "string", "pattern": "^[a-z]+-[0-9]+$"}, "effect": {"enum": ["allow", "deny"]},
                "subjects": {"type": "array", "items": {"type": "string"}}, "port": {"type": "integer", "maximum": 65_535},
            },
        },
    });
    let document = (0..rules).map(rule).collect();
    let tasks = vec![Task::JsonSchema { schema: schema.to_string() }];
    Evaluation { content: EvaluatedContent::Document(document), facts: Facts::default(), tasks }
}

fn main() -> Result<()> {
    let start = || {
        let (worker, greeting) = CheckWorker::start()?;
        black_box(greeting);
        worker.end()
    };
    println!("start and end of a worker: {:.2} ms", median_us(start, STARTS)? / 1e3);
    let (mut worker, greeting) = CheckWorker::start()?;
    println!("isolation: {:?}", greeting.isolation);
    println!("memory of one that waits: {} MiB", resident_mib(worker.child.id())?);
    worker.ask(&check(1))?;
    println!("memory after its first check: {} MiB\n", resident_mib(worker.child.id())?);
    println!("{:>8} {:>12} {:>12} {:>12}", "rules", "bytes", "in process us", "by worker us");
    for rules in RULES {
        let check = check(rules);
        let EvaluatedContent::Document(document) = &check.content else { continue };
        let bytes = document.to_string().len();
        anyhow::ensure!(Some(worker.ask(&check)?) == check.answers().next(), "the worker answers something else");
        let own = || {
            black_box(check.answers().next());
            Ok(())
        };
        let own = median_us(own, CHECKS)?;
        let asked = median_us(|| worker.ask(&check).map(|answer| _ = black_box(answer)), CHECKS)?;
        println!("{rules:>8} {bytes:>12} {own:>12.0} {asked:>12.0}");
    }
    worker.end()
}
