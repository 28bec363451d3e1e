//! VerifyLog: verifies the log of a namespace from one end to the other, and compares every row with it.
//!
//! It reads one view of the database page by page, and keeps only digests. A finding does not end the check.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::log_audits::LastLogCheck;
use super::log_progress::LogProgress;
use super::use_cases::Archive;
use crate::domain::audit::{Findings, LogVerdict};
use crate::domain::event::{Cursor, Event, Fingerprint, Head, Payload, Position};
use crate::domain::name::NamespaceId;
use crate::domain::{Error, Result};
use crate::service::log::position_gone;
use crate::signing::chain::{LogCheck, LogTrust, findings_digest};
use crate::signing::digest_of;
use crate::store::{EventIndex, PointerRow, ReadTx};
use crate::watch::Verify as _;

/// Number of events checked before the task yields.
const PAGE_EVENTS: u32 = 64;

impl Archive {
    /// Verifies a log after a position and, when that is its beginning, also that the rows of the namespace match it. `progress` is
    /// updated meanwhile.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `INVALID_ARGUMENT` for a position that is not in the log, `RESUME_POINT_GONE` when another event is there.
    /// Findings are no error.
    pub async fn verify_log(
        &self,
        namespace: &NamespaceId,
        after: Position,
        progress: &LogProgress,
    ) -> Result<LogVerdict> {
        let (verdict, end) = self.check_log(namespace, after, progress).await?;
        if after.cursor.revision == 0 {
            self.keep_findings(namespace, end.cursor, &verdict.findings);
        }
        Ok(verdict)
    }

    /// Stores the findings of a namespace, and freezes it if that is enabled.
    pub(super) fn keep_findings(&self, namespace: &NamespaceId, end: Cursor, findings: &Findings) {
        self.audits.keep(namespace, end, findings);
        let freezes = self.audits.freezes.load(Ordering::Relaxed) && self.log.store.suspected_loss().is_none();
        if let Some(first) = findings.kept.first().filter(|_| freezes) {
            self.log.store.freeze(namespace, end, &format!("{} {}", first.row, first.message));
        }
    }

    /// Lets findings freeze their namespace, for a server that checks its logs by itself.
    pub fn freeze_by_audits(&self) {
        self.audits.freezes.store(true, Ordering::Relaxed);
    }

    /// Returns the findings in a log and, when checked from its beginning, in the rows, with the last event that was verified.
    ///
    /// # Errors
    /// The same as `verify_log`.
    pub(super) async fn check_log(
        &self,
        namespace: &NamespaceId,
        after: Position,
        progress: &LogProgress,
    ) -> Result<(LogVerdict, Head)> {
        let slot = self.audits.slots.acquire().await;
        let _slot = slot.map_err(|error| Error::internal(error.to_string()))?;
        let tx = self.log.store.read_for_stream().await?;
        let head = tx.log_head(namespace).await?;
        let after_revision = after.cursor.revision;
        let mut check = self.log_check(&tx, namespace, head, after).await?;
        progress.start_events(head.cursor.revision.saturating_sub(after_revision));
        let mut from = if after_revision == 0 { i64::MIN } else { after_revision };
        while self.check_next_page(&tx, &mut check, &mut from).await? {
            progress.set_checked(check.events);
        }
        progress.set_checked(check.events);
        progress.start_rows();
        let rows = self.end_check(&tx, &mut check, head, from).await?;
        let (events, head, end) = (check.events, check.proven(), check.head());
        let manifests = i64::try_from(check.manifests.len()).unwrap_or(i64::MAX);
        let (findings_digest, findings) = (findings_digest(&check.findings), check.findings);
        let mut verdict =
            LogVerdict { events, manifests, rows, head, findings, findings_digest, positions: BTreeMap::new() };
        let about = verdict.findings.named().chain(verdict.broken()).map(|finding| finding.revision);
        let about: BTreeSet<i64> = about.filter(|revision| *revision > 0).collect();
        if !about.is_empty() {
            verdict.positions = tx.stored_positions(namespace, &about).await?;
        }
        Ok((verdict, end))
    }

    /// Verifies the next page of events after `from`, with what is stored beside them, and moves `from` behind it. Returns whether more
    /// may follow.
    pub(super) async fn check_next_page(&self, tx: &ReadTx, check: &mut LogCheck, from: &mut i64) -> Result<bool> {
        let namespace = check.namespace().clone();
        let page = tx.events_after(&namespace, *from, PAGE_EVENTS).await?;
        let Some(last) = page.last() else { return Ok(false) };
        let (first, until) = (from.saturating_add(1), last.cursor.revision);
        let index = tx.event_index(&namespace, first, until).await?;
        let pointers = tx.pointer_rows(&namespace, first, until, None).await?;
        check_page(check, &page, &index, pointers);
        self.audits.count_events(page.len());
        *from = until;
        Ok(true)
    }

    /// Ends a check whose events were verified up to `from`, in the view of the last of them: nothing may follow but the head and, when
    /// the check is of a whole log, rows that match it. Returns how many rows were compared.
    pub(super) async fn end_check(&self, tx: &ReadTx, check: &mut LogCheck, head: Head, from: i64) -> Result<i64> {
        let (namespace, is_whole) = (check.namespace().clone(), check.is_whole());
        for row in tx.pointer_rows(&namespace, from.saturating_add(1), i64::MAX, Some(1)).await? {
            let message = format!("the pointer of {} moved without an event", row.policy);
            check.wrong_beside(row.revision, message, &row.version.to_string());
        }
        let is_empty = check.events == 0 && is_whole;
        let ends_there =
            if is_empty { head.cursor.revision == 0 && head.hash == [0; 32] } else { check.head() == head };
        if !ends_there {
            let (row, ends) = (format!("namespaces {namespace}"), check.head().cursor);
            let message = format!("its head is {:?}, but the log ends at {ends:?}", head.cursor);
            check.findings.add_found(0, &row, message, Some(digest_of(&head.hash)));
        }
        let rows = if is_whole { self.compare_rows(tx, &namespace, check).await? } else { 0 };
        check.settle();
        Ok(rows)
    }

    /// Returns what the last check of a log by this server found; none when there was none since it started. It checks nothing.
    #[must_use]
    pub fn last_log_check(&self, namespace: &NamespaceId) -> Option<LastLogCheck> {
        self.audits.last_check(namespace)
    }

    /// Returns how many events were verified by checks of logs.
    #[must_use]
    pub fn audited_events(&self) -> u64 {
        self.audits.events.load(Ordering::Relaxed)
    }

    /// Returns how many logs can't be checked.
    #[must_use]
    pub fn failed_checks(&self) -> usize {
        self.audits.failed_checks()
    }

    /// Returns how many logs were checked, and how many findings their last checks made.
    #[must_use]
    pub fn audit_counts(&self) -> (u64, u64) {
        let found = self.audits.found.lock().unwrap_or_else(PoisonError::into_inner);
        (self.audits.checked.load(Ordering::Relaxed), found.values().map(|last| last.count).sum())
    }

    /// Creates a check that begins after a position, which is proven first.
    async fn log_check(&self, tx: &ReadTx, namespace: &NamespaceId, head: Head, after: Position) -> Result<LogCheck> {
        let (trust, after_revision) = (LogTrust::clone(&self.log.signer.trust()), after.cursor.revision);
        if after_revision == 0 {
            return Ok(LogCheck::new(trust, namespace.clone()));
        }
        if !(0..=head.cursor.revision).contains(&after_revision) {
            let message = format!("revision {after_revision} is not in 0 to {}, the head", head.cursor.revision);
            return Err(Error::invalid("after", message));
        }
        let event = tx.event(namespace, after_revision).await?;
        self.log.signer.event(&event)?;
        let epoch = event.cursor.epoch;
        if after.cursor.epoch != 0 && after.cursor.epoch != epoch {
            return Err(Error::invalid("after", format!("revision {after_revision} has epoch {epoch}")));
        }
        if !after.may_be(Fingerprint::of(&event.hash)) {
            return Err(position_gone(after.cursor, head.cursor));
        }
        Ok(LogCheck::after(trust, namespace.clone(), Head { cursor: event.cursor, hash: event.hash }))
    }
}

/// Verifies events, with the index and the pointer history beside them.
fn check_page(check: &mut LogCheck, page: &[Event], index: &[EventIndex], pointers: Vec<PointerRow>) {
    let mut stored = pointers.into_iter().peekable();
    for (event, index) in page.iter().zip(index) {
        let revision = event.cursor.revision;
        let Some(payload) = check.event(event) else {
            while stored.next_if(|row| row.revision <= revision).is_some() {}
            continue;
        };
        let policy = payload.policy.as_ref().map(ToString::to_string);
        if (index.revision, index.time, &index.policy) != (revision, payload.time.0, &policy) {
            let EventIndex { revision: at, policy, time } = index;
            let found = format!("{at} {time} {}", policy.as_deref().unwrap_or_default());
            check.wrong_beside(revision, "it is found by another time or policy than its own", &found);
        }
        let found = std::iter::from_fn(|| stored.next_if(|row| row.revision <= revision)).collect::<Vec<_>>();
        if found != pointer_rows_of(&payload) {
            let stored = found.iter().map(|row| format!("{} {} {}\n", row.revision, row.policy, row.version));
            let message = "the pointer history says something else than it does";
            check.wrong_beside(revision, message, &stored.collect::<String>());
        }
    }
}

/// Returns the rows of pointer history that an event makes.
fn pointer_rows_of(payload: &Payload) -> Vec<PointerRow> {
    let mut rows: Vec<PointerRow> = payload
        .changes
        .iter()
        .map(|change| PointerRow {
            revision: payload.revision,
            policy: change.policy.to_string(),
            version: change.version,
        })
        .collect();
    rows.sort();
    rows
}
