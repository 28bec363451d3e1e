//! VerifyLog: the log of a namespace from one end to the other, and every row compared with what the log says of it.
//!
//! One view of the database, read page by page: what is kept of it is digests. Nothing stops at the first finding.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Semaphore;

use super::Service;
use super::access::prove_bindings;
use super::log_progress::LogProgress;
use super::place::other_event;
use crate::domain::audit::{Findings, LogVerdict};
use crate::domain::digest::Digest;
use crate::domain::event::{Cursor, Event, Fingerprint, Head, Payload, Position};
use crate::domain::name::{NamespaceId, PolicyId, SYSTEM_NAMESPACE};
use crate::domain::version::VersionState;
use crate::domain::{Error, Reason, Result};
use crate::signing::chain::{LogCheck, LogTrust, RowState, findings_digest};
use crate::signing::digest_of;
use crate::store::{EventIndex, PointerRow, ReadTx, StoredRow, decides};
use crate::watch::Verify as _;

/// Logs checked at once. Each holds a reader of the database and a core.
const AUDITS_AT_ONCE_MAX: usize = 1;
/// Events checked before others get their turn.
const PAGE_EVENTS: u32 = 64;

/// The places in which logs are checked, and what was found last.
#[derive(Debug)]
pub(super) struct Audits {
    turns: Semaphore,
    checked: AtomicU64,
    /// Whether a namespace is frozen in which anything is found.
    freezes: AtomicBool,
    found: Mutex<BTreeMap<NamespaceId, Findings>>,
}

impl Default for Audits {
    fn default() -> Self {
        Self {
            turns: Semaphore::new(AUDITS_AT_ONCE_MAX),
            checked: AtomicU64::new(0),
            freezes: AtomicBool::new(false),
            found: Mutex::default(),
        }
    }
}

impl Audits {
    /// Forgets what was found before a namespace was thawed: all of it was accepted.
    pub(super) fn settled(&self, namespace: &NamespaceId) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).remove(namespace);
    }

    /// Keeps what was found, and tells the log of the server of what is new.
    fn keep(&self, namespace: &NamespaceId, findings: &Findings) {
        self.checked.fetch_add(1, Ordering::Relaxed);
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let before = if findings.count == 0 {
            found.remove(namespace)
        } else {
            // As many as are told: the others are found again.
            let told = Findings { kept: findings.named().cloned().collect(), count: findings.count };
            found.insert(namespace.clone(), told)
        };
        let known = before.unwrap_or_default();
        for finding in findings.named().filter(|finding| !known.kept.contains(finding)) {
            let (revision, row, problem) = (finding.revision, finding.row.as_str(), finding.message.as_str());
            tracing::error!(target: "policyhub::audit", %namespace, revision, row, problem, "the store was tampered with");
        }
    }
}

impl Service {
    /// Checks a log after an event, and from its beginning also that the rows of the namespace say what it says. `progress` is
    /// told how far it is.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `INVALID_ARGUMENT` for a place that is not in the log, `RESUME_POINT_GONE` when another event stands
    /// there. What does not hold is no error.
    pub async fn verify_log(
        &self,
        namespace: &NamespaceId,
        after: Position,
        progress: &LogProgress,
    ) -> Result<LogVerdict> {
        let (verdict, end) = self.check_log(namespace, after, progress).await?;
        if after.cursor.revision == 0 {
            self.found(namespace, end.cursor, &verdict.findings);
        }
        Ok(verdict)
    }

    /// Keeps what was found in a namespace, and freezes it when the server checks by itself.
    fn found(&self, namespace: &NamespaceId, end: Cursor, findings: &Findings) {
        self.audits.keep(namespace, findings);
        let freezes = self.audits.freezes.load(Ordering::Relaxed) && self.store.suspected_loss().is_none();
        if let Some(first) = findings.kept.first().filter(|_| freezes) {
            self.store.freeze(namespace, end, &format!("{} {}", first.row, first.message));
        }
    }

    /// Has what a check finds freeze its namespace: for a server that checks its logs by itself.
    pub fn freeze_by_audits(&self) {
        self.audits.freezes.store(true, Ordering::Relaxed);
    }

    /// What does not hold in a log and, from its beginning, in the rows; and the last event that was seen.
    ///
    /// # Errors
    /// As `verify_log`.
    pub(super) async fn check_log(
        &self,
        namespace: &NamespaceId,
        after: Position,
        progress: &LogProgress,
    ) -> Result<(LogVerdict, Head)> {
        let turn = self.audits.turns.acquire().await;
        let _turn = turn.map_err(|error| Error::internal(error.to_string()))?;
        let tx = self.store.read_for_stream().await?;
        let head = tx.log_head(namespace).await?;
        let after_revision = after.cursor.revision;
        let mut check = self.log_check(&tx, namespace, head, after).await?;
        progress.begins(head.cursor.revision.saturating_sub(after_revision));
        let mut from = if after_revision == 0 { i64::MIN } else { after_revision };
        loop {
            let page = tx.events_after(namespace, from, PAGE_EVENTS).await?;
            let Some(last) = page.last() else { break };
            let (first, until) = (from.saturating_add(1), last.cursor.revision);
            let index = tx.event_index(namespace, first, until).await?;
            let pointers = tx.pointer_rows(namespace, first, until, None).await?;
            read_page(&mut check, &page, &index, pointers);
            progress.checked(check.events);
            from = until;
        }
        progress.compares_rows();
        for row in tx.pointer_rows(namespace, from.saturating_add(1), i64::MAX, Some(1)).await? {
            let message = format!("the pointer of {} moved without an event", row.policy);
            check.wrong_beside(row.revision, message, &row.version.to_string());
        }
        let is_empty = check.events == 0 && after_revision == 0;
        let ends_there =
            if is_empty { head.cursor.revision == 0 && head.hash == [0; 32] } else { check.head() == head };
        if !ends_there {
            let (row, ends) = (format!("namespaces {namespace}"), check.head().cursor);
            let message = format!("its head is {:?}, but the log ends at {ends:?}", head.cursor);
            check.findings.add_found(0, &row, message, Some(digest_of(&head.hash)));
        }
        let rows = if after_revision == 0 { self.compare_rows(&tx, namespace, &mut check).await? } else { 0 };
        check.settle();
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

    /// Checks the log of the next namespace, in order of their ids; after the last comes none.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn verify_next_log(&self, after: &str) -> Result<Option<NamespaceId>> {
        let next = self.store.read().await?.namespace_after(after).await?;
        if let Some(namespace) = &next {
            self.verify_own_log(namespace).await?;
        }
        Ok(next)
    }

    /// Checks the log of a namespace for this server itself, from its beginning.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn verify_own_log(&self, namespace: &NamespaceId) -> Result<()> {
        match self.verify_log(namespace, Cursor::NONE.into(), &LogProgress::default()).await {
            Err(error) if error.reason == Reason::DataLoss => {
                let mut findings = Findings::default();
                findings.add(0, &format!("namespaces {namespace}"), error.internal.unwrap_or(error.message));
                self.found(namespace, self.store.seen_cursor(namespace), &findings);
                Ok(())
            }
            done => done.map(drop),
        }
    }

    /// How many logs were checked, and what does not hold in all of them as of the last time.
    #[must_use]
    pub fn audit_counts(&self) -> (u64, u64) {
        let found = self.audits.found.lock().unwrap_or_else(PoisonError::into_inner);
        (self.audits.checked.load(Ordering::Relaxed), found.values().map(|findings| findings.count).sum())
    }

    /// A check that begins after a place, which is proven first.
    async fn log_check(&self, tx: &ReadTx, namespace: &NamespaceId, head: Head, after: Position) -> Result<LogCheck> {
        let (trust, after_revision) = (LogTrust::clone(&self.signer.trust()), after.cursor.revision);
        if after_revision == 0 {
            return Ok(LogCheck::new(trust, namespace.clone()));
        }
        if !(0..=head.cursor.revision).contains(&after_revision) {
            let message = format!("revision {after_revision} is not in 0 to {}, the head", head.cursor.revision);
            return Err(Error::invalid("after", message));
        }
        let event = tx.event(namespace, after_revision).await?;
        self.signer.event(&event)?;
        let epoch = event.cursor.epoch;
        if after.cursor.epoch != 0 && after.cursor.epoch != epoch {
            return Err(Error::invalid("after", format!("revision {after_revision} has epoch {epoch}")));
        }
        if !after.may_be(Fingerprint::of(&event.hash)) {
            return Err(other_event(after.cursor, head.cursor));
        }
        Ok(LogCheck::after(trust, namespace.clone(), Head { cursor: event.cursor, hash: event.hash }))
    }

    /// Pointers, rows and published versions against what the log adds up to. Answers how many rows were compared.
    async fn compare_rows(&self, tx: &ReadTx, namespace: &NamespaceId, check: &mut LogCheck) -> Result<i64> {
        let mut stored = tx.pointers(namespace).await?;
        for (policy, pointer) in &check.pointers {
            let at = stored.remove(policy.as_str());
            if at != Some((pointer.version, pointer.revision)) {
                let row = format!("policies {policy}");
                let message = format!("its pointer is not at {}", pointer.version);
                check.findings.add_found(pointer.revision, &row, message, at.map(place_digest));
            }
        }
        for (policy, at) in stored {
            let (row, message) = (format!("policies {policy}"), "its pointer moved without an event");
            check.findings.add_found(0, &row, message, Some(place_digest(at)));
        }
        compare_index(check, &tx.row_changes(namespace).await?);
        let mut rows = 0;
        tx.stored_rows(namespace, |row| {
            rows += 1;
            compare_row(check, row);
        })
        .await?;
        self.find_lost_revocations(tx, namespace, check).await?;
        for ((table, key), written) in std::mem::take(&mut check.rows) {
            if written.digest.is_some() {
                check.findings.add(written.revision, &format!("{table} {key}"), "it is not there");
            }
        }
        self.compare_namespace(tx, namespace, check).await?;
        self.compare_imports(tx, namespace, check).await?;
        self.compare_bundles(tx, namespace, check).await?;
        Ok(rows)
    }

    /// What the row of the namespace says besides its tag: what it uses, and which event changed a role binding last.
    async fn compare_namespace(&self, tx: &ReadTx, namespace: &NamespaceId, check: &mut LogCheck) -> Result<()> {
        let row = format!("namespaces {namespace}");
        let (said, counted) = tx.usage(namespace).await?;
        if said != counted {
            check.findings.add(0, &row, format!("it says it uses {said:?}, and uses {counted:?}"));
        }
        let Some(state) = tx.log_state(namespace).await? else { return Ok(()) };
        match prove_bindings(&self.signer, tx, namespace, state).await {
            Err(error) if error.reason == Reason::DataLoss => {
                check.findings.add(0, &row, error.internal.unwrap_or(error.message));
            }
            proven => drop(proven?),
        }
        Ok(())
    }

    /// Every published version, with the bytes it was signed for.
    async fn compare_bundles(&self, tx: &ReadTx, namespace: &NamespaceId, check: &mut LogCheck) -> Result<()> {
        let mut after = None;
        loop {
            let (page, next) = tx.published_page(namespace, after).await?;
            for version in page {
                let row = format!("versions {}/{}", version.policy.policy, version.number);
                match (self.signer.published(&version), tx.content(&version.digest).await) {
                    (Ok(_), Ok(content)) => {
                        check.content(&content);
                        check.manifest(&version.policy.policy, version.number, &version.manifest);
                    }
                    (Err(error), _) | (_, Err(error)) => {
                        let stored = Some(digest_of(version.manifest.as_bytes()));
                        check.findings.add_found(0, &row, error.internal.unwrap_or(error.message), stored);
                    }
                }
            }
            if next.is_none() {
                check.end();
                return Ok(());
            }
            after = next;
        }
    }
}

/// Takes events in, with what stands beside them.
fn read_page(check: &mut LogCheck, page: &[Event], index: &[EventIndex], pointers: Vec<PointerRow>) {
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
        if found != moved(&payload) {
            let said = found.iter().map(|row| format!("{} {} {}\n", row.revision, row.policy, row.version));
            let message = "the pointer history says something else than it does";
            check.wrong_beside(revision, message, &said.collect::<String>());
        }
    }
}

/// The pointer history an event makes.
fn moved(payload: &Payload) -> Vec<PointerRow> {
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

/// The index of rows, which decisions look in, against the newest event about each row.
fn compare_index(check: &mut LogCheck, index: &BTreeMap<(String, String), i64>) {
    let LogCheck { rows, findings, .. } = check;
    for ((table, key), written) in rows.iter().filter(|((table, _), _)| decides(table)) {
        let leads_to = index.get(&(table.clone(), key.clone()));
        if leads_to != Some(&written.revision) {
            let message = "the index of rows leads to another event";
            let found = leads_to.map(|revision| digest_of(&revision.to_be_bytes()));
            findings.add_found(written.revision, &format!("{table} {key}"), message, found);
        }
    }
    for (table, key) in index.keys().filter(|name| !rows.contains_key(*name)) {
        findings.add(0, &format!("{table} {key}"), "the index of rows has what no event wrote");
    }
}

/// One row against the newest event about it.
fn compare_row(check: &mut LogCheck, found: StoredRow) {
    let StoredRow { row, is_authentic } = found;
    let name = format!("{} {}", row.table, row.key);
    let revision_of = |written: &Option<RowState>| written.as_ref().map_or(0, |written| written.revision);
    let written = check.rows.remove(&(row.table.clone(), row.key.clone()));
    let revision = revision_of(&written);
    if !is_authentic {
        let message = "its MAC does not verify: this server did not write it";
        return check.findings.add_found(revision, &name, message, row.digest);
    }
    if written.is_some_and(|written| written.digest == row.digest) || may_differ(check, &row.table, &row.key) {
        return;
    }
    let message = if revision == 0 { "no event wrote it" } else { "the newest event about it wrote something else" };
    check.findings.add_found(revision, &name, message, row.digest);
}

/// The digest of where a pointer is: its version, and the event that put it there.
fn place_digest((version, revision): (i64, i64)) -> Digest {
    digest_of(format!("{version} {revision}").as_bytes())
}

/// What is written without an event: the namespace `system`, when the store is made, and reports of failed checks, which
/// only versions have that are not published.
fn may_differ(check: &LogCheck, table: &str, key: &str) -> bool {
    match table {
        "namespaces" => key == SYSTEM_NAMESPACE,
        "reports" => {
            let Some((policy, number)) = key.rsplit_once('/') else { return false };
            let Ok(policy) = PolicyId::parse("policy", policy) else { return false };
            let state = number.parse().ok().and_then(|number| check.versions.get(&(policy, number)));
            state.is_some_and(|(state, _)| *state != VersionState::Published)
        }
        _ => false,
    }
}
