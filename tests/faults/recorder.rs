//! Where everybody writes down what happened to them, and learns how far the others are.

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

/// Holds what all namespaces of a schedule share: its time, its faults, and its end.
#[derive(Debug)]
struct Schedule {
    began: Instant,
    /// Writers and readers stop.
    stopped: AtomicBool,
    /// Watchers stop: everything came to rest.
    rested: AtomicBool,
    /// The faults in force and those that were, in the order in which they began.
    troubles: Mutex<Vec<Trouble>>,
}

/// Holds what is shared by all workloads of a namespace.
#[derive(Debug)]
pub struct Recorder {
    /// Its namespace: namespaces/{namespace}
    pub namespace: String,
    schedule: Arc<Schedule>,
    /// Those of the other namespaces, known to the one of the first.
    others: OnceLock<Vec<Arc<Recorder>>>,
    history: Mutex<RecordedHistory>,
    /// Writes that were acknowledged.
    acknowledged: AtomicUsize,
    /// Holds what writers know of each other's versions, by policy.
    versions: Mutex<BTreeMap<String, Vec<KnownWrites>>>,
    /// Holds what they believe to be active. It may be old: that is what compare-and-set is for.
    believed: Mutex<BTreeMap<String, i64>>,
    /// The newest place that anybody heard of.
    newest: Mutex<Cursor>,
    /// The first place of its epoch that anybody was told of: what is below may be of the epoch before.
    first_of_epoch: Mutex<Cursor>,
    /// Holds what each following watcher holds now, and how many messages came to it.
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

    /// Makes the recorders of the other namespaces known; the first call counts.
    pub fn knows(&self, others: Vec<Arc<Recorder>>) {
        let _ = self.others.set(others);
    }

    /// Returns the recorders of the other namespaces.
    pub fn others(&self) -> &[Arc<Recorder>] {
        self.others.get().map_or(&[], Vec::as_slice)
    }

    /// Since the schedule began.
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

    /// Somebody was told of a place.
    pub fn heard_of(&self, cursor: Cursor) {
        let mut newest = lock(&self.newest);
        *newest = cursor.max(*newest);
        let mut first = lock(&self.first_of_epoch);
        if cursor.epoch > first.epoch || cursor.epoch == first.epoch && cursor.revision < first.revision {
            *first = cursor;
        }
    }

    /// Returns the newest place that anybody was told of, and the first one of its epoch.
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

    /// Returns the versions of a policy that are published, or are not.
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

    /// Begins a fault; it is in force until it is ended by the number that is returned.
    pub fn begin_trouble(&self, place: Where, replica: Option<usize>) -> usize {
        let mut troubles = lock(&self.schedule.troubles);
        troubles.push(Trouble { from: self.now(), until: Duration::MAX, place, replica });
        troubles.len() - 1
    }

    /// It ends now, or so much after it began, whichever is later.
    pub fn end_trouble(&self, number: usize, lasts: Duration) {
        let now = self.now();
        let trouble = &mut lock(&self.schedule.troubles)[number];
        trouble.until = now.max(trouble.from + lasts);
    }

    /// The harness itself did not run for so long.
    pub fn starved(&self, from: Duration) {
        let until = self.now();
        lock(&self.schedule.troubles).push(Trouble { from, until, place: Where::Harness, replica: None });
    }

    /// A server waited for a processor.
    pub fn waited(&self, from: Duration, replica: usize) {
        let until = self.now();
        lock(&self.schedule.troubles).push(Trouble { from, until, place: Where::Processor, replica: Some(replica) });
    }

    /// For how long a stream has been silent that heard something at `since`, as far as nothing excuses it.
    pub fn silent_for(&self, replica: usize, since: Duration, begun: bool) -> Duration {
        undisturbed(&lock(&self.schedule.troubles), (since, self.now()), replica, |place| !begun || silences(place))
    }

    /// A message came to a following watcher.
    pub fn hear(&self, watcher: usize) {
        *lock(&self.message_counts).entry(watcher).or_default() += 1;
    }

    /// Returns how many messages came to each following watcher.
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
