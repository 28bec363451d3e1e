//! From a seed to a plan: everything that a schedule decides, before anything runs.
//!
//! Boundary: pure. When a fault strikes is told in acknowledged writes, so that a slow machine strikes at the same place.
//! What concurrent tasks do between two strikes is theirs: a seed repeats the decisions, not the interleaving.

use std::collections::BTreeSet;

use super::dice::Dice;
use super::disk_error::{EIO, ENOSPC};
pub use super::fault::{Database, DiskError, Fault, Link};

/// Replicas of a schedule at most.
const REPLICAS_MAX: usize = 3;

/// A fault, when it strikes, and how long it lasts.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    pub after_acknowledged: usize,
    pub fault: Fault,
    pub hold_ms: u64,
}

/// One who watches.
#[derive(Debug, Clone)]
pub struct Watcher {
    pub latest: bool,
    /// Empty: all.
    pub filter: BTreeSet<String>,
    /// How long it waits between two messages.
    pub pace_ms: u64,
    /// It opens streams at places it heard of, near the head, instead of following.
    pub probe: bool,
}

/// A schedule.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub database: Database,
    pub replicas: usize,
    /// Whether replicas hear of each other by NOTIFY, or by their polls alone.
    pub notify: bool,
    pub poll_ms: u64,
    pub heartbeat_ms: u64,
    pub ring_events: u64,
    /// Age at which servers end connections, when it is not the default.
    pub connection_age_ms: Option<u64>,
    pub policies: Vec<String>,
    pub writers: usize,
    pub readers: usize,
    pub content_max_bytes: u64,
    pub watchers: Vec<Watcher>,
    /// Acknowledged writes after which it ends.
    pub acknowledged: usize,
    pub steps: Vec<Step>,
}

impl Plan {
    /// Whether the disk fails in it. A server that keeps its transaction open after a failed write loses acknowledged
    /// writes there: such seeds are for `make faults` until it does not.
    pub fn disk_fails(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.fault, Fault::Disk { .. }))
    }
}

/// The plan of a seed.
pub fn plan(seed: u64) -> Plan {
    let mut dice = Dice::new(seed);
    let database = if dice.chance(45) { Database::Sqlite } else { Database::Postgres };
    let replicas = match database {
        Database::Sqlite => 1,
        Database::Postgres if dice.chance(50) => REPLICAS_MAX,
        Database::Postgres => dice.below(REPLICAS_MAX) + 1,
    };
    let policies: Vec<String> = (0..dice.between(2, 6)).map(|number| format!("p{number}")).collect();
    let acknowledged = usize::try_from(dice.between(50, 140)).expect("a small number");
    let watchers = (0..dice.between(3, 6)).map(|_| watcher(&mut dice, &policies)).collect();
    let mut places: Vec<usize> = (0..dice.between(1, 4)).map(|_| 4 + dice.below(acknowledged - 4)).collect();
    places.sort_unstable();
    let step = |after_acknowledged| Step {
        after_acknowledged,
        fault: fault(&mut dice, database, replicas),
        hold_ms: if dice.chance(80) { dice.between(20, 700) } else { dice.between(700, 3_500) },
    };
    let steps = places.into_iter().map(step).collect();
    Plan {
        seed,
        database,
        replicas,
        notify: dice.chance(70),
        poll_ms: *dice.pick(&[50, 200, 1_000]),
        heartbeat_ms: *dice.pick(&[100, 200, 400]),
        ring_events: *dice.pick(&[16, 16, 1_024]),
        connection_age_ms: dice.chance(25).then(|| dice.between(500, 2_500)),
        policies,
        writers: usize::try_from(dice.between(3, 8)).expect("a small number"),
        readers: usize::try_from(dice.between(1, 3)).expect("a small number"),
        content_max_bytes: *dice.pick(&[200, 2_000, 40_000]),
        watchers,
        acknowledged,
        steps,
    }
}

/// Schedules of the small set, and the seeds they are chosen from.
const SMALL_SCHEDULES: usize = 8;
const SMALL_SEEDS: u64 = 80;

/// A few plans that bring as many kinds of faults as they can.
pub fn small_set(first: u64) -> Vec<Plan> {
    let mut plans: Vec<Plan> = (first..first + SMALL_SEEDS).map(plan).filter(|plan| !plan.disk_fails()).collect();
    let mut brought = BTreeSet::new();
    let mut chosen = Vec::new();
    for _ in 0..SMALL_SCHEDULES {
        let new = |plan: &Plan| {
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

/// A schedule around one big fault.
pub fn drill(seed: u64, fault: Fault, database: Database) -> Plan {
    let mut plan = plan(seed);
    plan.database = database;
    plan.replicas = if database == Database::Sqlite { 1 } else { plan.replicas };
    plan.content_max_bytes = 40_000;
    plan.acknowledged = 60;
    plan.steps = vec![Step { after_acknowledged: 20, fault, hold_ms: 0 }];
    plan
}

fn watcher(dice: &mut Dice, policies: &[String]) -> Watcher {
    let mut filter = BTreeSet::new();
    if dice.chance(40) {
        filter.extend((0..dice.between(1, 2)).map(|_| dice.pick(policies).clone()));
    }
    Watcher { latest: dice.chance(30), filter, pace_ms: *dice.pick(&[0, 0, 5, 60, 250]), probe: dice.chance(35) }
}

fn fault(dice: &mut Dice, database: Database, replicas: usize) -> Fault {
    let replica = dice.below(replicas);
    let of_databases = database == Database::Postgres && dice.chance(45);
    let link = if of_databases { Link::Database(replica) } else { Link::Clients(replica) };
    let on_link = [
        Fault::Cut(link),
        Fault::Reset(link),
        Fault::Blackhole(link),
        Fault::Delay(link, dice.between(5, 125)),
        Fault::Throttle(link),
    ];
    let process = [Fault::KillServer(replica), Fault::PauseServer(replica), Fault::DrainServer(replica)];
    let sqlite = [Fault::PowerCut, Fault::PowerCut, Fault::KillServer(replica), disk(dice), disk(dice), disk(dice)];
    let postgres = [
        Fault::KillPostgres,
        Fault::PausePostgres,
        Fault::TerminateBackends,
        Fault::LoseCommit(replica),
        Fault::LoseCommitAnswer(replica),
    ];
    match dice.below(3) {
        0 => *dice.pick(&on_link),
        1 => *dice.pick(&process),
        _ if database == Database::Sqlite => *dice.pick(&sqlite),
        _ => *dice.pick(&postgres),
    }
}

fn disk(dice: &mut Dice) -> Fault {
    let errno = *dice.pick(&[EIO, ENOSPC]);
    let error = *dice.pick(&[
        DiskError::Write(errno),
        DiskError::ShortWrite(errno),
        DiskError::Sync(errno),
        DiskError::Truncate,
        DiskError::Full,
    ]);
    let [first, count] = [(1, 12), (1, 3)].map(|(low, high)| u32::try_from(dice.between(low, high)).expect("small"));
    match error {
        DiskError::Full | DiskError::Truncate => Fault::Disk { error, first: 1, count: 0 },
        _ => Fault::Disk { error, first, count },
    }
}
