//! One schedule, from a plan to a history: start, play, strike, heal, come to rest, collect.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::background::{self, Background};
use super::calls::{Caller, TRY_MAX};
use super::check::record::{Event, Fate, History, Operation, Replica};
use super::database::Postgres;
use super::dice::Dice;
use super::inject;
use super::plan::Plan;
use super::readers;
use super::recorder::Recorder;
use super::watchers::Watcher;
use super::world::World;
use super::writers::{Write, Writer};

/// How long a strike waits for the writers to come so far; then it strikes anyway: the fault before may have stopped them.
const STALL_MAX: Duration = Duration::from_secs(6);
/// How long after the last fault writers may take to end their work, and everything to come to rest.
const WORK_MAX: Duration = Duration::from_secs(40);
const REST_MAX: Duration = Duration::from_secs(25);
/// How often the harness looks whether it runs, and how late it may be.
const STARVATION_LOOK: Duration = Duration::from_millis(100);
const STARVED_AFTER: Duration = Duration::from_millis(400);
/// Messages that come to every watcher when all is over: one may have been on its way, the next one is a sign of life.
const SIGNS_OF_LIFE: u64 = 2;
/// How long a player may take to notice that it is over.
const LEAVE_MAX: Duration = Duration::from_secs(12);

/// What a schedule brought.
pub struct Ran {
    pub history: History,
    /// The names of the faults that struck.
    pub struck: Vec<&'static str>,
    /// Faults that found nothing to strike.
    pub missed: Vec<&'static str>,
    /// Strikes that did not wait any longer for the writers.
    pub stalls: usize,
}

/// Runs a plan in a directory.
///
/// # Errors
/// When the world did not start: nothing was proven.
pub async fn run(
    plan: &Plan,
    directory: &Path,
    postgres: Option<Arc<Postgres>>,
    defect: Option<&str>,
) -> Result<Ran, String> {
    let mut world = World::start(plan, directory, postgres, defect).await?;
    let played = play(plan, &mut world).await;
    world.end();
    played
}

async fn play(plan: &Plan, world: &mut World) -> Result<Ran, String> {
    let token = world.servers[0].token().map_err(|error| error.to_string())?;
    let callers: Arc<[Caller]> =
        (0..plan.replicas).map(|replica| Caller::new(world.address(replica), &token)).collect();
    let keys = callers[0].keys().await.map_err(|error| format!("no keys: {error}"))?;
    let recorder = Arc::new(Recorder::new());
    let mut dice = Dice::new(!plan.seed);

    let mut clock = JoinSet::new();
    clock.spawn(starvation(Arc::clone(&recorder)));
    let mut watchers = JoinSet::new();
    for (number, wanted) in plan.watchers.iter().cloned().enumerate() {
        let (dice, recorder, callers) = (dice.fork(), Arc::clone(&recorder), Arc::clone(&callers));
        let heartbeat = Duration::from_millis(plan.heartbeat_ms);
        watchers.spawn(Watcher { number, dice, wanted, recorder, callers, keys: keys.clone(), heartbeat }.run());
    }
    let mut readers = JoinSet::new();
    for _ in 0..plan.readers {
        readers.spawn(readers::read(dice.fork(), Arc::clone(&recorder), Arc::clone(&callers)));
    }
    let mut writers = JoinSet::new();
    let shared = Arc::new(plan.clone());
    for number in 0..plan.writers {
        let (plan, recorder, callers) = (Arc::clone(&shared), Arc::clone(&recorder), Arc::clone(&callers));
        writers.spawn(Writer { number, dice: dice.fork(), plan, recorder, callers }.run());
    }

    let mut background = JoinSet::new();
    if plan.background {
        let (dice, recorder, callers) = (dice.fork(), Arc::clone(&recorder), Arc::clone(&callers));
        background.spawn(Background::new(dice, recorder, callers, background::guests(world)?).run());
    }
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
        recorder.overdue(format!("{count} of {} writes were acknowledged {WORK_MAX:?} later", plan.acknowledged));
    }
    recorder.stop();
    let unknown = leave(&mut writers, &recorder, "writers").await.into_iter().flatten().collect();
    leave(&mut readers, &recorder, "readers").await;
    resolve(unknown, &recorder, &callers, &mut dice).await;

    let background = leave(&mut background, &recorder, "background players").await;
    let replicas = rest(plan, &recorder, &callers).await;
    for player in background {
        player.look().await;
    }
    recorder.rest();
    leave(&mut watchers, &recorder, "watchers").await;
    let log = read_log(&callers).await?;
    let mut history = recorder.finish();
    (history.log, history.replicas) = (log, replicas);
    Ok(Ran { history, struck, missed, stalls })
}

/// Notes when the harness itself does not run: nothing that is late then says anything about a server.
async fn starvation(recorder: Arc<Recorder>) {
    loop {
        let from = recorder.now();
        sleep(STARVATION_LOOK).await;
        if recorder.now() - from > STARVATION_LOOK + STARVED_AFTER {
            recorder.starved(from);
        }
    }
}

/// The whole log. A connection that ends of age may take a call with it.
async fn read_log(callers: &[Caller]) -> Result<Vec<Event>, String> {
    let deadline = Instant::now() + REST_MAX;
    loop {
        match callers[0].log().await {
            Ok(log) => return Ok(log),
            Err(error) if Instant::now() > deadline => return Err(format!("the log can't be read: {error}")),
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Waits for writes to be acknowledged, at most so long.
async fn acknowledged(recorder: &Recorder, count: usize, at_most: Duration) -> bool {
    let deadline = Instant::now() + at_most;
    while recorder.acknowledged() < count {
        if Instant::now() > deadline {
            return false;
        }
        sleep(Duration::from_millis(2)).await;
    }
    true
}

/// Waits for players to leave.
async fn leave<T: 'static>(players: &mut JoinSet<T>, recorder: &Recorder, who: &str) -> Vec<T> {
    let mut left = Vec::new();
    let all = async {
        while let Some(player) = players.join_next().await {
            left.push(player.expect("a player"));
        }
    };
    if timeout(LEAVE_MAX, all).await.is_err() {
        recorder.overdue(format!("{} {who} did not leave in {LEAVE_MAX:?}", players.len()));
    }
    left
}

/// Asks once more, under the old request ids, what became of most of the writes whose fate is unknown; the rest stays so.
async fn resolve(unknown: Vec<(Write, Operation)>, recorder: &Recorder, callers: &[Caller], dice: &mut Dice) {
    for (write, mut operation) in unknown {
        if dice.chance(70) {
            let deadline = Instant::now() + REST_MAX;
            while operation.fate() == Fate::Unknown && Instant::now() < deadline {
                let replica = dice.below(callers.len());
                let tried = write.attempt(recorder, replica, &callers[replica], TRY_MAX).await;
                let refused = matches!(&tried.outcome, super::check::record::Outcome::Refused(reason)
                    if !super::writers::may_work_later(reason));
                operation.tries.push(tried);
                if refused {
                    break;
                }
                sleep(Duration::from_millis(20)).await;
            }
        }
        recorder.operation(operation);
    }
}

/// Waits until all replicas say the same, twice, and every following watcher is there. Answers what they say.
async fn rest(plan: &Plan, recorder: &Recorder, callers: &[Caller]) -> Vec<Replica> {
    let deadline = Instant::now() + REST_MAX;
    let following = plan.watchers.iter().filter(|watcher| !watcher.probe).count();
    let mut before: Option<Replica> = None;
    let mut heard = None;
    loop {
        let (mut said, mut errors) = (Vec::new(), Vec::new());
        for caller in callers {
            match caller.get_set().await {
                Ok((replica, false)) => said.push(replica),
                Ok((_, true)) => errors.push("degraded".to_owned()),
                Err(error) => errors.push(error.to_string()),
            }
        }
        let first = said.first().cloned();
        let same = said.len() == callers.len() && said.iter().all(|each| Some(each) == first.as_ref());
        let level = first.as_ref().map_or(0, |first| recorder.level(first.cursor));
        if same && level == following && before == first {
            // At the head, a stream that is dead looks like one that has nothing to say.
            let at_rest = heard.get_or_insert_with(|| recorder.heard());
            let lives = |(watcher, count): (&usize, &u64)| at_rest.get(watcher).unwrap_or(&0) + SIGNS_OF_LIFE <= *count;
            if recorder.heard().iter().filter(|entry| lives(*entry)).count() == following {
                return said;
            }
        }
        if Instant::now() > deadline {
            recorder.overdue(format!(
                "not at rest {REST_MAX:?} after the last write: {level} of {following} watchers are level, replicas say \
                 {:?}, errors {errors:?}",
                said.iter().map(|replica| replica.cursor).collect::<Vec<_>>()
            ));
            return said;
        }
        before = first;
        sleep(Duration::from_millis(100)).await;
    }
}
