//! The record of denials: noted in memory, added to the database in batches, and read by admins.
//!
//! Bounded, whatever callers do: so many different ones at once in memory, so many rows per write and writes per second, so
//! many rows of a namespace. Equal refusals are one row with a count. Invariant: nothing is noted for a namespace that does not
//! exist, so strangers make nothing grow by the names they try.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::page_reader::PageReader;
use super::{Context, Service};
use crate::domain::access::{Permission, Rpc};
use crate::domain::command::{ListPage, PageRequest};
use crate::domain::denial::{Denial, DenialCount, DenialKey};
use crate::domain::limits::{
    DENIALS_PENDING_MAX, DENIALS_PENDING_PER_NAMESPACE_MAX, DENIALS_PER_WRITE_MAX, ITEMS_SCANNED_MAX,
};
use crate::domain::listing::DenialFilter;
use crate::domain::name::NamespaceId;
use crate::domain::principal::Principal;
use crate::domain::time::Micros;
use crate::domain::{Error, Reason, Result};

/// What a row takes of an answer beside its texts, in bytes.
const ROW_BYTES: usize = 64;

/// Denials that are not in the database yet.
#[derive(Debug, Default)]
pub(super) struct Denials(Mutex<Pending>);

#[derive(Debug, Default)]
struct Pending {
    counts: BTreeMap<DenialKey, DenialCount>,
    /// The last one that was taken. The next batch begins after it: otherwise a flood in one namespace would keep out those of the
    /// namespaces after it.
    taken: Option<DenialKey>,
    /// Refusals for which there was no room.
    left_out: u64,
}

impl Pending {
    /// Adds some, when equal ones are there or there is room for one more.
    fn add(&mut self, key: DenialKey, count: DenialCount) {
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

impl Denials {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a refusal of a caller.
    fn note(&self, namespace: &NamespaceId, principal: &Principal, rpc: Rpc, error: &Error, now: Micros) {
        let permission = error.metadata.get("permission").cloned();
        let key = DenialKey {
            namespace: namespace.clone(),
            principal: principal.actor(),
            method: rpc.path().to_owned(),
            reason: error.reason.as_str(),
            permission: permission.unwrap_or_default(),
        };
        self.pending().add(key, DenialCount::once(now));
    }

    fn take(&self) -> Vec<Denial> {
        let mut pending = self.pending();
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

impl Service {
    /// Notes a refusal where the call was about, if it is one for who asked.
    pub(super) fn note_denial(
        &self,
        namespace: &NamespaceId,
        principal: &Principal,
        rpc: Rpc,
        error: &Error,
        now: Micros,
    ) {
        // A caller without a role is told that the namespace is not there. When it is, that was a refusal too.
        let is_hidden = error.reason == Reason::NamespaceNotFound && self.access.is_known(namespace);
        if error.reason == Reason::PermissionDenied || is_hidden {
            self.denials.note(namespace, principal, rpc, error, now);
        }
    }

    /// Refuses a caller who lacks a permission that a call needs beyond the one of its RPC.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`.
    pub(super) fn require(
        &self,
        context: &Context,
        namespace: &NamespaceId,
        rpc: Rpc,
        permission: Permission,
    ) -> Result<()> {
        let required = context.require(permission);
        required.inspect_err(|error| self.note_denial(namespace, &context.principal, rpc, error, context.now))
    }

    /// Returns how many refusals there was no room for since the last time.
    #[must_use]
    pub fn left_out_denials(&self) -> u64 {
        std::mem::take(&mut self.denials.pending().left_out)
    }

    /// Adds what was noted to the database, one batch of it.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`. What was not written is written later.
    pub async fn write_denials(&self) -> Result<()> {
        let batch = self.denials.take();
        if !batch.is_empty()
            && let Err(error) = self.store.add_denials(&batch).await
        {
            let mut pending = self.denials.pending();
            for Denial { key, count } in batch {
                pending.add(key, count);
            }
            return Err(error);
        }
        Ok(())
    }

    /// A page of the denials of a namespace, in order of their ids. What this replica noted is among them.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`.
    pub async fn list_denials(
        &self,
        namespace: &NamespaceId,
        page: &PageRequest<String>,
        filter: &DenialFilter,
    ) -> Result<ListPage<String, Denial>> {
        if let Err(error) = self.write_denials().await {
            tracing::debug!(%error, "failed to write what was denied before it is listed");
        }
        let tx = self.store.read().await?;
        tx.namespace(namespace).await?;
        let mut reader = PageReader::searching(page, filter.is_search, ITEMS_SCANNED_MAX);
        while let Some(asked) = reader.next() {
            let found = tx.denials(namespace, &asked, filter).await?;
            let bytes = |key: &DenialKey| {
                key.principal.len() + key.method.len() + key.reason.len() + key.permission.len() + ROW_BYTES
            };
            let is_wanted = |denial: &Denial| filter.wanted.keeps(denial);
            reader.add(&asked, found, |denial| (denial.key.id(), bytes(&denial.key)), is_wanted);
        }
        Ok(reader.done())
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
        let denials = Denials::default();
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
        let of_b = |pending: &Pending| pending.counts.keys().any(|key| key.namespace == namespace("b"));
        assert!(of_b(&denials.pending()), "one namespace leaves room for the others");
        let noted = denials.pending().counts.len();
        assert_eq!(noted, DENIALS_PENDING_PER_NAMESPACE_MAX + 1);
        assert_eq!(denials.pending().left_out, 5_000 - DENIALS_PENDING_PER_NAMESPACE_MAX as u64);
        for number in 0..100 {
            for other in 0..100 {
                note(&format!("n{number}"), format!("s{other}"), 1);
            }
        }
        assert_eq!(denials.pending().counts.len(), DENIALS_PENDING_MAX);
        for _ in 0..DENIALS_PENDING_MAX / DENIALS_PER_WRITE_MAX {
            assert_eq!(denials.take().len(), DENIALS_PER_WRITE_MAX);
            for number in 0..DENIALS_PENDING_PER_NAMESPACE_MAX {
                note("a", format!("s{number}"), 1);
            }
        }
        let all_of_a = |pending: &Pending| pending.counts.keys().all(|key| key.namespace == namespace("a"));
        assert!(all_of_a(&denials.pending()), "every namespace had its turn");
    }
}
