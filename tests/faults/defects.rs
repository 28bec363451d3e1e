//! A test of the harness itself: every planted defect must be caught within a number of schedules.
//!
//! Invariant: a defect counts as caught when a validator reports a violation that it does not report for the same seed on a server
//! without the defect.

use std::time::Instant;

use super::fault::{DiskError, FaultDatabase, InjectedFault};
use super::plan::{self, FaultPlan};
use super::schedule::ScheduleQueue;
use super::settings::FaultSettings;
use super::summary::Summary;

/// Number of consecutive schedules that must each catch a defect that depends on no race.
const EVERY_SEED: u64 = 12;

/// Returns whether a plan can show a defect: seeds of other plans are skipped, because they would prove nothing.
fn concerns(defect: &str, plan: &FaultPlan) -> bool {
    let strikes = |wanted: fn(&InjectedFault) -> bool| plan.steps.iter().any(|step| wanted(&step.fault));
    match defect {
        "revision-from-sequence" => plan.database == FaultDatabase::Postgres,
        "sqlite-normal" => strikes(|fault| matches!(fault, InjectedFault::PowerCut)),
        "postgres-commit-off" => strikes(|fault| matches!(fault, InjectedFault::KillPostgres)),
        "unknown-is-failed" => strikes(|fault| matches!(fault, InjectedFault::LoseCommitAnswer(_))),
        "no-idempotency" => strikes(|fault| {
            matches!(fault, InjectedFault::LoseCommitAnswer(_) | InjectedFault::Reset(_) | InjectedFault::Cut(_))
        }),
        // A connection that is closed for its age ends the silence too.
        "transaction-left-open" => strikes(|fault| match fault {
            InjectedFault::Disk { error, .. } => *error != DiskError::Truncate,
            _ => false,
        }),
        "frozen-stream" => plan.connection_age_ms.is_none() && plan.watchers.iter().any(|watcher| !watcher.probe),
        "drop-on-full" => plan.ring_events < 100 && plan.watchers.iter().any(|watcher| !watcher.latest),
        "cached-get-active" => plan.replicas > 1,
        "schedule-moved-on-later" => plan.replicas > 1 && plan.workloads,
        _ => plan.watchers.iter().any(|watcher| !watcher.latest),
    }
}

/// Returns the validators that must report the defect: a report of another one has another cause.
fn expected(defect: &str) -> &'static [&'static str] {
    match defect {
        // A server that gets a request after the gap finds it before the log is read, and answers DATA_LOSS.
        "revision-from-sequence" => &["log", "answers: every error is named", "the schedule ran"],
        "sqlite-normal" | "postgres-commit-off" | "no-idempotency" | "unknown-is-failed" | "transaction-left-open" => {
            &["ledger"]
        }
        "cached-get-active" => &["linearizable"],
        "schedule-moved-on-later" => &["promises"],
        "frozen-stream" => &["live: no stream falls silent"],
        _ => &["streams", "converged"],
    }
}

/// Returns how many consecutive schedules must all catch a defect; one for those that need a race.
fn in_a_row(defect: &str, settings: &FaultSettings) -> u64 {
    if defect == "frozen-stream" { (settings.defect_seeds / 2).clamp(1, EVERY_SEED) } else { 1 }
}

/// A defect that was caught.
#[derive(Clone)]
struct Caught {
    seed: u64,
    schedules: u64,
    validator: String,
    said: String,
}

async fn hunt(defect: &str, settings: &FaultSettings, queue: &ScheduleQueue) -> Option<Caught> {
    let summary = Summary::default();
    let (mut schedules, mut in_a_row_now) = (0, 0);
    let wanted = in_a_row(defect, settings);
    let mut seed = settings.seed;
    while schedules < settings.defect_seeds {
        let plan = plan::plan(seed, settings.full);
        seed += 1;
        if !concerns(defect, &plan) {
            continue;
        }
        schedules += 1;
        let verdict = queue.run(&plan, Some(defect), &summary).await;
        verdict.directory.iter().for_each(|directory| super::world::remove(directory));
        let proper = |(name, _): &(String, Vec<String>)| expected(defect).iter().any(|room| name.starts_with(room));
        if wanted > 1 && !verdict.defect_acted {
            continue;
        }
        let Some((validator, said)) = verdict.violations.into_iter().find(proper) else {
            if wanted > 1 {
                println!("seed {} met {defect} and let it pass", plan.seed);
                return None;
            }
            continue;
        };
        in_a_row_now += 1;
        if in_a_row_now < wanted {
            continue;
        }
        // A validator that also fails on a server without the defect has found something else.
        let whole = queue.run(&plan, None, &summary).await;
        whole.directory.iter().for_each(|directory| super::world::remove(directory));
        if whole.violations.is_empty() {
            let said = said.into_iter().next().unwrap_or_default();
            return Some(Caught { seed: plan.seed, schedules, validator, said });
        }
    }
    None
}

/// Runs each defect until it is caught and prints the table. Returns whether all of them were.
pub async fn run(settings: &FaultSettings, names: &[String]) -> bool {
    let known = policyhub::defect::Defect::ALL.map(|(name, _)| name);
    let all = names.iter().any(|name| name == "all");
    let asked: Vec<&str> = known.into_iter().filter(|name| all || names.iter().any(|asked| asked == name)).collect();
    assert!(!asked.is_empty(), "DEFECTS names none of {known:?}");
    let queue = ScheduleQueue::default();
    let (mut rows, mut missed) = (Vec::new(), Vec::new());
    for defect in asked {
        let began = Instant::now();
        match hunt(defect, settings, &queue).await {
            Some(caught) => {
                let Caught { seed, schedules, validator, said } = caught;
                println!(
                    "caught {defect} at seed {seed}, schedule {schedules}, {:.1} s",
                    began.elapsed().as_secs_f64()
                );
                let said: String = said.chars().take(110).collect();
                rows.push(format!("| {defect:<24} | {seed:>5} | {schedules:>9} | {validator}: {said} |"));
            }
            None => {
                println!("NOT CAUGHT: {defect}, in {} schedules", settings.defect_seeds);
                missed.push(defect);
            }
        }
    }
    println!("| planted defect           |  seed | schedules | what objected first |");
    println!("|--------------------------|-------|-----------|---------------------|");
    rows.iter().for_each(|row| println!("{row}"));
    println!("seeds decide faults and workloads, not the interleaving: another run may catch at another seed");
    missed.is_empty()
}
