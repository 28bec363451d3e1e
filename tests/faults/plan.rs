//! From a seed to a plan: everything that a schedule decides before it runs.
//!
//! Boundary: pure. The moment of a fault is a number of acknowledged writes, so that it is the same on a slow machine. The interleaving
//! of concurrent tasks is not planned: a seed repeats the decisions only.

use std::collections::BTreeSet;

use super::disk_error::{EIO, ENOSPC};
pub use super::fault::{DiskError, FaultDatabase, InjectedFault, Link};
use super::rng::Rng;

/// Largest number of replicas of a schedule.
const REPLICAS_MAX: usize = 3;

/// A fault, when it begins, and how long it lasts.
#[derive(Debug, Clone, Copy)]
pub struct PlanStep {
    pub after_acknowledged: usize,
    pub fault: InjectedFault,
    pub hold_ms: u64,
}

/// A planned watcher.
#[derive(Debug, Clone)]
pub struct PlannedWatcher {
    pub latest: bool,
    /// Empty means all.
    pub filter: BTreeSet<String>,
    /// How long it waits between two messages.
    pub pace_ms: u64,
    /// It opens streams at known cursors near the head, instead of following.
    pub probe: bool,
}

/// A schedule.
#[derive(Debug, Clone)]
pub struct FaultPlan {
    pub seed: u64,
    pub database: FaultDatabase,
    pub replicas: usize,
    /// Whether replicas wake each other by NOTIFY, or only poll.
    pub notify: bool,
    pub poll_ms: u64,
    pub heartbeat_ms: u64,
    pub ring_events: u64,
    /// Whether background workloads run beside the writers.
    pub background: bool,
    /// Number of namespaces with their own writers, readers and watchers, besides the first one.
    pub tenants: usize,
    /// Whether workloads approve, rotate keys, fill quotas, hold leases and import beside the writers.
    pub workloads: bool,
    /// Whether every replica begins with an earlier version.
    pub mixed: bool,
    /// Whether connection timers are so short that faults last longer.
    pub short_timers: bool,
    /// Age at which servers end connections, when it is not the default.
    pub connection_age_ms: Option<u64>,
    pub policies: Vec<String>,
    pub writers: usize,
    pub readers: usize,
    pub content_max_bytes: u64,
    pub watchers: Vec<PlannedWatcher>,
    /// Number of acknowledged writes after which it ends.
    pub acknowledged: usize,
    pub steps: Vec<PlanStep>,
}

impl FaultPlan {
    /// Returns whether a fault is among its steps.
    pub fn brings(&self, fault: InjectedFault) -> bool {
        self.steps.iter().any(|step| step.fault == fault)
    }
}

/// Returns the plan of a seed. In the `full` form some faults last longer than every timer of a server.
pub fn plan(seed: u64, full: bool) -> FaultPlan {
    let mut plan = first_part(seed);
    second_part(&mut plan, full);
    third_part(&mut plan);
    fourth_part(&mut plan);
    plan
}

/// A separate generator for the second part, so that the decisions of the first part do not change.
const SECOND_PART: u64 = 0x5eed_0002;
/// Longer than the ping of LISTEN (5 s and its answer), the lease and the stuck reader (30 s), and keepalive (50 s).
const LONG_HOLDS_MS: [u64; 3] = [8_000, 33_000, 55_000];

fn second_part(plan: &mut FaultPlan, full: bool) {
    let mut rng = Rng::new(plan.seed ^ SECOND_PART);
    plan.short_timers = rng.chance(25);
    if rng.chance(40) {
        let after_acknowledged = 4 + rng.below(plan.acknowledged - 4);
        let fault = later_fault(&mut rng, plan);
        let at = plan.steps.partition_point(|step| step.after_acknowledged <= after_acknowledged);
        plan.steps.insert(at, PlanStep { after_acknowledged, fault, hold_ms: rng.between(20, 3_500) });
    }
    let lasting = rng.chance(4);
    let (hold_ms, fault) = (*rng.pick(&LONG_HOLDS_MS), long_fault(&mut rng, plan));
    if full && lasting {
        plan.short_timers = false;
        plan.steps.push(PlanStep { after_acknowledged: plan.acknowledged / 2, fault, hold_ms });
        plan.steps.sort_by_key(|step| step.after_acknowledged);
    }
}

const THIRD_PART: u64 = 0x5eed_0003;

fn third_part(plan: &mut FaultPlan) {
    let mut rng = Rng::new(plan.seed ^ THIRD_PART);
    if rng.chance(10) {
        let after_acknowledged = plan.acknowledged / 4 + rng.below(plan.acknowledged / 4);
        let at = plan.steps.partition_point(|step| step.after_acknowledged <= after_acknowledged);
        plan.steps.insert(
            at,
            PlanStep { after_acknowledged, fault: InjectedFault::Restore, hold_ms: rng.between(20, 1_500) },
        );
    } else {
        // A restore may give up what they were answered.
        plan.background = rng.chance(40);
    }
}

const FOURTH_PART: u64 = 0x5eed_0004;
/// Largest number of tenants beside the first namespace.
const TENANTS_MAX: u64 = 2;

fn fourth_part(plan: &mut FaultPlan) {
    let mut rng = Rng::new(plan.seed ^ FOURTH_PART);
    let on_postgres = plan.database == FaultDatabase::Postgres;
    let after_acknowledged = plan.acknowledged / 4 + rng.below(plan.acknowledged / 4);
    let hold_ms = rng.between(20, 1_500);
    let (promotes, loses_power) = (rng.chance(12), rng.chance(20));
    let tenants = if rng.chance(40) { rng.between(1, TENANTS_MAX) } else { 0 };
    let workloads = rng.chance(40);
    let restores = plan.brings(InjectedFault::Restore);
    let fault = match (promotes, loses_power) {
        (true, _) => Some(InjectedFault::Promote),
        (_, true) => Some(InjectedFault::PowerCutPostgres),
        _ => None,
    };
    if let Some(fault) = fault.filter(|_| on_postgres && !restores) {
        let at = plan.steps.partition_point(|step| step.after_acknowledged <= after_acknowledged);
        plan.steps.insert(at, PlanStep { after_acknowledged, fault, hold_ms });
    }
    plan.tenants = usize::try_from(tenants).expect("a small number");
    // What they were answered may be given up.
    let gives_up = restores || plan.brings(InjectedFault::Promote);
    plan.background &= !gives_up;
    plan.workloads = workloads && !gives_up;
}

/// Returns a link of a replica, to its clients or to its database.
fn some_link(rng: &mut Rng, plan: &FaultPlan) -> Link {
    let replica = rng.below(plan.replicas);
    let of_database = plan.database == FaultDatabase::Postgres && rng.chance(50);
    if of_database { Link::Database(replica) } else { Link::Clients(replica) }
}

fn later_fault(rng: &mut Rng, plan: &FaultPlan) -> InjectedFault {
    let (link, replica) = (some_link(rng, plan), rng.below(plan.replicas));
    let jump_seconds = *rng.pick(&[-86_400, -3_600, -90, 90, 3_600, 86_400]);
    *rng.pick(&[
        InjectedFault::BlackholeUp(link),
        InjectedFault::BlackholeDown(link),
        InjectedFault::ClockJump(replica, jump_seconds),
        InjectedFault::FewFiles(replica),
        InjectedFault::LittleMemory(replica),
    ])
}

fn long_fault(rng: &mut Rng, plan: &FaultPlan) -> InjectedFault {
    let (link, replica) = (some_link(rng, plan), rng.below(plan.replicas));
    let server = InjectedFault::PauseServer(replica);
    let postgres = if plan.database == FaultDatabase::Postgres { InjectedFault::PausePostgres } else { server };
    *rng.pick(&[
        server,
        postgres,
        InjectedFault::Blackhole(link),
        InjectedFault::BlackholeUp(link),
        InjectedFault::BlackholeDown(link),
    ])
}

/// Returns the fingerprint of a plan (64-bit FNV-1a of all that is in it).
pub fn fingerprint(plan: &FaultPlan) -> u64 {
    // Parts that a plan does not have are left out, so that older plans keep their fingerprint.
    let absent = [", tenants: 0", ", workloads: false"];
    absent
        .iter()
        .fold(format!("{plan:?}"), |text, absent| text.replace(absent, ""))
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Plans that must not change by accident: otherwise a seed that somebody noted would run another plan.
const GOLDEN: [(u64, bool, u64); 3] =
    [(1, false, 0xda3b_d9eb_0c1e_424f), (17, false, 0xa11f_0720_34ba_ed26), (4_711, true, 0x4f39_bf2f_f3af_fd1f)];

/// Returns the seeds whose plans have changed.
pub fn changed() -> Vec<String> {
    let now = |(seed, full, golden): &(u64, bool, u64)| {
        let now = fingerprint(&plan(*seed, *full));
        (now != *golden).then(|| format!("seed {seed} plans {now:016x}, and planned {golden:016x}"))
    };
    GOLDEN.iter().filter_map(now).collect()
}

fn first_part(seed: u64) -> FaultPlan {
    let mut rng = Rng::new(seed);
    let database = if rng.chance(45) { FaultDatabase::Sqlite } else { FaultDatabase::Postgres };
    let replicas = match database {
        FaultDatabase::Sqlite => 1,
        FaultDatabase::Postgres if rng.chance(50) => REPLICAS_MAX,
        FaultDatabase::Postgres => rng.below(REPLICAS_MAX) + 1,
    };
    let policies: Vec<String> = (0..rng.between(2, 6)).map(|number| format!("p{number}")).collect();
    let acknowledged = usize::try_from(rng.between(50, 140)).expect("a small number");
    let watchers = (0..rng.between(3, 6)).map(|_| watcher(&mut rng, &policies)).collect();
    let mut places: Vec<usize> = (0..rng.between(1, 4)).map(|_| 4 + rng.below(acknowledged - 4)).collect();
    places.sort_unstable();
    let step = |after_acknowledged| PlanStep {
        after_acknowledged,
        fault: fault(&mut rng, database, replicas),
        hold_ms: if rng.chance(80) { rng.between(20, 700) } else { rng.between(700, 3_500) },
    };
    let steps = places.into_iter().map(step).collect();
    FaultPlan {
        seed,
        database,
        replicas,
        notify: rng.chance(70),
        poll_ms: *rng.pick(&[50, 200, 1_000]),
        heartbeat_ms: *rng.pick(&[100, 200, 400]),
        ring_events: *rng.pick(&[16, 16, 1_024]),
        background: false,
        tenants: 0,
        workloads: false,
        mixed: false,
        short_timers: false,
        connection_age_ms: rng.chance(25).then(|| rng.between(500, 2_500)),
        policies,
        writers: usize::try_from(rng.between(3, 8)).expect("a small number"),
        readers: usize::try_from(rng.between(1, 3)).expect("a small number"),
        content_max_bytes: *rng.pick(&[200, 2_000, 40_000]),
        watchers,
        acknowledged,
        steps,
    }
}

/// Number of schedules of the small set, and the seeds they are chosen from.
const SMALL_SCHEDULES: usize = 10;
const SMALL_SEEDS: u64 = 80;

/// Returns a few plans with as many kinds of faults as possible.
pub fn small_set(first: u64) -> Vec<FaultPlan> {
    let mut plans: Vec<FaultPlan> = (first..first + SMALL_SEEDS).map(|seed| plan(seed, false)).collect();
    let mut brought = BTreeSet::new();
    let mut chosen = Vec::new();
    for _ in 0..SMALL_SCHEDULES {
        let new = |plan: &FaultPlan| {
            let names: BTreeSet<_> = plan.steps.iter().map(|step| step.fault.name()).collect();
            names.difference(&brought).count()
        };
        // The first of the best.
        let Some((index, _)) = plans.iter().map(new).enumerate().rev().max_by_key(|(_, count)| *count) else { break };
        let best = plans.swap_remove(index);
        brought.extend(best.steps.iter().map(|step| step.fault.name()));
        chosen.push(best);
    }
    chosen
}

/// Number of acknowledged writes of a rolling upgrade: enough for each replica to serve beside those of the other version.
const MIXED_ACKNOWLEDGED: usize = 160;

/// Returns a rolling upgrade of three replicas under load, with the faults of a seed in between.
pub fn mixed(seed: u64) -> FaultPlan {
    let mut plan = first_part(seed);
    let of_sqlite = plan.database == FaultDatabase::Sqlite;
    (plan.database, plan.replicas) = (FaultDatabase::Postgres, REPLICAS_MAX);
    (plan.mixed, plan.acknowledged) = (true, MIXED_ACKNOWLEDGED);
    // Faults of SQLite have no effect here.
    plan.steps = if of_sqlite { Vec::new() } else { plan.steps };
    for replica in 0..REPLICAS_MAX {
        let after_acknowledged = MIXED_ACKNOWLEDGED * (replica + 1) / (REPLICAS_MAX + 1);
        plan.steps.push(PlanStep { after_acknowledged, fault: InjectedFault::Upgrade(replica), hold_ms: 0 });
    }
    plan.steps.sort_by_key(|step| step.after_acknowledged);
    plan
}

/// Returns a schedule around one large fault.
pub fn drill(seed: u64, fault: InjectedFault, database: FaultDatabase) -> FaultPlan {
    let mut plan = first_part(seed);
    plan.database = database;
    plan.replicas = if database == FaultDatabase::Sqlite { 1 } else { plan.replicas };
    plan.content_max_bytes = 40_000;
    plan.acknowledged = 60;
    plan.steps = vec![PlanStep { after_acknowledged: 20, fault, hold_ms: 0 }];
    plan
}

fn watcher(rng: &mut Rng, policies: &[String]) -> PlannedWatcher {
    let mut filter = BTreeSet::new();
    if rng.chance(40) {
        filter.extend((0..rng.between(1, 2)).map(|_| rng.pick(policies).clone()));
    }
    PlannedWatcher { latest: rng.chance(30), filter, pace_ms: *rng.pick(&[0, 0, 5, 60, 250]), probe: rng.chance(35) }
}

fn fault(rng: &mut Rng, database: FaultDatabase, replicas: usize) -> InjectedFault {
    let replica = rng.below(replicas);
    let of_databases = database == FaultDatabase::Postgres && rng.chance(45);
    let link = if of_databases { Link::Database(replica) } else { Link::Clients(replica) };
    let on_link = [
        InjectedFault::Cut(link),
        InjectedFault::Reset(link),
        InjectedFault::Blackhole(link),
        InjectedFault::Delay(link, rng.between(5, 125)),
        InjectedFault::Throttle(link),
    ];
    let process =
        [InjectedFault::KillServer(replica), InjectedFault::PauseServer(replica), InjectedFault::DrainServer(replica)];
    let sqlite = [
        InjectedFault::PowerCut,
        InjectedFault::PowerCut,
        InjectedFault::KillServer(replica),
        disk(rng),
        disk(rng),
        disk(rng),
    ];
    let postgres = [
        InjectedFault::KillPostgres,
        InjectedFault::PausePostgres,
        InjectedFault::TerminateBackends,
        InjectedFault::LoseCommit(replica),
        InjectedFault::LoseCommitAnswer(replica),
    ];
    match rng.below(3) {
        0 => *rng.pick(&on_link),
        1 => *rng.pick(&process),
        _ if database == FaultDatabase::Sqlite => *rng.pick(&sqlite),
        _ => *rng.pick(&postgres),
    }
}

fn disk(rng: &mut Rng) -> InjectedFault {
    let errno = *rng.pick(&[EIO, ENOSPC]);
    let error = *rng.pick(&[
        DiskError::Write(errno),
        DiskError::ShortWrite(errno),
        DiskError::Sync(errno),
        DiskError::Truncate,
        DiskError::Full,
    ]);
    let [first, count] = [(1, 12), (1, 3)].map(|(low, high)| u32::try_from(rng.between(low, high)).expect("small"));
    match error {
        DiskError::Full | DiskError::Truncate => InjectedFault::Disk { error, first: 1, count: 0 },
        _ => InjectedFault::Disk { error, first, count },
    }
}
