//! Quotas at this replica: the limits, the use by each owner, and the refusals.
//!
//! All of it is in memory, so a refused call costs no query. The quotas of namespaces are read when the log of `system` moved, at most
//! once a second. A full bucket and a count of 0 are removed: memory is bounded by the calls of the last second and by the open watches.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::domain::Result;
use crate::domain::event::Cursor;
use crate::domain::name::NamespaceId;
use crate::domain::outcome::Namespace;
use crate::domain::principal::Principal;
use crate::domain::quota::{Bucket, Quota, QuotaRefusal, Quotas, Rate, ServerQuotas, Usage, admit_stream};
use crate::domain::time::Micros;

/// Number of owners from which those with full buckets are removed.
const SWEEP_MIN_OWNERS: usize = 1_024;

/// The owner of a quota.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum QuotaOwner {
    Namespace(NamespaceId),
    Principal(String),
}

impl fmt::Display for QuotaOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace(id) => f.write_str(&id.name()),
            Self::Principal(actor) => f.write_str(actor),
        }
    }
}

/// The quotas of a replica, and their use.
#[derive(Debug, Default)]
pub struct QuotaMeters {
    server: ServerQuotas,
    overrides: RwLock<QuotaOverrides>,
    rates: Mutex<RateBuckets>,
    streams: Arc<StreamCounts>,
    refusals: [AtomicU64; Quota::ALL.len()],
}

/// The quotas of namespaces that have their own, as of a cursor of the log of `system`.
#[derive(Debug, Default)]
struct QuotaOverrides {
    as_of: Option<Cursor>,
    quotas: BTreeMap<NamespaceId, Quotas>,
}

#[derive(Debug, Default)]
struct RateBuckets {
    buckets: HashMap<(QuotaOwner, MeteredKind), Bucket>,
    sweep_at: usize,
}

/// A `Rate` that is metered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum MeteredKind {
    Write,
    Read,
    Report,
}

#[derive(Debug, Default)]
struct StreamCounts(Mutex<HashMap<QuotaOwner, u32>>);

/// The use of a watch in the quotas of its namespace and its principal, released when it is dropped.
#[derive(Debug)]
pub struct StreamPermit {
    streams: Arc<StreamCounts>,
    owners: [QuotaOwner; 2],
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        let mut open = self.streams.lock();
        for owner in &self.owners {
            if let Some(count) = open.get_mut(owner) {
                *count -= 1;
                if *count == 0 {
                    open.remove(owner);
                }
            }
        }
    }
}

impl StreamCounts {
    fn lock(&self) -> MutexGuard<'_, HashMap<QuotaOwner, u32>> {
        // Nothing under this lock panics, and every change of the state is complete before it is released.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RateBuckets {
    fn take(
        &mut self,
        owner: &QuotaOwner,
        kind: MeteredKind,
        per_second: u32,
        now: Micros,
    ) -> Result<(), QuotaRefusal> {
        if self.buckets.len() >= self.sweep_at.max(SWEEP_MIN_OWNERS) {
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
            // Twice as many as are in use, so that a sweep costs a call nothing on average.
            self.sweep_at = self.buckets.len() * 2;
        }
        let taken = self.buckets.entry((owner.clone(), kind)).or_default().take(per_second, now);
        let quota = if kind == MeteredKind::Write { Quota::WritesPerSecond } else { Quota::ReadsPerSecond };
        taken.map_err(|wait| QuotaRefusal { quota, limit: per_second.into(), used: None, retry_after: Some(wait) })
    }
}

fn metered(rate: Rate) -> Option<MeteredKind> {
    match rate {
        Rate::Write => Some(MeteredKind::Write),
        Rate::Read => Some(MeteredKind::Read),
        Rate::Report => Some(MeteredKind::Report),
        Rate::Unmetered => None,
    }
}

impl QuotaMeters {
    pub fn new(server: ServerQuotas) -> Self {
        Self { server, ..Self::default() }
    }

    /// Returns the quotas of a namespace.
    fn quotas_of(&self, namespace: &NamespaceId) -> Quotas {
        let own = self.overrides.read().unwrap_or_else(PoisonError::into_inner);
        own.quotas.get(namespace).copied().unwrap_or_default().or(self.server.namespace)
    }

    /// Returns whether the quotas are those of this head of the log of `system`.
    pub fn is_current_at(&self, head: Cursor) -> bool {
        self.overrides.read().unwrap_or_else(PoisonError::into_inner).as_of == Some(head)
    }

    /// Replaces the quotas of namespaces by those that were read after the log of `system` had this head.
    pub fn replace_overrides(&self, head: Cursor, quotas: BTreeMap<NamespaceId, Quotas>) {
        *self.overrides.write().unwrap_or_else(PoisonError::into_inner) = QuotaOverrides { as_of: Some(head), quotas };
    }

    /// Applies quotas that this replica just committed, until the next poll reads them again.
    pub fn apply_committed(&self, namespace: &Namespace) {
        let mut own = self.overrides.write().unwrap_or_else(PoisonError::into_inner);
        own.quotas.insert(namespace.id.clone(), namespace.quotas);
    }

    /// Counts a call against a principal's rate.
    pub fn meter_principal(&self, principal: &Principal, rate: Rate, now: Micros) -> Result<()> {
        let per_second = self.server.principal.per_second(rate);
        self.meter(per_second, rate, now, || QuotaOwner::Principal(principal.actor()))
    }

    /// Counts a call against a namespace's rate.
    pub fn meter_namespace(&self, namespace: &NamespaceId, rate: Rate, now: Micros) -> Result<()> {
        self.meter(self.quotas_of(namespace).per_second(rate), rate, now, || QuotaOwner::Namespace(namespace.clone()))
    }

    fn meter(&self, per_second: u32, rate: Rate, now: Micros, owner: impl FnOnce() -> QuotaOwner) -> Result<()> {
        let Some(kind) = metered(rate).filter(|_| per_second > 0) else { return Ok(()) };
        let owner = owner();
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = rates.take(&owner, kind, per_second, now);
        drop(rates);
        self.count_if_refused(taken, &owner)
    }

    /// Counts a stream in the quotas of its namespace and its principal.
    pub fn open_stream(&self, principal: &Principal, namespace: &NamespaceId) -> Result<StreamPermit> {
        let owners = [QuotaOwner::Namespace(namespace.clone()), QuotaOwner::Principal(principal.actor())];
        let limits = [self.quotas_of(namespace).max_streams, self.server.principal.max_streams];
        let mut open = self.streams.lock();
        for (owner, limit) in owners.iter().zip(limits) {
            let admitted = admit_stream(limit, open.get(owner).copied().unwrap_or_default());
            self.count_if_refused(admitted, owner)?;
        }
        for owner in &owners {
            *open.entry(owner.clone()).or_default() += 1;
        }
        drop(open);
        Ok(StreamPermit { streams: Arc::clone(&self.streams), owners })
    }

    /// Checks that one more policy fits. `own` and `usage` are those of the locked row.
    pub fn admit_policy(&self, namespace: &NamespaceId, own: Quotas, usage: &Usage) -> Result<()> {
        let admitted = own.or(self.server.namespace).admit_policy(usage);
        self.count_if_refused(admitted, &QuotaOwner::Namespace(namespace.clone()))
    }

    /// Checks that one more version of `bytes` fits. `own` and `usage` are those of the locked row.
    pub fn admit_version(&self, namespace: &NamespaceId, own: Quotas, usage: &Usage, bytes: i64) -> Result<()> {
        let admitted = own.or(self.server.namespace).admit_version(usage, bytes);
        self.count_if_refused(admitted, &QuotaOwner::Namespace(namespace.clone()))
    }

    fn count_if_refused(&self, admitted: Result<(), QuotaRefusal>, owner: &QuotaOwner) -> Result<()> {
        admitted.map_err(|refusal| {
            self.count_refusal(refusal.quota);
            refusal.of(&owner.to_string())
        })
    }

    /// Counts a refusal.
    pub fn count_refusal(&self, refused: Quota) {
        if let Some((_, count)) = Quota::ALL.iter().zip(&self.refusals).find(|(quota, _)| **quota == refused) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns the refusals so far, by quota.
    pub fn refusals(&self) -> impl Iterator<Item = (Quota, u64)> + '_ {
        Quota::ALL.iter().zip(&self.refusals).map(|(quota, count)| (*quota, count.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Reason;

    fn meters(namespace: Quotas, max_streams: u32) -> QuotaMeters {
        let principal = crate::domain::quota::PrincipalQuotas { max_streams, ..Default::default() };
        QuotaMeters::new(ServerQuotas { namespace, principal })
    }

    fn namespace(id: &str) -> NamespaceId {
        NamespaceId::parse("namespace", id).expect("an id")
    }

    fn open(meters: &QuotaMeters, owner: &str, id: &str) -> Result<StreamPermit> {
        meters.open_stream(&Principal::new("local", owner), &namespace(id))
    }

    #[test]
    fn a_refused_watch_uses_nothing_and_one_that_ends_gives_it_back() {
        let meters = meters(Quotas { max_streams: 2, ..Quotas::default() }, 3);
        let (one, two) = (open(&meters, "ann", "a").expect("room"), open(&meters, "ann", "a").expect("room"));
        let refused = open(&meters, "bob", "a").expect_err("the namespace is full");
        assert_eq!((refused.reason, refused.metadata["subject"].as_str()), (Reason::QuotaExceeded, "namespaces/a"));
        let three = open(&meters, "ann", "b").expect("room in another namespace");
        let refused = open(&meters, "ann", "b").expect_err("the principal is full");
        assert_eq!(refused.metadata["subject"], "local:ann");
        let counts: BTreeMap<String, u32> =
            meters.streams.lock().iter().map(|(owner, count)| (owner.to_string(), *count)).collect();
        assert_eq!(counts.values().sum::<u32>(), 6, "those that were refused left something behind: {counts:?}");
        drop((one, two, three));
        assert!(meters.streams.lock().is_empty());
        assert_eq!(meters.refusals().map(|(_, count)| count).sum::<u64>(), 2);
    }

    #[test]
    fn rates_are_separate_by_namespace_and_by_kind() {
        let meters = meters(Quotas { writes_per_second: 1, reads_per_second: 1, ..Quotas::default() }, 0);
        let now = Micros(1_700_000_000_000_000);
        let take = |id: &str, rate| meters.meter_namespace(&namespace(id), rate, now).is_ok();
        for id in ["a", "b"] {
            for rate in [Rate::Write, Rate::Read, Rate::Report] {
                assert!(take(id, rate), "the first of {rate:?} in {id}");
                assert!(!take(id, rate), "the second of {rate:?} in {id}");
            }
            assert!(take(id, Rate::Unmetered) && take(id, Rate::Unmetered));
        }
    }

    #[test]
    fn what_is_idle_is_forgotten_and_what_is_not_metered_is_never_kept() {
        let meters = meters(Quotas { reads_per_second: 5, ..Quotas::default() }, 0);
        for number in 0..20_000_i64 {
            let now = Micros(1_700_000_000_000_000 + number * 10_000);
            let id = namespace(&format!("n{number}"));
            meters.meter_namespace(&id, Rate::Read, now).expect("room");
            meters.meter_namespace(&id, Rate::Write, now).expect("no limit");
            meters.meter_principal(&Principal::new("local", id.as_str()), Rate::Read, now).expect("no limit");
        }
        // 20 of them are in use at any time: each bucket is full again after a fifth of a second.
        let kept = meters.rates.lock().expect("a lock").buckets.len();
        assert!(kept <= SWEEP_MIN_OWNERS, "{kept} buckets are kept");
    }

    #[test]
    fn what_was_just_committed_holds_and_the_next_poll_reads_it_again() {
        let meters = meters(Quotas { max_streams: 1, ..Quotas::default() }, 0);
        let at = |revision| Cursor { epoch: 1, revision };
        meters.replace_overrides(at(1), BTreeMap::new());
        assert!(meters.is_current_at(at(1)) && !meters.is_current_at(at(2)));
        let given = Quotas { max_streams: 2, ..Quotas::default() };
        meters.replace_overrides(at(2), BTreeMap::from([(namespace("a"), given)]));
        let (_one, _two) = (open(&meters, "ann", "a").expect("room"), open(&meters, "ann", "a").expect("room"));
        assert!(open(&meters, "ann", "a").is_err());
        let _other = open(&meters, "ann", "b").expect("room");
        assert!(open(&meters, "ann", "b").is_err());
    }
}
