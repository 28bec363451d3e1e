//! Records denials: collects them in memory, writes them to the database in batches, and lists them for admins.
//!
//! Bounded, whatever callers do: different denials in memory, rows per write, writes per second and rows of a namespace have limits, and
//! equal denials are one row with a count. Invariant: nothing is recorded for a namespace that does not exist, so that callers can't fill
//! memory with invented names.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::access::{Permission, Rpc};
use crate::domain::denial::{Denial, DenialCount, DenialKey};
use crate::domain::limits::{DENIALS_PENDING_MAX, DENIALS_PENDING_PER_NAMESPACE_MAX, DENIALS_PER_WRITE_MAX};
use crate::domain::name::NamespaceId;
use crate::domain::principal::Principal;
use crate::domain::time::Micros;
use crate::domain::{Error, Reason, Result};
use crate::service::context::Context;
use crate::service::log::RoleCache;

/// Records refusals: in memory at first, in the database once `write_denials` runs.
#[derive(Debug)]
pub struct DenialRecorder {
    roles: Arc<RoleCache>,
    pending: PendingDenials,
}

/// Denials that are not in the database yet.
#[derive(Debug, Default)]
pub(super) struct PendingDenials(Mutex<DenialCounts>);

#[derive(Debug, Default)]
pub(super) struct DenialCounts {
    counts: BTreeMap<DenialKey, DenialCount>,
    /// The last one that was written. The next batch begins after it: otherwise a flood in one namespace would block the namespaces after
    /// it.
    taken: Option<DenialKey>,
    /// Refusals that were dropped because memory for them was full.
    pub(super) left_out: u64,
}

impl DenialCounts {
    /// Adds denials, when equal ones are recorded or there is memory for one more.
    pub(super) fn add(&mut self, key: DenialKey, count: DenialCount) {
        if let Some(known) = self.counts.get_mut(&key) {
            return known.add(count);
        }
        let of_namespace = self.counts.keys().filter(|other| other.namespace == key.namespace).count();
        if self.counts.len() >= DENIALS_PENDING_MAX || of_namespace >= DENIALS_PENDING_PER_NAMESPACE_MAX {
            self.left_out = self.left_out.saturating_add(count.count.unsigned_abs());
            return;
        }
        self.counts.insert(key, count);
    }
}

impl PendingDenials {
    pub(super) fn lock(&self) -> MutexGuard<'_, DenialCounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a denial.
    fn note(&self, namespace: &NamespaceId, principal: &Principal, rpc: Rpc, error: &Error, now: Micros) {
        let permission = error.metadata.get("permission").cloned();
        let key = DenialKey {
            namespace: namespace.clone(),
            principal: principal.actor(),
            method: rpc.path().to_owned(),
            reason: error.reason.as_str(),
            permission: permission.unwrap_or_default(),
        };
        self.lock().add(key, DenialCount::once(now));
    }

    pub(super) fn take(&self) -> Vec<Denial> {
        let mut pending = self.lock();
        let keys: Vec<DenialKey> = match &pending.taken {
            Some(last) => {
                let rest = pending.counts.range((Bound::Excluded(last.clone()), Bound::Unbounded));
                let first = pending.counts.range(..=last.clone());
                rest.chain(first).map(|(key, _)| key.clone()).take(DENIALS_PER_WRITE_MAX).collect()
            }
            None => pending.counts.keys().take(DENIALS_PER_WRITE_MAX).cloned().collect(),
        };
        if let Some(last) = keys.last() {
            pending.taken = Some(last.clone());
        }
        keys.into_iter().filter_map(|key| pending.counts.remove(&key).map(|count| Denial { key, count })).collect()
    }
}

impl DenialRecorder {
    pub fn new(roles: Arc<RoleCache>) -> Self {
        Self { roles, pending: PendingDenials::default() }
    }

    pub(super) fn pending(&self) -> &PendingDenials {
        &self.pending
    }

    /// Records a refusal in the namespace of the call, if it counts as a denial for the caller.
    pub(super) fn note_refusal(
        &self,
        namespace: &NamespaceId,
        principal: &Principal,
        rpc: Rpc,
        error: &Error,
        now: Micros,
    ) {
        // A caller without a role gets "the namespace does not exist". When it does exist, that was a denial.
        let is_hidden = error.reason == Reason::NamespaceNotFound && self.roles.is_known(namespace);
        if error.reason == Reason::PermissionDenied || is_hidden {
            self.pending.note(namespace, principal, rpc, error, now);
        }
    }

    /// Refuses a caller who lacks a permission that a call needs beyond the one of its RPC.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`.
    pub fn require(&self, context: &Context, namespace: &NamespaceId, rpc: Rpc, permission: Permission) -> Result<()> {
        let required = context.require(permission);
        required.inspect_err(|error| self.note_refusal(namespace, &context.principal, rpc, error, context.now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(id: &str) -> NamespaceId {
        NamespaceId::parse("namespace", id).expect("an id")
    }

    #[test]
    fn a_flood_of_one_caller_is_one_row_and_of_many_is_bounded() {
        let denials = PendingDenials::default();
        let refusal = Error::new(Reason::PermissionDenied, "no").with("permission", "activate");
        let note = |id: &str, subject: String, at| {
            denials.note(&namespace(id), &Principal::new("local", &subject), Rpc::Activate, &refusal, Micros(at));
        };
        for at in 1..=10_000 {
            note("a", "ann".to_owned(), at);
        }
        let one = denials.take();
        assert_eq!(one.len(), 1);
        assert_eq!(one[0].count, DenialCount { count: 10_000, first: Micros(1), last: Micros(10_000) });
        assert_eq!((one[0].key.principal.as_str(), one[0].key.permission.as_str()), ("local:ann", "activate"));

        for number in 0..5_000 {
            note("a", format!("s{number}"), 1);
        }
        note("b", "bob".to_owned(), 1);
        let of_b = |pending: &DenialCounts| pending.counts.keys().any(|key| key.namespace == namespace("b"));
        assert!(of_b(&denials.lock()), "one namespace leaves room for the others");
        let noted = denials.lock().counts.len();
        assert_eq!(noted, DENIALS_PENDING_PER_NAMESPACE_MAX + 1);
        assert_eq!(denials.lock().left_out, 5_000 - DENIALS_PENDING_PER_NAMESPACE_MAX as u64);
        for number in 0..100 {
            for other in 0..100 {
                note(&format!("n{number}"), format!("s{other}"), 1);
            }
        }
        assert_eq!(denials.lock().counts.len(), DENIALS_PENDING_MAX);
        for _ in 0..DENIALS_PENDING_MAX / DENIALS_PER_WRITE_MAX {
            assert_eq!(denials.take().len(), DENIALS_PER_WRITE_MAX);
            for number in 0..DENIALS_PENDING_PER_NAMESPACE_MAX {
                note("a", format!("s{number}"), 1);
            }
        }
        let all_of_a = |pending: &DenialCounts| pending.counts.keys().all(|key| key.namespace == namespace("a"));
        assert!(all_of_a(&denials.lock()), "every namespace had its turn");
    }
}
