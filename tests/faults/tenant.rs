//! One namespace of a schedule: its writers, readers and watchers, from their start to their history.

use std::sync::Arc;
use std::time::{Duration, Instant};

use policyhub::client::signing::KeySet;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::calls::{FaultCaller, TRY_MAX};
use super::check::record::{Fate, OperationOutcome, RecordedEvent, RecordedHistory, RecordedOperation, Replica};
use super::plan::FaultPlan;
use super::readers;
use super::recorder::Recorder;
use super::rng::Rng;
use super::run::REST_MAX;
use super::watchers::WatcherClient;
use super::writers::{FaultWriter, PlannedWrite, may_work_later};

/// Number of messages that every watcher must get at the end: one may have been in flight, the next one is a heartbeat.
const SIGNS_OF_LIFE: u64 = 2;
/// How long a workload may take to notice the end.
const LEAVE_MAX: Duration = Duration::from_secs(12);
/// Largest number of writers of a namespace besides the first: all of them are on one machine.
const WRITERS: usize = 2;
const WATCHERS: usize = 2;

/// A namespace and its workloads.
pub struct Tenant {
    pub plan: Arc<FaultPlan>,
    pub recorder: Arc<Recorder>,
    pub callers: Arc<[FaultCaller]>,
    pub rng: Rng,
    watchers: JoinSet<()>,
    readers: JoinSet<()>,
    writers: JoinSet<Vec<(PlannedWrite, RecordedOperation)>>,
    replicas: Vec<Replica>,
}

/// Returns the plan of a further namespace: the same servers and policies, with fewer users.
pub fn smaller(plan: &FaultPlan) -> FaultPlan {
    let mut plan = plan.clone();
    (plan.writers, plan.readers) = (WRITERS, 1);
    plan.watchers.truncate(WATCHERS);
    plan.watchers[0].probe = false;
    plan
}

impl Tenant {
    /// Starts its workloads. Writers are numbered from `first`, so that their request ids are unique.
    pub fn begin(
        plan: Arc<FaultPlan>,
        recorder: Arc<Recorder>,
        callers: Arc<[FaultCaller]>,
        keys: &KeySet,
        mut rng: Rng,
        first: usize,
    ) -> Self {
        let mut watchers = JoinSet::new();
        for (number, wanted) in plan.watchers.iter().cloned().enumerate() {
            let (rng, recorder, callers) = (rng.fork(), Arc::clone(&recorder), Arc::clone(&callers));
            let heartbeat = Duration::from_millis(plan.heartbeat_ms);
            let (keys, mixed) = (keys.clone(), plan.mixed);
            watchers.spawn(WatcherClient { number, rng, wanted, recorder, callers, keys, heartbeat, mixed }.run());
        }
        let mut readers = JoinSet::new();
        for _ in 0..plan.readers {
            readers.spawn(readers::read(rng.fork(), Arc::clone(&recorder), Arc::clone(&callers)));
        }
        let mut writers = JoinSet::new();
        for number in first..first + plan.writers {
            let (plan, recorder, callers) = (Arc::clone(&plan), Arc::clone(&recorder), Arc::clone(&callers));
            writers.spawn(FaultWriter { number, rng: rng.fork(), plan, recorder, callers }.run());
        }
        Self { plan, recorder, callers, rng, watchers, readers, writers, replicas: Vec::new() }
    }

    /// Waits until its writers and readers have ended, and resolves writes with an unknown outcome.
    pub async fn end_work(&mut self) {
        let unknown = leave(&mut self.writers, &self.recorder, "writers").await.into_iter().flatten().collect();
        leave(&mut self.readers, &self.recorder, "readers").await;
        resolve(unknown, &self.recorder, &self.callers, &mut self.rng).await;
    }

    /// Waits until everything in it has settled.
    pub async fn rest(&mut self) {
        self.replicas = rest(&self.plan, &self.recorder, &self.callers).await;
    }

    /// Returns its history, once everything has settled.
    ///
    /// # Errors
    /// When its log can't be read.
    pub async fn finish(mut self) -> Result<RecordedHistory, String> {
        leave(&mut self.watchers, &self.recorder, "watchers").await;
        let log = read_log(&self.callers).await?;
        let mut history = self.recorder.finish();
        (history.log, history.replicas) = (log, self.replicas);
        Ok(history)
    }
}

/// Returns the whole log. A call may fail when its connection is closed for its age.
async fn read_log(callers: &[FaultCaller]) -> Result<Vec<RecordedEvent>, String> {
    let deadline = Instant::now() + REST_MAX;
    loop {
        match callers[0].log().await {
            Ok(log) => return Ok(log),
            Err(error) if Instant::now() > deadline => return Err(format!("the log can't be read: {error}")),
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Waits until workloads have ended.
pub async fn leave<T: 'static>(workloads: &mut JoinSet<T>, recorder: &Recorder, who: &str) -> Vec<T> {
    let mut left = Vec::new();
    let all = async {
        while let Some(workload) = workloads.join_next().await {
            left.push(workload.expect("a workload"));
        }
    };
    if timeout(LEAVE_MAX, all).await.is_err() {
        recorder.overdue(format!("{} {who} did not leave in {LEAVE_MAX:?}", workloads.len()));
    }
    left
}

/// Sends most of the writes with an unknown outcome once more, with the old request ids; the others stay unknown.
async fn resolve(
    unknown: Vec<(PlannedWrite, RecordedOperation)>,
    recorder: &Recorder,
    callers: &[FaultCaller],
    rng: &mut Rng,
) {
    for (write, mut operation) in unknown {
        if rng.chance(70) {
            let deadline = Instant::now() + REST_MAX;
            while operation.fate() == Fate::Unknown && Instant::now() < deadline {
                let replica = rng.below(callers.len());
                let tried = write.attempt(recorder, replica, &callers[replica], TRY_MAX).await;
                let refused = matches!(&tried.outcome, OperationOutcome::Refused(reason) if !may_work_later(reason));
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

/// Waits until all replicas answer the same, twice, and every following watcher is there. Returns their answers.
async fn rest(plan: &FaultPlan, recorder: &Recorder, callers: &[FaultCaller]) -> Vec<Replica> {
    let deadline = Instant::now() + REST_MAX;
    let following = plan.watchers.iter().filter(|watcher| !watcher.probe).count();
    let mut before: Option<Replica> = None;
    let mut received = None;
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
        let level = first.as_ref().map_or(0, |first| recorder.caught_up(first.cursor));
        if same && level == following && before == first {
            // At the head, a dead stream looks like one without changes.
            let at_rest = received.get_or_insert_with(|| recorder.received());
            let lives = |(watcher, count): (&usize, &u64)| at_rest.get(watcher).unwrap_or(&0) + SIGNS_OF_LIFE <= *count;
            if recorder.received().iter().filter(|entry| lives(*entry)).count() == following {
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
