//! Leases and status reports of the subscribers of a replica, written by one task in batches.
//!
//! The replica has one lease, which it renews; those of its subscribers last as long. So an open stream costs two writes, of its begin
//! and of its end.
//!
//! A stream only holds a `Lease`, and dropping it ends the lease. There is no task or timer per subscriber. Unwritten changes are in
//! memory and are retried until they are written, so each write may happen twice. Each principal that claims an id has its own entry; the
//! database alone decides who owns the id, and the other claims are refused.

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
use tokio_util::sync::CancellationToken;

use crate::domain::limits::{SUBSCRIBERS_PER_NAMESPACE_MAX, SUBSCRIBERS_PER_REPLICA_MAX};
use crate::domain::name::NamespaceId;
use crate::domain::quota::admit_subscriber;
use crate::domain::subscriber::{
    Profile, ReportVerdict, StatusReport, Subscriber, SubscriberClaim, SubscriberId, SubscriberName, SubscriberStatus,
};
use crate::domain::time::Micros;
use crate::domain::{Error, Reason, Result};
use crate::store::Store;
use clock::LeaseClock;
use entry::LeaseEntry;

/// How long a call waits for its report to be written. Longer: runtimes hang while the database is away.
const WRITTEN_WAIT_MAX: Duration = Duration::from_secs(2);

/// Time between two renewals of this replica's lease. At the same time it looks for leases of others that ended, for leases that last longer
/// than one that is written now, whether or not a jump of the clock was seen, and for those of its own that the database lost. Longer: a
/// replica that is slow to renew is taken for dead, and a lease that was written while a clock was ahead, and whose holder is gone, is shown
/// online for longer. Shorter: more statements.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(10);
/// Time since the last renewal after which it is made up for before leases are read: the process was suspended, and may look dead. Shorter
/// than `RENEWAL_INTERVAL` and a round: each read would write. Longer than a lease: its subscribers are shown offline.
const RENEWAL_LATE: Duration = Duration::from_secs(15);

/// The subscribers of a replica, and their reports.
#[derive(Debug)]
pub struct Leases {
    store: Store,
    /// Id of this replica in the rows that it writes.
    holder: String,
    /// Maximum of ids of one principal in one namespace; 0: no limit.
    per_principal: u32,
    /// The host's clock, used for leases when no other process writes them.
    clock: fn() -> Micros,
    /// A monotonic clock.
    monotonic: fn() -> Instant,
    lease_clock: Mutex<LeaseClock>,
    state: Mutex<LeaseState>,
    /// Signals that something should be written before the next round.
    urgent: Notify,
    /// Counts flushes that ended.
    flushed: watch::Sender<u64>,
    applied: AtomicU64,
    rejected: AtomicU64,
}

#[derive(Debug, Default)]
struct LeaseState {
    entries: BTreeMap<SubscriberClaim, LeaseEntry>,
    per_namespace: BTreeMap<NamespaceId, usize>,
    /// Number of ids by namespace and principal.
    per_principal: BTreeMap<(NamespaceId, String), u32>,
    /// Whether there were new ids since the oldest offline ones were deleted.
    has_grown: bool,
    round: u64,
    /// Time at which the lease of the replica was last renewed, when it held any, and others were looked at.
    renewed_at: Option<Instant>,
}

/// A stream's lease. The stream holds it, and dropping it ends the lease.
#[derive(Debug)]
pub struct Lease {
    leases: Arc<Leases>,
    claim: SubscriberClaim,
    /// Cancelled when the id turned out to belong to another principal.
    refused: CancellationToken,
    handed_over: bool,
}

impl Lease {
    /// Keeps the subscriber in the live set until its lease lapses, when the server ends the stream and asks its subscriber to reconnect.
    /// Otherwise a drain would make an activation look converged.
    pub fn hand_over(&mut self) {
        self.handed_over = true;
    }

    /// Waits until the database reports that the id belongs to another principal, and returns the error that ends the stream. Cancel-safe.
    pub async fn refused(&self) -> Error {
        self.refused.cancelled().await;
        self.claim.refused()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(entry) = self.leases.lock().entries.get_mut(&self.claim) {
            entry.streams = entry.streams.saturating_sub(1);
            if self.handed_over && entry.streams == 0 {
                entry.is_handed_over = true;
            }
        }
    }
}

impl LeaseState {
    /// Returns whether the lease of the replica has to be renewed.
    fn is_renewal_due(&self, now: Instant) -> bool {
        self.renewed_at.is_none_or(|then| now.saturating_duration_since(then) >= RENEWAL_INTERVAL)
    }

    /// Returns whether it should have been renewed long ago.
    fn is_renewal_late(&self, now: Instant) -> bool {
        self.renewed_at.is_some_and(|then| now.saturating_duration_since(then) >= RENEWAL_LATE)
    }

    /// Returns the entry of a claim, and creates it if needed. `limit` bounds the ids of one principal in one namespace; 0: no limit.
    fn entry(&mut self, claim: &SubscriberClaim, limit: u32) -> Result<&mut LeaseEntry> {
        let (all, round) = (self.entries.len(), self.round);
        match self.entries.entry(claim.clone()) {
            MapEntry::Occupied(entry) if entry.get().is_refused(round) => Err(claim.refused()),
            MapEntry::Occupied(entry) => {
                let entry = entry.into_mut();
                entry.claim_again(round);
                Ok(entry)
            }
            MapEntry::Vacant(vacant) => {
                let namespace = &claim.name.namespace;
                let own = (namespace.clone(), claim.owner.clone());
                let owned = self.per_principal.get(&own).copied().unwrap_or_default();
                admit_subscriber(limit, owned).map_err(|refusal| refusal.of(&claim.owner))?;
                let count = self.per_namespace.entry(namespace.clone()).or_default();
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
                self.per_principal.insert(own, owned + 1);
                self.has_grown = true;
                Ok(vacant.insert(LeaseEntry::default()))
            }
        }
    }

    fn forget_idle(&mut self) {
        let Self { entries, per_namespace, per_principal, round, .. } = self;
        entries.retain(|SubscriberClaim { name, owner }, entry| {
            let idle = entry.is_idle(*round);
            if idle && let Some(count) = per_namespace.get_mut(&name.namespace) {
                *count -= 1;
            }
            if idle && let Some(count) = per_principal.get_mut(&(name.namespace.clone(), owner.clone())) {
                *count -= 1;
            }
            !idle
        });
        per_namespace.retain(|_, count| *count > 0);
        per_principal.retain(|_, count| *count > 0);
    }
}

impl Leases {
    /// Creates an empty set of leases. `holder` differs for each start of a server; `per_principal` is how many ids one principal may use
    /// in one namespace here, 0 for no limit.
    #[must_use]
    pub fn new(
        store: Store,
        holder: String,
        per_principal: u32,
        clock: fn() -> Micros,
        monotonic: fn() -> Instant,
    ) -> Self {
        Self {
            store,
            holder,
            per_principal,
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

    fn lock(&self) -> MutexGuard<'_, LeaseState> {
        // Nothing under this lock panics, and every change of the state is complete before it is released.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the time at which leases are written: the database's, when several replicas write them.
    async fn wall(&self) -> Result<Micros> {
        Ok(self.store.time().await?.unwrap_or_else(self.clock))
    }

    /// Returns the time by which leases are judged.
    ///
    /// # Errors
    /// Errors of the database.
    pub async fn now(&self) -> Result<Micros> {
        let wall = self.wall().await?;
        self.note_database();
        Ok(self.lease_clock().judge(wall, (self.monotonic)()))
    }

    /// Records whether leases can be written: one that can't be renewed does not lapse.
    fn note_database(&self) {
        let is_away = self.store.is_degraded() || self.store.write_blocker().is_some();
        self.lease_clock().note_database(is_away, (self.monotonic)());
    }

    fn lease_clock(&self) -> MutexGuard<'_, LeaseClock> {
        self.lease_clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the lease of a stream. It does not wait for the database: until that decides who owns the id, the stream continues and its
    /// reports do not count. See `Lease::refused`.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED`, `QUOTA_EXCEEDED`; `SUBSCRIBER_ID_TAKEN` when that was found recently.
    pub fn open(self: &Arc<Self>, claim: SubscriberClaim, profile: Profile) -> Result<Lease> {
        let mut state = self.lock();
        let entry = state.entry(&claim, self.per_principal)?;
        entry.open(profile);
        let refused = entry.refusal.clone();
        drop(state);
        Ok(Lease { leases: Arc::clone(self), claim, refused, handed_over: false })
    }

    /// Accepts a report of `owner`. Returns true when it is in the database, false when it is in memory and will be written.
    ///
    /// # Errors
    /// `SUBSCRIBER_ID_TAKEN`, `LIMIT_EXCEEDED`, `QUOTA_EXCEEDED`.
    pub async fn report(&self, report: StatusReport, owner: String, matches: bool) -> Result<bool> {
        let count = match report.verdict {
            ReportVerdict::Applied => &self.applied,
            ReportVerdict::Rejected { .. } => &self.rejected,
        };
        let claim = SubscriberClaim { name: report.subscriber.clone(), owner };
        let (report_number, is_due, refused) = {
            let mut state = self.lock();
            let round = state.round;
            let entry = state.entry(&claim, self.per_principal)?;
            entry.report_count += 1;
            entry.unwritten = std::mem::take(&mut entry.unwritten).then(SubscriberStatus::after(report, matches));
            (entry.report_count, entry.report_due(round, false), entry.refusal.clone())
        };
        let is_written = || self.lock().entries.get(&claim).is_none_or(|entry| entry.written_count >= report_number);
        let is_stored = is_due && self.flushed_until(is_written).await;
        // A refused claim has nothing more to write.
        if refused.is_cancelled() {
            return Err(claim.refused());
        }
        count.fetch_add(1, Ordering::Relaxed);
        Ok(is_stored)
    }

    /// Writes what is due at once, so that readers of the database see what is known here. Reports that are delayed by their pace stay
    /// unwritten: see `unwritten`.
    pub async fn settle(&self) {
        let is_settled = || {
            let now = (self.monotonic)();
            let state = self.lock();
            let is_late = state.is_renewal_late(now);
            let due = |entry: &LeaseEntry| {
                entry.lease_due().is_some() || entry.report_due(state.round, false) || is_late && entry.is_held
            };
            !state.entries.values().any(due)
        };
        if !is_settled() {
            self.flushed_until(is_settled).await;
        }
    }

    /// Requests a flush and waits until a condition holds, for a limited time.
    async fn flushed_until(&self, holds: impl Fn() -> bool) -> bool {
        let mut flushed = self.flushed.subscribe();
        self.urgent.notify_one();
        tokio::time::timeout(WRITTEN_WAIT_MAX, flushed.wait_for(|_| holds())).await.is_ok_and(|done| done.is_ok())
    }

    /// Returns the reports that may not be in the database, by id and principal. They count only for a row of that principal.
    #[must_use]
    pub fn unwritten(&self, namespace: &NamespaceId) -> BTreeMap<(SubscriberId, String), SubscriberStatus> {
        let state = self.lock();
        if !state.per_namespace.contains_key(namespace) {
            return BTreeMap::new();
        }
        let is_unwritten = |claim: &SubscriberClaim, entry: &LeaseEntry| {
            &claim.name.namespace == namespace && entry.report_count > entry.written_count
        };
        let unwritten = state.entries.iter().filter(|(claim, entry)| is_unwritten(claim, entry));
        unwritten
            .map(|(claim, entry)| ((claim.name.id.clone(), claim.owner.clone()), entry.unwritten.clone()))
            .collect()
    }

    /// Marks subscribers with an open stream here as live, and returns how many were not. Their row may still hold the end of a stream at
    /// another replica.
    pub fn mark_live_here(&self, namespace: &NamespaceId, subscribers: &mut [Subscriber], now: Micros) -> u64 {
        let state = self.lock();
        if !state.per_namespace.contains_key(namespace) {
            return 0;
        }
        let mut marked = 0;
        for subscriber in subscribers.iter_mut().filter(|subscriber| !subscriber.is_online(now)) {
            let name = SubscriberName { namespace: namespace.clone(), id: subscriber.id.clone() };
            let claim = SubscriberClaim { name, owner: subscriber.owner.clone() };
            if state.entries.get(&claim).is_some_and(|entry| entry.streams > 0) {
                (subscriber.lease_end, subscriber.last_seen) = (Micros(i64::MAX), now);
                marked += 1;
            }
        }
        marked
    }

    /// Returns the number of reports accepted since the start: applied, rejected.
    #[must_use]
    pub fn reports(&self) -> (u64, u64) {
        (self.applied.load(Ordering::Relaxed), self.rejected.load(Ordering::Relaxed))
    }

    /// Returns the number of subscribers that have a stream here.
    #[must_use]
    pub fn online(&self) -> usize {
        self.lock().entries.values().filter(|entry| entry.streams > 0).count()
    }
}
