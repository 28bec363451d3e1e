//! The fault harness: real servers, real databases, faults chosen by a seed, and validators over everything that was recorded.
//!
//! It is a separate program: `SCHEDULES=200 SEED=1 cargo test --test faults`; docs/testing.md has the rest. It exits with 0 only when
//! every schedule was valid and everything planned was done.

#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "all of it is a test: it spawns its own tasks, looks at its own environment, and stops with a message"
)]

mod background;
mod calls;
#[expect(unused_imports, dead_code, reason = "its tests run in a target of their own")]
mod check;
mod clock;
#[path = "../it/harness/faults.rs"]
#[expect(dead_code, reason = "the integration tests use the rest")]
mod cluster_faults;
mod database;
#[cfg(feature = "planted-defects")]
mod defects;
#[path = "../it/harness/disk_error.rs"]
#[expect(dead_code, reason = "the integration tests use the rest")]
mod disk_error;
mod fault;
mod inject;
mod plan;
#[path = "../it/harness/postgres.rs"]
#[expect(dead_code, unused_imports, reason = "the integration tests use the rest")]
mod postgres;
mod power_cut;
mod power_of_postgres;
mod proxy;
mod readers;
mod recorder;
mod restore;
mod rng;
mod run;
mod schedule;
mod server;
mod settings;
mod standby;
mod storm;
mod stuck;
mod summary;
mod tenant;
mod watchers;
mod workloads;
mod world;
mod writers;

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use plan::{FaultDatabase, FaultPlan, InjectedFault};
use schedule::ScheduleQueue;
use settings::FaultSettings;
use summary::Summary;
use tokio::task::JoinSet;

/// One drill of each kind for this many schedules.
const SCHEDULES_PER_DRILL: u64 = 100;

#[tokio::main]
async fn main() -> ExitCode {
    // `cargo test NAME` passes the name to every target.
    if std::env::args().skip(1).any(|argument| argument == "--list" || !"faults".contains(argument.as_str())) {
        return ExitCode::SUCCESS;
    }
    let settings = FaultSettings::read();
    let changed = plan::changed();
    changed.iter().for_each(|text| println!("PLANS CHANGED: {text}"));
    if !changed.is_empty() {
        return ExitCode::FAILURE;
    }
    let holds = match &settings.defects {
        Some(names) => hunt(&settings, names).await,
        None => run_all(&settings).await,
    };
    power_cut::tidy_up();
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(feature = "planted-defects")]
async fn hunt(settings: &FaultSettings, names: &[String]) -> bool {
    defects::run(settings, names).await
}

#[cfg(not(feature = "planted-defects"))]
async fn hunt(_: &FaultSettings, _: &[String]) -> bool {
    panic!("DEFECTS needs `--features planted-defects`: this binary can't be broken")
}

/// Returns every plan of the run, with the command that runs it alone.
fn plans(settings: &FaultSettings) -> VecDeque<(FaultPlan, String)> {
    let feature = if settings.defect.is_some() { " --features planted-defects" } else { "" };
    let defect = settings.defect.as_ref().map(|defect| format!("DEFECT={defect} ")).unwrap_or_default();
    let full = if settings.full { "FULL=1 " } else { "" };
    let mixed = if settings.mixed { "OLD_BINARY=… " } else { "" };
    let command = |variables: String| format!("{full}{mixed}{variables} {defect}cargo test --test faults{feature}");
    let chosen: Vec<FaultPlan> = match settings.schedules {
        Some(count) => {
            let plan = |seed| if settings.mixed { plan::mixed(seed) } else { plan::plan(seed, settings.full) };
            let brings = |plan: &FaultPlan| {
                let wanted = |fault: &String| plan.steps.iter().any(|step| step.fault.name().contains(fault.as_str()));
                settings.fault.as_ref().is_none_or(wanted)
            };
            (settings.seed..).map(plan).filter(brings).take(usize::try_from(count).expect("fits")).collect()
        }
        None => plan::small_set(settings.seed),
    };
    let drills = (chosen.len() as u64).div_ceil(SCHEDULES_PER_DRILL).max(1);
    let replay = |plan: &FaultPlan| command(format!("SEED={} SCHEDULES=1 DRILLS=none", plan.seed));
    let mut plans: VecDeque<_> = chosen.into_iter().map(|plan| (plan.clone(), replay(&plan))).collect();
    for drill in &settings.drills {
        let (fault, database) = match drill.as_str() {
            "storm" => (InjectedFault::Storm(settings.storm_streams), FaultDatabase::Postgres),
            "stuck" => (InjectedFault::Stuck(settings.stuck_readers), FaultDatabase::Sqlite),
            other => panic!("DRILLS knows storm and stuck, not {other}"),
        };
        for number in 0..drills {
            let seed = settings.seed + number;
            // They take longest: put them first, so that no queue ends with one.
            plans.push_front((
                plan::drill(seed, fault, database),
                command(format!("SEED={seed} SCHEDULES=0 DRILLS={drill}")),
            ));
        }
    }
    plans
}

async fn run_all(settings: &FaultSettings) -> bool {
    let began = Instant::now();
    let summary = Arc::new(Summary::default());
    let plans = plans(settings);
    plans.iter().for_each(|(plan, _)| schedule::expect(plan, &summary));
    let count = plans.len();
    println!("{count} schedules from seed {}, {} at once", settings.seed, settings.lanes);
    let plans = Arc::new(Mutex::new(plans));
    let mut queues = JoinSet::new();
    for _ in 0..settings.lanes {
        let repeat = settings.repeat;
        let (plans, summary, defect) = (Arc::clone(&plans), Arc::clone(&summary), settings.defect.clone());
        queues.spawn(async move {
            let queue = ScheduleQueue::default();
            let mut failed = 0;
            loop {
                let (plan, replay, left) = {
                    let mut plans = plans.lock().expect("the plans");
                    let Some((plan, replay)) = plans.pop_front() else { return failed };
                    (plan, replay, plans.len())
                };
                let verdict = queue.run(&plan, defect.as_deref(), &summary).await;
                for _ in 1..repeat {
                    let again = queue.run(&plan, defect.as_deref(), &summary).await;
                    println!("      {}", schedule::compare(&plan, &verdict, &again));
                }
                if verdict.violations.is_empty() {
                    println!("{:>5} left, ok {}", left, verdict.line);
                } else {
                    failed += 1;
                    schedule::tell(&plan, &verdict, &replay);
                }
            }
        });
    }
    let mut failed = 0;
    while let Some(queue) = queues.join_next().await {
        failed += queue.expect("a queue");
    }
    println!(
        "a seed repeats its plan: faults, their order, after how many acknowledged writes they strike, how long they last,\n\
         and what each workload throws. It does not repeat what concurrent tasks and processes do between two strikes: which\n\
         write comes first, which call a fault meets. REPEAT=2 says how far two runs of a seed were the same."
    );
    let missing = summary.print();
    for name in &missing {
        println!("PLANNED AND NEVER DONE: {name}");
    }
    println!("{} of {count} schedules held, {:.0} s", count - failed, began.elapsed().as_secs_f64());
    failed == 0 && missing.is_empty()
}
