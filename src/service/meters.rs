//! Quotas in force at this replica: who may use how much, who uses how much, and who was refused.
//!
//! All of it is in memory, so a call that is refused costs no query. What namespaces were given is read when the log of
//! `system` moved, once a second at the most. A bucket that is full and a count of 0 are the same as none, and are
//! forgotten: memory is bounded by what came in the last second and by the watches that are open.

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

/// Subjects from which on those with full buckets are looked for.
const SWEEP_MIN_SUBJECTS: usize = 1_024;

/// Whose quota it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Subject {
    Namespace(NamespaceId),
    Principal(String),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace(id) => f.write_str(&id.name()),
            Self::Principal(actor) => f.write_str(actor),
        }
    }
}

/// The quotas of a replica, and what is used of them.
#[derive(Debug, Default)]
pub(super) struct Meters {
    server: ServerQuotas,
    own: RwLock<Own>,
    rates: Mutex<Rates>,
    streams: Arc<Streams>,
    refusals: [AtomicU64; Quota::ALL.len()],
}

/// What namespaces were given, as of a place in the log of `system`.
#[derive(Debug, Default)]
struct Own {
    as_of: Option<Cursor>,
    quotas: BTreeMap<NamespaceId, Quotas>,
}

#[derive(Debug, Default)]
struct Rates {
    buckets: HashMap<(Subject, Metered), Bucket>,
    sweep_at: usize,
}

/// `Rate` without what is not metered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Metered {
    Write,
    Read,
    Report,
}

#[derive(Debug, Default)]
struct Streams(Mutex<HashMap<Subject, u32>>);

/// A watch's place in the quotas of its namespace and its principal. Held by the stream, and given back with it.
#[derive(Debug)]
pub struct StreamPlace {
    streams: Arc<Streams>,
    subjects: [Subject; 2],
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let mut open = self.streams.lock();
        for subject in &self.subjects {
            if let Some(count) = open.get_mut(subject) {
                *count -= 1;
                if *count == 0 {
                    open.remove(subject);
                }
            }
        }
    }
}

impl Streams {
    fn lock(&self) -> MutexGuard<'_, HashMap<Subject, u32>> {
        // Nothing under this lock panics, and every change of the state is complete before it is released.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rates {
    fn take(&mut self, subject: &Subject, kind: Metered, per_second: u32, now: Micros) -> Result<(), QuotaRefusal> {
        if self.buckets.len() >= self.sweep_at.max(SWEEP_MIN_SUBJECTS) {
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
            // Twice as many as are in use: a sweep costs a call nothing on average.
            self.sweep_at = self.buckets.len() * 2;
        }
        let taken = self.buckets.entry((subject.clone(), kind)).or_default().take(per_second, now);
        let quota = if kind == Metered::Write { Quota::WritesPerSecond } else { Quota::ReadsPerSecond };
        taken.map_err(|wait| QuotaRefusal { quota, limit: per_second.into(), used: None, retry_after: Some(wait) })
    }
}

fn metered(rate: Rate) -> Option<Metered> {
    match rate {
        Rate::Write => Some(Metered::Write),
        Rate::Read => Some(Metered::Read),
        Rate::Report => Some(Metered::Report),
        Rate::Unmetered => None,
    }
}

impl Meters {
    pub(super) fn new(server: ServerQuotas) -> Self {
        Self { server, ..Self::default() }
    }

    /// What a namespace may use.
    fn of(&self, namespace: &NamespaceId) -> Quotas {
        let own = self.own.read().unwrap_or_else(PoisonError::into_inner);
        own.quotas.get(namespace).copied().unwrap_or_default().or(self.server.namespace)
    }

    /// Whether nothing was read since the log of `system` came to this place.
    pub(super) fn is_as_of(&self, place: Cursor) -> bool {
        self.own.read().unwrap_or_else(PoisonError::into_inner).as_of == Some(place)
    }

    /// Takes what namespaces were given, read after the log of `system` came to this place.
    pub(super) fn learn(&self, place: Cursor, quotas: BTreeMap<NamespaceId, Quotas>) {
        *self.own.write().unwrap_or_else(PoisonError::into_inner) = Own { as_of: Some(place), quotas };
    }

    /// Takes what this replica just committed: it holds from here on, and the next look reads it again.
    pub(super) fn granted(&self, namespace: &Namespace) {
        let mut own = self.own.write().unwrap_or_else(PoisonError::into_inner);
        own.quotas.insert(namespace.id.clone(), namespace.quotas);
    }

    /// Takes a call out of a principal's rate.
    pub(super) fn meter_principal(&self, principal: &Principal, rate: Rate, now: Micros) -> Result<()> {
        let per_second = self.server.principal.per_second(rate);
        self.meter(per_second, rate, now, || Subject::Principal(principal.actor()))
    }

    /// Takes a call out of a namespace's rate.
    pub(super) fn meter_namespace(&self, namespace: &NamespaceId, rate: Rate, now: Micros) -> Result<()> {
        self.meter(self.of(namespace).per_second(rate), rate, now, || Subject::Namespace(namespace.clone()))
    }

    fn meter(&self, per_second: u32, rate: Rate, now: Micros, subject: impl FnOnce() -> Subject) -> Result<()> {
        let Some(kind) = metered(rate).filter(|_| per_second > 0) else { return Ok(()) };
        let subject = subject();
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = rates.take(&subject, kind, per_second, now);
        drop(rates);
        self.counted(taken, &subject)
    }

    /// A place for one more watch.
    pub(super) fn open_stream(&self, principal: &Principal, namespace: &NamespaceId) -> Result<StreamPlace> {
        let subjects = [Subject::Namespace(namespace.clone()), Subject::Principal(principal.actor())];
        let limits = [self.of(namespace).max_streams, self.server.principal.max_streams];
        let mut open = self.streams.lock();
        for (subject, limit) in subjects.iter().zip(limits) {
            let admitted = admit_stream(limit, open.get(subject).copied().unwrap_or_default());
            self.counted(admitted, subject)?;
        }
        for subject in &subjects {
            *open.entry(subject.clone()).or_default() += 1;
        }
        drop(open);
        Ok(StreamPlace { streams: Arc::clone(&self.streams), subjects })
    }

    /// Whether one more policy has room. `own` and `usage` are those of the locked row.
    pub(super) fn admit_policy(&self, namespace: &NamespaceId, own: Quotas, usage: &Usage) -> Result<()> {
        let admitted = own.or(self.server.namespace).admit_policy(usage);
        self.counted(admitted, &Subject::Namespace(namespace.clone()))
    }

    /// Whether one more version of so many bytes has room. `own` and `usage` are those of the locked row.
    pub(super) fn admit_version(&self, namespace: &NamespaceId, own: Quotas, usage: &Usage, bytes: i64) -> Result<()> {
        let admitted = own.or(self.server.namespace).admit_version(usage, bytes);
        self.counted(admitted, &Subject::Namespace(namespace.clone()))
    }

    fn counted(&self, admitted: Result<(), QuotaRefusal>, subject: &Subject) -> Result<()> {
        admitted.map_err(|refusal| {
            self.count_refusal(refusal.quota);
            refusal.of(&subject.to_string())
        })
    }

    /// Counts a refusal.
    pub(super) fn count_refusal(&self, refused: Quota) {
        if let Some((_, count)) = Quota::ALL.iter().zip(&self.refusals).find(|(quota, _)| **quota == refused) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Refusals so far, by quota.
    pub(super) fn refusals(&self) -> impl Iterator<Item = (Quota, u64)> + '_ {
        Quota::ALL.iter().zip(&self.refusals).map(|(quota, count)| (*quota, count.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Reason;

    fn meters(namespace: Quotas, max_streams: u32) -> Meters {
        let principal = crate::domain::quota::PrincipalQuotas { max_streams, ..Default::default() };
        Meters::new(ServerQuotas { namespace, principal })
    }

    fn namespace(id: &str) -> NamespaceId {
        NamespaceId::parse("namespace", id).expect("an id")
    }

    fn open(meters: &Meters, subject: &str, id: &str) -> Result<StreamPlace> {
        meters.open_stream(&Principal::new("local", subject), &namespace(id))
    }

    #[test]
    fn a_refused_watch_takes_no_place_and_one_that_ends_gives_it_back() {
        let meters = meters(Quotas { max_streams: 2, ..Quotas::default() }, 3);
        let (one, two) = (open(&meters, "ann", "a").expect("room"), open(&meters, "ann", "a").expect("room"));
        let refused = open(&meters, "bob", "a").expect_err("the namespace is full");
        assert_eq!((refused.reason, refused.metadata["subject"].as_str()), (Reason::QuotaExceeded, "namespaces/a"));
        let three = open(&meters, "ann", "b").expect("room in another namespace");
        let refused = open(&meters, "ann", "b").expect_err("the principal is full");
        assert_eq!(refused.metadata["subject"], "local:ann");
        let counts: BTreeMap<String, u32> =
            meters.streams.lock().iter().map(|(subject, count)| (subject.to_string(), *count)).collect();
        assert_eq!(counts.values().sum::<u32>(), 6, "those that were refused left something behind: {counts:?}");
        drop((one, two, three));
        assert!(meters.streams.lock().is_empty());
        assert_eq!(meters.refusals().map(|(_, count)| count).sum::<u64>(), 2);
    }

    #[test]
    fn rates_are_apart_by_namespace_and_by_kind() {
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
        assert!(kept <= SWEEP_MIN_SUBJECTS, "{kept} buckets are kept");
    }

    #[test]
    fn what_was_just_granted_holds_and_the_next_look_reads_it_again() {
        let meters = meters(Quotas { max_streams: 1, ..Quotas::default() }, 0);
        let place = |revision| Cursor { epoch: 1, revision };
        meters.learn(place(1), BTreeMap::new());
        assert!(meters.is_as_of(place(1)) && !meters.is_as_of(place(2)));
        let given = Quotas { max_streams: 2, ..Quotas::default() };
        meters.learn(place(2), BTreeMap::from([(namespace("a"), given)]));
        let (_one, _two) = (open(&meters, "ann", "a").expect("room"), open(&meters, "ann", "a").expect("room"));
        assert!(open(&meters, "ann", "a").is_err());
        let _other = open(&meters, "ann", "b").expect("room");
        assert!(open(&meters, "ann", "b").is_err());
    }
}
