//! The leases of a replica: who watches here, what was reported here, and one task that writes both in batches.
//!
//! A stream holds a `Lease` and does nothing for it; its end is its drop. Never a task or a timer per subscriber. What
//! is not written yet is in memory, and is written again until it is: each write may be done twice.

mod clock;
mod entry;
mod flush;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::domain::limits::{SUBSCRIBERS_PER_NAMESPACE_MAX, SUBSCRIBERS_PER_REPLICA_MAX};
use crate::domain::name::NamespaceId;
use crate::domain::subscriber::{Profile, Report, Standing, SubscriberId, SubscriberName, Verdict};
use crate::domain::time::Micros;
use crate::domain::{Error, Reason, Result};
use crate::store::Store;
use clock::LeaseClock;
use entry::Entry;

/// How long a call waits for its report to be written. Longer: runtimes hang on a database that is gone.
const WRITTEN_WAIT_MAX: Duration = Duration::from_secs(2);

/// Who watches a replica, and what was reported to it.
#[derive(Debug)]
pub struct Leases {
    store: Store,
    /// This replica, in rows that it wrote.
    holder: String,
    /// The host's clock: that of the leases, where one process has them all.
    clock: fn() -> Micros,
    /// A clock that never jumps.
    monotonic: fn() -> Instant,
    lease_clock: Mutex<LeaseClock>,
    state: Mutex<State>,
    /// Something should be written before the next round.
    urgent: Notify,
    /// Counts flushes that ended.
    flushed: watch::Sender<u64>,
    applied: AtomicU64,
    rejected: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<SubscriberName, Entry>,
    per_namespace: BTreeMap<NamespaceId, usize>,
    round: u64,
}

/// A stream's claim to be seen. Held by the stream, and ended with it.
#[derive(Debug)]
pub struct Lease {
    leases: Arc<Leases>,
    name: SubscriberName,
    handed_over: bool,
}

impl Lease {
    /// The server ends the stream and asks its subscriber to come back: it stays in the live set until its lease lapses, so
    /// that a drain does not make an activation look settled.
    pub fn hand_over(&mut self) {
        self.handed_over = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(entry) = self.leases.lock().entries.get_mut(&self.name) {
            entry.streams = entry.streams.saturating_sub(1);
            if self.handed_over && entry.streams == 0 {
                entry.leased = None;
            }
        }
    }
}

impl State {
    fn entry(&mut self, name: &SubscriberName) -> Result<&mut Entry> {
        let all = self.entries.len();
        match self.entries.entry(name.clone()) {
            MapEntry::Occupied(entry) => Ok(entry.into_mut()),
            MapEntry::Vacant(vacant) => {
                let count = self.per_namespace.entry(name.namespace.clone()).or_default();
                if *count >= SUBSCRIBERS_PER_NAMESPACE_MAX || all >= SUBSCRIBERS_PER_REPLICA_MAX {
                    let limit = if all >= SUBSCRIBERS_PER_REPLICA_MAX {
                        SUBSCRIBERS_PER_REPLICA_MAX
                    } else {
                        SUBSCRIBERS_PER_NAMESPACE_MAX
                    };
                    let message = format!("this replica keeps {limit} subscribers already; connect to another one");
                    return Err(Error::new(Reason::LimitExceeded, message).with("limit", limit));
                }
                *count += 1;
                Ok(vacant.insert(Entry::default()))
            }
        }
    }

    fn forget_idle(&mut self) {
        let Self { entries, per_namespace, round } = self;
        entries.retain(|name, entry| {
            let idle = entry.is_idle(*round);
            if idle && let Some(count) = per_namespace.get_mut(&name.namespace) {
                *count -= 1;
            }
            !idle
        });
        per_namespace.retain(|_, count| *count > 0);
    }
}

impl Leases {
    /// No leases. `holder` is another one for each start of a server.
    #[must_use]
    pub fn new(store: Store, holder: String, clock: fn() -> Micros, monotonic: fn() -> Instant) -> Self {
        Self {
            store,
            holder,
            clock,
            monotonic,
            lease_clock: Mutex::default(),
            state: Mutex::default(),
            urgent: Notify::new(),
            flushed: watch::Sender::default(),
            applied: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock panics, and every change of the state is complete before it is released.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time at which leases are written: the database's, where several replicas write them.
    async fn wall(&self) -> Result<Micros> {
        Ok(self.store.time().await?.unwrap_or_else(self.clock))
    }

    /// The time by which leases hold.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn now(&self) -> Result<Micros> {
        let wall = self.wall().await?;
        self.note_database();
        Ok(self.lease_clock().judge(wall, (self.monotonic)()))
    }

    /// Notes whether leases can be written: one that nobody can renew does not lapse.
    fn note_database(&self) {
        let is_away = self.store.is_degraded() || self.store.obstacle().is_some();
        self.lease_clock().note_database(is_away, (self.monotonic)());
    }

    fn lease_clock(&self) -> MutexGuard<'_, LeaseClock> {
        self.lease_clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream opens.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED`.
    pub fn open(self: &Arc<Self>, name: SubscriberName, profile: Profile) -> Result<Lease> {
        let mut state = self.lock();
        let entry = state.entry(&name)?;
        entry.streams += 1;
        entry.opened += 1;
        entry.profile = profile;
        drop(state);
        Ok(Lease { leases: Arc::clone(self), name, handed_over: false })
    }

    /// Takes a report. True: it is in the database. False: it is here, and will be written.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED`.
    pub async fn report(&self, report: Report, matches: bool) -> Result<bool> {
        let count = match report.verdict {
            Verdict::Applied => &self.applied,
            Verdict::Rejected { .. } => &self.rejected,
        };
        let name = report.subscriber.clone();
        let (word, is_due) = {
            let mut state = self.lock();
            let round = state.round;
            let entry = state.entry(&name)?;
            entry.words += 1;
            entry.said = std::mem::take(&mut entry.said).then(Standing::after(report, matches));
            (entry.words, entry.report_due(round, false))
        };
        count.fetch_add(1, Ordering::Relaxed);
        if !is_due {
            return Ok(false);
        }
        let is_written = || self.lock().entries.get(&name).is_none_or(|entry| entry.written >= word);
        Ok(self.flushed_until(is_written).await)
    }

    /// Writes what need not wait for its turn, so that who reads the database sees what is known here. Reports that were
    /// held back stay so: see `unwritten`.
    pub async fn settle(&self) {
        let is_settled = || {
            let state = self.lock();
            let due = |entry: &Entry| entry.lease_due(state.round).is_some() || entry.report_due(state.round, false);
            !state.entries.values().any(due)
        };
        if !is_settled() {
            self.flushed_until(is_settled).await;
        }
    }

    /// Asks for a flush and waits until something holds, but not for long.
    async fn flushed_until(&self, holds: impl Fn() -> bool) -> bool {
        let mut flushed = self.flushed.subscribe();
        self.urgent.notify_one();
        tokio::time::timeout(WRITTEN_WAIT_MAX, flushed.wait_for(|_| holds())).await.is_ok_and(|done| done.is_ok())
    }

    /// What was reported here and may not be in the database, in order of the ids.
    #[must_use]
    pub fn unwritten(&self, namespace: &NamespaceId) -> BTreeMap<SubscriberId, Standing> {
        let state = self.lock();
        if !state.per_namespace.contains_key(namespace) {
            return BTreeMap::new();
        }
        let said =
            state.entries.iter().filter(|(name, entry)| &name.namespace == namespace && entry.words > entry.written);
        said.map(|(name, entry)| (name.id.clone(), entry.said.clone())).collect()
    }

    /// Reports taken since the start: applied, rejected.
    #[must_use]
    pub fn reports(&self) -> (u64, u64) {
        (self.applied.load(Ordering::Relaxed), self.rejected.load(Ordering::Relaxed))
    }

    /// Subscribers that have a stream here.
    #[must_use]
    pub fn online(&self) -> usize {
        self.lock().entries.values().filter(|entry| entry.streams > 0).count()
    }
}
