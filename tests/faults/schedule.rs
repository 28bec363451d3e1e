//! Runs a plan, applies every validator, and keeps the directory of a failed schedule.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;

use super::check::record::{OperationOutcome, RecordedEvent, RecordedHistory, StreamEnd, Where};
use super::check::{CheckFindings, VALIDATORS, live};
use super::database::Postgres;
use super::fault::{FaultDatabase, InjectedFault};
use super::plan::{self, FaultPlan};
use super::run::{self, Ran};
use super::summary::Summary;
use super::world;

/// How many violations are printed; the others are in the kept directory.
const TOLD_MAX: usize = 3;
/// What a server logs when its planted defect takes effect.
const DEFECT_ACTED: &str = "a planted defect";

/// The result of a schedule.
pub struct ScheduleVerdict {
    /// Validators that failed, each with its violations.
    pub violations: Vec<(String, Vec<String>)>,
    /// What was done, in one line.
    pub line: String,
    /// The directory, kept when something failed.
    pub directory: Option<PathBuf>,
    /// Whether a server logged that its planted defect took effect.
    pub defect_acted: bool,
    /// The request ids of the log, in order.
    pub order: Vec<String>,
}

/// Returns how far two runs of one plan were the same.
pub fn compare(plan: &FaultPlan, one: &ScheduleVerdict, other: &ScheduleVerdict) -> String {
    let same = one.order.iter().zip(&other.order).take_while(|(one, other)| one == other).count();
    let [first, second] = [one, other].map(|verdict| verdict.order.len());
    format!(
        "seed {} again, plan {:016x}: its faults were the same, its writes up to revision {same} of {first} and {second}",
        plan.seed,
        plan::fingerprint(plan)
    )
}

/// Runs schedules one after the other, on its own PostgreSQL.
#[derive(Default)]
pub struct ScheduleQueue(OnceCell<Arc<Postgres>>);

impl ScheduleQueue {
    async fn postgres(&self) -> Arc<Postgres> {
        let start = || async { tokio::task::spawn_blocking(|| Arc::new(Postgres::start())).await };
        Arc::clone(self.0.get_or_try_init(start).await.expect("PostgreSQL starts"))
    }

    /// Runs a plan in this queue.
    pub async fn run(&self, plan: &FaultPlan, defect: Option<&str>, summary: &Summary) -> ScheduleVerdict {
        let postgres = match plan.database {
            FaultDatabase::Sqlite => None,
            FaultDatabase::Postgres => Some(self.postgres().await),
        };
        let directory = world::directory(plan.seed);
        let began = Instant::now();
        let ran = run::run(plan, &directory, postgres, defect).await;
        let mut verdict = judge(plan, ran, began.elapsed(), summary);
        verdict.defect_acted = defect.is_some() && world::logs_say(&directory, DEFECT_ACTED);
        if verdict.violations.is_empty() {
            world::remove(&directory);
        } else {
            let text: String =
                verdict.violations.iter().map(|(name, said)| format!("{name}:\n  {}\n", said.join("\n  "))).collect();
            let _ = std::fs::write(directory.join("violations.txt"), text + &format!("\n{plan:#?}\n"));
            verdict.directory = Some(directory);
        }
        verdict
    }
}

fn judge(plan: &FaultPlan, ran: Result<Ran, String>, took: Duration, summary: &Summary) -> ScheduleVerdict {
    let mut violations = Vec::new();
    let database = match plan.database {
        FaultDatabase::Sqlite => "SQLite".to_owned(),
        FaultDatabase::Postgres => format!("PostgreSQL, {} replicas", plan.replicas),
    };
    let fingerprint = plan::fingerprint(plan);
    let mut line = format!("seed {} (plan {fingerprint:016x}) on {database}, {:.1} s", plan.seed, took.as_secs_f64());
    let mut order = Vec::new();
    match ran {
        Err(said) => violations.push(("the schedule ran".to_owned(), vec![said])),
        Ok(ran) => {
            line += &format!(": {}", ran.struck.join(", "));
            count(plan, &ran, summary);
            let own = |event: &RecordedEvent| event.request_id.clone();
            order = ran.histories.first().map(|(_, first)| first.log.iter().map(own).collect()).unwrap_or_default();
            for (namespace, history) in &ran.histories {
                for (name, validator) in VALIDATORS {
                    let mut findings = CheckFindings::default();
                    validator(history, &mut findings);
                    summary.add("checks", name, findings.checks);
                    if !findings.violations.is_empty() {
                        let said = findings.violations.into_iter().map(|said| format!("{namespace}: {said}"));
                        violations.push(((*name).to_owned(), said.collect()));
                    }
                }
            }
        }
    }
    ScheduleVerdict { violations, line, directory: None, defect_acted: false, order }
}

/// Adds what was done to the summary.
fn count(plan: &FaultPlan, ran: &Ran, summary: &Summary) {
    let database = if plan.database == FaultDatabase::Sqlite { "SQLite" } else { "PostgreSQL" };
    summary.add("schedules", database, 1);
    if plan.replicas > 1 {
        summary.add("schedules", "several replicas", 1);
    }
    if world::runs_without_notify(plan) {
        summary.add("schedules", "NOTIFY off", 1);
    }
    if plan.background {
        summary.add("schedules", "runs, reports, tenants and roles beside", 1);
    }
    if plan.short_timers {
        summary.add("schedules", "timers shorter than faults", 1);
    }
    if plan.connection_age_ms.is_some() {
        summary.add("schedules", "connections end of age", 1);
    }
    if plan.tenants > 0 {
        summary.add("schedules", "several namespaces", 1);
    }
    if plan.workloads {
        summary.add("schedules", "approvals, keys, quotas, leases and imports beside", 1);
    }
    ran.struck.iter().for_each(|fault| summary.add("faults", fault, 1));
    summary.add("schedule details", "faults that found nothing to strike", ran.missed.len() as u64);
    summary.add("schedule details", "faults that waited for the writers in vain", ran.stalls as u64);
    let troubles = ran.histories.first().map(|(_, first)| first.troubles.as_slice()).unwrap_or_default();
    let waits = troubles.iter().filter(|trouble| trouble.place == Where::Processor);
    let waited: Duration = waits.map(|trouble| trouble.until.saturating_sub(trouble.from)).sum();
    summary.add("schedule details", "seconds in which a server waited for a processor", waited.as_secs());
    ran.histories.iter().for_each(|(_, history)| count_history(history, summary));
}

/// Adds what was done in one namespace to the summary.
fn count_history(history: &RecordedHistory, summary: &Summary) {
    let RecordedHistory { operations, reads, failed_reads, streams, .. } = history;
    for each in operations.iter().flat_map(|operation| &operation.tries) {
        let outcome = match &each.outcome {
            OperationOutcome::Acknowledged(_) => "writes acknowledged",
            OperationOutcome::Refused(_) => "writes refused",
            OperationOutcome::Unknown(_) => "writes of unknown outcome",
        };
        summary.add("calls", outcome, 1);
    }
    summary.add("calls", "reads answered", reads.len() as u64);
    summary.add("calls", "reads marked degraded", reads.iter().filter(|read| read.marks.degraded).count() as u64);
    summary.add("calls", "reads marked in doubt", reads.iter().filter(|read| read.marks.in_doubt).count() as u64);
    summary.add("calls", "reads refused or lost", failed_reads.len() as u64);
    if let Some(growth) = history.stuck_growth_bytes {
        summary.add("schedule details", "MiB that servers grew by stuck readers", growth / (1024 * 1024));
    }
    for (_, _, took) in live::deliveries(history) {
        let within = match took.as_millis() {
            0..1_000 => "activations delivered within 1 s",
            1_000..2_500 => "activations delivered within 2.5 s",
            _ => "activations delivered later, or not before a stream ended",
        };
        summary.add("streams", within, 1);
    }
    for stream in streams {
        let mode = if stream.latest { "LATEST" } else { "ALL" };
        let how = if stream.resume.is_some() { "resumed" } else { "from a snapshot" };
        summary.add("streams", &format!("mode {mode}, {how}"), 1);
        summary.add("streams", "messages verified", stream.messages.len() as u64);
        summary.add("streams", "ended by faults", u64::from(matches!(stream.end, StreamEnd::Ended(_))));
    }
}

/// Registers everything that a plan must do, so that what never happened is reported.
pub fn expect(plan: &FaultPlan, summary: &Summary) {
    if plan.background || plan.workloads {
        summary.plan("checks", "promises: what workloads were told");
    }
    if plan.background {
        summary.plan("checks", "roles: taken away in time");
    }
    for step in &plan.steps {
        summary.plan("faults", step.fault.name());
    }
    for (name, _) in VALIDATORS {
        let drained = plan.steps.iter().any(|step| {
            matches!(step.fault, InjectedFault::DrainServer(_) | InjectedFault::Upgrade(_) | InjectedFault::Stuck(_))
        });
        let always = !["ends in order", "promises", "roles"].iter().any(|part| name.contains(part));
        if always || name.contains("ends in order") && drained {
            summary.plan("checks", name);
        }
    }
    for outcome in ["writes acknowledged", "writes refused", "writes of unknown outcome", "reads answered"] {
        summary.plan("calls", outcome);
    }
    summary.plan("streams", "messages verified");
}

/// Prints what failed, and how to run it again.
pub fn tell(plan: &FaultPlan, verdict: &ScheduleVerdict, replay: &str) {
    println!("FAILED {}", verdict.line);
    for (name, said) in &verdict.violations {
        println!("  {name}: {} violations", said.len());
        for text in said.iter().take(TOLD_MAX) {
            println!("    {}", text.chars().take(600).collect::<String>());
        }
    }
    println!("  plan: {plan:?}");
    if let Some(directory) = &verdict.directory {
        println!("  kept: {}", directory.display());
    }
    println!("  replay: {replay}");
}
