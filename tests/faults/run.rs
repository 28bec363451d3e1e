//! One schedule, from a plan to a history: start, run the workloads, apply faults, repair, wait until everything has settled, collect.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use policyhub::api::pb;
use policyhub::client::signing::KeySet;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::background::{self, Background};
use super::calls::{FaultCaller, tried};
use super::check::record::{BACKGROUND, RecordedHistory};
use super::database::Postgres;
use super::fault::InjectedFault;
use super::inject;
use super::plan::FaultPlan;
use super::recorder::Recorder;
use super::rng::Rng;
use super::server::waited_for_processor;
use super::tenant::{Tenant, leave, smaller};
use super::workloads::{Workloads, check_offline};
use super::world::Deployment;

/// How long a fault waits for its number of writes; then it begins anyway, because the fault before may have stopped the writers.
const STALL_MAX: Duration = Duration::from_secs(6);
/// How long after the last fault the next write, or settling, may take.
const WORK_MAX: Duration = Duration::from_secs(40);
pub const REST_MAX: Duration = Duration::from_secs(25);
/// How often the harness checks that it runs itself, and how late it may be.
const STARVATION_LOOK: Duration = Duration::from_millis(100);
const STARVED_AFTER: Duration = Duration::from_millis(400);
/// Seeds of the generators of other namespaces and other workloads, so that the numbers of the first namespace do not change.
const TENANTS: u64 = 0x5eed_1000;
const PLAYERS: u64 = 0x5eed_2000;
/// Distance between the writer numbers of two namespaces: more than a namespace has writers.
const WRITERS_APART: usize = 100;

/// The result of a schedule.
pub struct Ran {
    /// The histories by namespace, the first namespace first.
    pub histories: Vec<(String, RecordedHistory)>,
    /// The names of the faults that had an effect.
    pub struck: Vec<&'static str>,
    /// Faults without an effect.
    pub missed: Vec<&'static str>,
    /// Number of faults that stopped waiting for the writers.
    pub stalls: usize,
}

/// Runs a plan in a directory.
///
/// # Errors
/// When the world did not start: nothing was proven.
pub async fn run(
    plan: &FaultPlan,
    directory: &Path,
    postgres: Option<Arc<Postgres>>,
    defect: Option<&str>,
) -> Result<Ran, String> {
    let mut world = Deployment::start(plan, directory, postgres, defect).await?;
    let played = play(plan, &mut world).await;
    world.end();
    played
}

async fn play(plan: &FaultPlan, world: &mut Deployment) -> Result<Ran, String> {
    let token = world.servers[0].token().map_err(|error| error.to_string())?;
    let callers: Arc<[FaultCaller]> =
        (0..plan.replicas).map(|replica| FaultCaller::new(world.address(replica), &token)).collect();
    let keys = callers[0].keys().await.map_err(|error| format!("no keys: {error}"))?;
    let recorder = Arc::new(Recorder::new());
    let mut clock = JoinSet::new();
    let processes = world.servers.iter().map(|server| Arc::clone(&server.process)).collect();
    clock.spawn(starvation(Arc::clone(&recorder), processes));

    let (first, rng) = (Arc::clone(&recorder), Rng::new(!plan.seed));
    let mut tenants = vec![Tenant::begin(Arc::new(plan.clone()), first, Arc::clone(&callers), &keys, rng, 0)];
    let mut background = JoinSet::new();
    if plan.background {
        let (rng, guests) = (tenants[0].rng.fork(), background::callers_of(world, background::GUEST)?);
        background.spawn(Background::new(rng, Arc::clone(&recorder), Arc::clone(&callers), guests).run());
    }
    further_tenants(plan, &keys, &mut tenants).await?;
    let workloads = match plan.workloads {
        true => {
            let rng = Rng::new(!plan.seed ^ PLAYERS);
            let clock_jumps = plan.steps.iter().any(|step| matches!(step.fault, InjectedFault::ClockJump(..)));
            Some(Workloads::begin(world, clock_jumps, rng, Arc::clone(&recorder), Arc::clone(&callers)).await?)
        }
        false => None,
    };
    let (mut struck, mut missed, mut stalls) = (Vec::new(), Vec::new(), 0);
    for step in &plan.steps {
        stalls += usize::from(!acknowledged(&recorder, step.after_acknowledged, STALL_MAX).await);
        let hit = inject::strike(world, step, &recorder).await;
        if hit { &mut struck } else { &mut missed }.push(step.fault.name());
    }
    for wrong in world.heal().await {
        recorder.overdue(wrong);
    }
    if !acknowledged(&recorder, plan.acknowledged, WORK_MAX).await {
        let count = recorder.acknowledged();
        recorder
            .overdue(format!("{count} of {} writes were acknowledged, and none for {WORK_MAX:?}", plan.acknowledged));
    }
    recorder.stop();
    for tenant in &mut tenants {
        tenant.end_work().await;
    }
    let background = leave(&mut background, &recorder, "background workloads").await;
    let mut context = None;
    if let Some((mut playing, of)) = workloads.map(Workloads::leaving) {
        leave(&mut playing, &recorder, "workloads").await;
        context = Some(of);
    }
    for tenant in &mut tenants {
        tenant.rest().await;
    }
    for workload in background {
        workload.look().await;
    }
    if let Some(context) = &context {
        context.look().await;
    }
    recorder.rest();
    if let Some(context) = &context {
        check_offline(context).await;
    }
    let mut histories = Vec::new();
    for tenant in tenants {
        let namespace = tenant.recorder.namespace.clone();
        histories.push((namespace, tenant.finish().await?));
    }
    Ok(Ran { histories, struck, missed, stalls })
}

/// Creates the namespaces of a plan besides the first, and starts their workloads.
async fn further_tenants(plan: &FaultPlan, keys: &KeySet, tenants: &mut Vec<Tenant>) -> Result<(), String> {
    let mut recorders = Vec::new();
    for number in 1..=plan.tenants {
        let (recorder, callers) = (&tenants[0].recorder, &tenants[0].callers);
        let namespace_id = format!("team-{number}");
        let namespace = format!("namespaces/{namespace_id}");
        let request_id = format!("{BACKGROUND}{namespace_id}");
        let request = pb::CreateNamespaceRequest { namespace_id, request_id, ..Default::default() };
        let made = tried(callers[0].admin.clone().create_namespace(request)).await;
        made.map_err(|error| format!("no {namespace}: {error}"))?;
        let callers = callers.iter().map(|caller| caller.of(&namespace)).collect();
        let recorder = Arc::new(recorder.of_another_namespace(namespace));
        recorders.push(Arc::clone(&recorder));
        let rng = Rng::new(!plan.seed ^ TENANTS ^ number as u64);
        let first = number * WRITERS_APART;
        tenants.push(Tenant::begin(Arc::new(smaller(plan)), recorder, callers, keys, rng, first));
    }
    tenants[0].recorder.knows(recorders);
    Ok(())
}

/// Records when the harness itself does not run, or when the threads of a server wait for a processor all the time: delays then say nothing
/// about a server.
async fn starvation(recorder: Arc<Recorder>, processes: Vec<Arc<AtomicU32>>) {
    let waited = |process: &Arc<AtomicU32>| waited_for_processor(process.load(Ordering::Relaxed));
    let mut before: Vec<_> = processes.iter().map(waited).collect();
    loop {
        let from = recorder.now();
        sleep(STARVATION_LOOK).await;
        let now: Vec<_> = processes.iter().map(waited).collect();
        for (replica, (before, now)) in before.iter().zip(&now).enumerate() {
            let waited = now.zip(*before).map(|(now, before)| now.saturating_sub(before));
            if waited.is_some_and(|waited| waited >= recorder.now() - from) {
                recorder.waited(from, replica);
            }
        }
        before = now;
        if recorder.now() - from > STARVATION_LOOK + STARVED_AFTER {
            recorder.starved(from);
        }
    }
}

/// Waits until `count` writes are acknowledged. `at_most` is the limit for each single one, because a slow machine is no fault.
async fn acknowledged(recorder: &Recorder, count: usize, at_most: Duration) -> bool {
    let (mut deadline, mut before) = (Instant::now() + at_most, recorder.acknowledged());
    while before < count {
        let now = recorder.acknowledged();
        if now > before {
            (deadline, before) = (Instant::now() + at_most, now);
        }
        if Instant::now() > deadline {
            return false;
        }
        sleep(Duration::from_millis(2)).await;
    }
    true
}
