//! The shared record of a schedule: all tasks add what happened to them, and read how far the others are.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::calls::NAMESPACE;
use super::check::live::{silences, undisturbed};
use super::check::record::{
    Cursor, RecordedHistory, RecordedOperation, RecordedRead, RecordedStream, RoleHolder, Trouble, Where,
};

/// A version that writers may use.
#[derive(Debug, Clone)]
pub struct KnownWrites {
    pub number: i64,
    pub published: bool,
}

/// What all namespaces of a schedule share: its time, its faults, and its end.
#[derive(Debug)]
struct Schedule {
    began: Instant,
    /// Tells writers and readers to stop.
    stopped: AtomicBool,
    /// Tells watchers to stop, because everything has settled.
    rested: AtomicBool,
    /// The current and earlier faults, in the order in which they began.
    troubles: Mutex<Vec<Trouble>>,
}

/// What all workloads of a namespace share.
#[derive(Debug)]
pub struct Recorder {
    /// Its namespace: namespaces/{namespace}
    pub namespace: String,
    schedule: Arc<Schedule>,
    /// The recorders of the other namespaces; only the one of the first namespace has them.
    others: OnceLock<Vec<Arc<Recorder>>>,
    history: Mutex<RecordedHistory>,
    /// Number of acknowledged writes.
    acknowledged: AtomicUsize,
    /// What writers know of each other's versions, by policy.
    versions: Mutex<BTreeMap<String, Vec<KnownWrites>>>,
    /// What they believe to be active. It may be old, which compare-and-set must detect.
    believed: Mutex<BTreeMap<String, i64>>,
    /// The newest known cursor.
    newest: Mutex<Cursor>,
    /// The first known cursor of its epoch: what is below may be of the epoch before.
    first_of_epoch: Mutex<Cursor>,
    /// What each following watcher holds now, and how many messages it has received.
    holders: Mutex<BTreeMap<usize, RoleHolder>>,
    message_counts: Mutex<BTreeMap<usize, u64>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recorder {
    /// Returns the recorder of the first namespace of a schedule that begins now.
    pub fn new() -> Self {
        let schedule = Schedule {
            began: Instant::now(),
            stopped: AtomicBool::new(false),
            rested: AtomicBool::new(false),
            troubles: Mutex::default(),
        };
        Self::of(Arc::new(schedule), NAMESPACE.to_owned())
    }

    /// Returns a recorder of another namespace of the same schedule.
    pub fn of_another_namespace(&self, namespace: String) -> Self {
        Self::of(Arc::clone(&self.schedule), namespace)
    }

    fn of(schedule: Arc<Schedule>, namespace: String) -> Self {
        Self {
            namespace,
            schedule,
            others: OnceLock::new(),
            history: Mutex::default(),
            acknowledged: AtomicUsize::new(0),
            versions: Mutex::default(),
            believed: Mutex::default(),
            newest: Mutex::default(),
            first_of_epoch: Mutex::default(),
            holders: Mutex::default(),
            message_counts: Mutex::default(),
        }
    }

    /// Sets the recorders of the other namespaces; only the first call counts.
    pub fn knows(&self, others: Vec<Arc<Recorder>>) {
        let _ = self.others.set(others);
    }

    /// Returns the recorders of the other namespaces.
    pub fn others(&self) -> &[Arc<Recorder>] {
        self.others.get().map_or(&[], Vec::as_slice)
    }

    /// Returns the time since the schedule began.
    pub fn now(&self) -> Duration {
        self.schedule.began.elapsed()
    }

    /// Changes the history.
    pub fn note(&self, change: impl FnOnce(&mut RecordedHistory)) {
        change(&mut lock(&self.history));
    }

    pub fn operation(&self, operation: RecordedOperation) {
        self.note(|history| history.operations.push(operation));
    }

    pub fn read(&self, read: RecordedRead) {
        self.heard_of(read.cursor);
        self.note(|history| history.reads.push(read));
    }

    pub fn stream(&self, stream: RecordedStream) {
        self.note(|history| history.streams.push(stream));
    }

    pub fn overdue(&self, text: String) {
        self.note(|history| history.overdue.push(text));
    }

    /// Returns the history, with what the watchers hold.
    pub fn finish(&self) -> RecordedHistory {
        let mut history = std::mem::take(&mut *lock(&self.history));
        history.holders = lock(&self.holders).values().cloned().collect();
        history.troubles = lock(&self.schedule.troubles).clone();
        history
    }

    pub fn count_acknowledged(&self) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
    }

    pub fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::Relaxed)
    }

    pub fn stop(&self) {
        self.schedule.stopped.store(true, Ordering::Relaxed);
    }

    pub fn stopped(&self) -> bool {
        self.schedule.stopped.load(Ordering::Relaxed)
    }

    pub fn rest(&self) {
        self.schedule.rested.store(true, Ordering::Relaxed);
    }

    pub fn rested(&self) -> bool {
        self.schedule.rested.load(Ordering::Relaxed)
    }

    /// Records a cursor that somebody received.
    pub fn heard_of(&self, cursor: Cursor) {
        let mut newest = lock(&self.newest);
        *newest = cursor.max(*newest);
        let mut first = lock(&self.first_of_epoch);
        if cursor.epoch > first.epoch || cursor.epoch == first.epoch && cursor.revision < first.revision {
            *first = cursor;
        }
    }

    /// Returns the newest known cursor, and the first one of its epoch.
    pub fn newest(&self) -> (Cursor, Cursor) {
        (*lock(&self.newest), *lock(&self.first_of_epoch))
    }

    pub fn add_version(&self, policy: &str, known: KnownWrites) {
        lock(&self.versions).entry(policy.to_owned()).or_default().push(known);
    }

    pub fn mark_published(&self, policy: &str, number: i64) {
        for known in lock(&self.versions).get_mut(policy).into_iter().flatten() {
            known.published |= known.number == number;
        }
    }

    /// Returns the versions of a policy that are published, or those that are not.
    pub fn versions(&self, policy: &str, published: bool) -> Vec<i64> {
        let versions = lock(&self.versions);
        let known = versions.get(policy).into_iter().flatten();
        known.filter(|known| known.published == published).map(|known| known.number).collect()
    }

    pub fn believe(&self, policy: &str, active: i64) {
        lock(&self.believed).insert(policy.to_owned(), active);
    }

    pub fn believed(&self, policy: &str) -> i64 {
        lock(&self.believed).get(policy).copied().unwrap_or(0)
    }

    /// Begins a fault and returns its number, with which it is ended.
    pub fn begin_trouble(&self, place: Where, replica: Option<usize>) -> usize {
        let mut troubles = lock(&self.schedule.troubles);
        troubles.push(Trouble { from: self.now(), until: Duration::MAX, place, replica });
        troubles.len() - 1
    }

    /// Ends a fault now, or this long after it began, whichever is later.
    pub fn end_trouble(&self, number: usize, lasts: Duration) {
        let now = self.now();
        let trouble = &mut lock(&self.schedule.troubles)[number];
        trouble.until = now.max(trouble.from + lasts);
    }

    /// Records that the harness itself did not run since `from`.
    pub fn starved(&self, from: Duration) {
        let until = self.now();
        lock(&self.schedule.troubles).push(Trouble { from, until, place: Where::Harness, replica: None });
    }

    /// Records that a server waited for a processor.
    pub fn waited(&self, from: Duration, replica: usize) {
        let until = self.now();
        lock(&self.schedule.troubles).push(Trouble { from, until, place: Where::Processor, replica: Some(replica) });
    }

    /// Returns how long a stream has been silent since `since`, without the time of faults.
    pub fn silent_for(&self, replica: usize, since: Duration, begun: bool) -> Duration {
        undisturbed(&lock(&self.schedule.troubles), (since, self.now()), replica, |place| !begun || silences(place))
    }

    /// Counts a message of a following watcher.
    pub fn hear(&self, watcher: usize) {
        *lock(&self.message_counts).entry(watcher).or_default() += 1;
    }

    /// Returns how many messages each following watcher has received.
    pub fn received(&self) -> BTreeMap<usize, u64> {
        lock(&self.message_counts).clone()
    }

    pub fn hold(&self, holder: RoleHolder) {
        lock(&self.holders).insert(holder.watcher, holder);
    }

    /// Returns how many following watchers are at a cursor or beyond it.
    pub fn caught_up(&self, cursor: Cursor) -> usize {
        let at = |holder: &&RoleHolder| holder.cursor.is_some_and(|held| held >= cursor);
        lock(&self.holders).values().filter(at).count()
    }
}
