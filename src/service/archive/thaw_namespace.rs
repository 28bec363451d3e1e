//! ThawNamespace: an admin accepts the findings, and a frozen namespace accepts writes again.

use std::collections::BTreeMap;

use super::log_progress::LogProgress;
use super::use_cases::Archive;
use crate::domain::audit::{Finding, Findings, LogVerdict};
use crate::domain::command::ThawNamespace;
use crate::domain::counted_noun::counted_noun;
use crate::domain::digest::Digest;
use crate::domain::error::FieldViolation;
use crate::domain::event::{Change, Cursor, EventKind, Position};
use crate::domain::lifecycle;
use crate::domain::name::NamespaceId;
use crate::domain::outcome::NamespaceThawed;
use crate::domain::{Error, Reason, Result};
use crate::service::context::Context;
use crate::service::log::Write;
use crate::signing::chain::accepted_settings;

/// Number of findings that a refusal names, so that it fits into the trailers of a call.
const NAMED_FINDINGS_MAX: usize = 10;
/// Number of removed schedules that an answer names: rows that somebody adds may be any number, and an answer has to fit into a message.
const REMOVED_SCHEDULES_MAX: usize = 100;
/// The beginning of the name of a finding's row when it is a schedule; its key follows.
const SCHEDULE_ROW: &str = "schedules ";

impl Archive {
    /// Thaws a namespace, if a new check has no finding that the caller does not accept. Schedules whose rows do not hold are removed.
    /// Returns the position of its event, and which schedules are gone.
    ///
    /// # Errors
    /// `FINDINGS_REMAIN`, `CONCURRENT_CHANGE`, `NAMESPACE_NOT_FOUND`, `INVALID_ARGUMENT`, `DATA_LOSS` when the pointers do not make
    /// the root of the newest event: nothing can be signed over them.
    pub async fn thaw_namespace(&self, context: &Context, request: ThawNamespace) -> Result<NamespaceThawed> {
        lifecycle::check_reason(&request.reason)?;
        let call = self.writer.call(context, "ThawNamespace", &request)?;
        if let Some(answer) = call.replayed(&self.log.store.read().await?).await? {
            return Ok(answer);
        }
        let namespace = &request.namespace;
        let (verdict, end) = self.check_log(namespace, Cursor::NONE.into(), &LogProgress::default()).await?;
        check_accepted(&request, &verdict)?;
        let mut thawed_at = None;
        let thawed = call
            .mutate_frozen(namespace, async |write| {
                if write.tx.head() != end {
                    let message = format!("{} changed while it was checked; try again", namespace.name());
                    return Err(Error::new(Reason::ConcurrentChange, message).about(namespace.name()));
                }
                check_import(write, namespace, &verdict).await?;
                self.log.hub.check_pointers(write.tx.read(), namespace, end).await?;
                let removed = remove_schedules(write, namespace, &verdict.findings).await?;
                let change = Change {
                    reason: request.reason.clone(),
                    settings: Some(accepted_settings(&verdict.findings)),
                    ..Change::new(EventKind::ThawNamespace, None)
                };
                thawed_at = write.record(change).await?.cursor;
                Ok(NamespaceThawed {
                    cursor: thawed_at,
                    removed_schedules_not_listed: removed.len().saturating_sub(REMOVED_SCHEDULES_MAX),
                    removed_schedules: removed.into_iter().take(REMOVED_SCHEDULES_MAX).collect(),
                })
            })
            .await?;
        // Not for a replayed answer: the namespace may have been frozen again since.
        if let Some(at) = thawed_at {
            self.log.store.thaw(namespace, at.cursor);
            self.audits.clear(namespace);
            self.log.hub.note_moved([namespace.clone()]);
        }
        Ok(thawed)
    }

    /// Polls whether another replica thawed a namespace that is frozen here, so that a replica without calls resumes too.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`; the next poll begins again.
    pub async fn follow_thaws(&self) -> Result<()> {
        for namespace in self.log.store.all_frozen() {
            match self.log.hub.check_thawed(&namespace).await {
                Ok(()) => self.audits.clear(&namespace),
                // It stays frozen, for its own findings.
                Err(error) if error.reason == Reason::DataLoss => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Returns the namespaces that are frozen, as known to this replica.
    #[must_use]
    pub fn frozen_namespaces(&self) -> Vec<NamespaceId> {
        self.log.store.all_frozen()
    }
}

/// Removes every schedule about whose row something was found and accepted. Nothing else could: its row is refused by each call, and the
/// server would try to carry it out for ever. It is not suspended, because what could be resumed may be what somebody wrote into the
/// database; what was planned is in the event SCHEDULE. Returns the names of all of them, also of those whose rows were deleted before.
async fn remove_schedules(write: &Write<'_>, namespace: &NamespaceId, found: &Findings) -> Result<Vec<String>> {
    let mut newest: BTreeMap<&str, i64> = BTreeMap::new();
    for finding in &found.kept {
        if let Some(key) = finding.row.strip_prefix(SCHEDULE_ROW) {
            let revision = newest.entry(key).or_default();
            *revision = (*revision).max(finding.revision);
        }
    }
    for (key, revision) in &newest {
        // The log needs no event about a row that it never named: otherwise rows that somebody adds make the event longer.
        if write.tx.remove_schedule(key, *revision > 0).await? {
            tracing::warn!(%namespace, schedule = key, "a thaw removes a schedule whose row does not hold");
        }
    }
    Ok(newest.into_keys().map(|key| format!("{}/schedules/{key}", namespace.name())).collect())
}

/// Refuses to accept findings while an import is unfinished: its last part counts rows, and does not prove each of them again.
async fn check_import(write: &Write<'_>, namespace: &NamespaceId, verdict: &LogVerdict) -> Result<()> {
    let imports = write.tx.read().imports(namespace).await?;
    let count = verdict.findings.count;
    if !write.check_importing(&imports)? || count == 0 {
        return Ok(());
    }
    let message = format!(
        "{} in {}, and an import into it is not finished: put back what they are about, or import into \
         another namespace",
        counted_noun(count, "finding remains", "findings remain"),
        namespace.name()
    );
    Err(Error::new(Reason::FindingsRemain, message).with("findings", count).about(namespace.name()))
}

/// Checks that the caller accepts every finding, and nothing else.
fn check_accepted(request: &ThawNamespace, verdict: &LogVerdict) -> Result<()> {
    let ThawNamespace { namespace, accepted, positions, accepted_digest, .. } = request;
    let found = &verdict.findings;
    if let Some(digest) = accepted_digest {
        return check_digest(namespace, digest, verdict);
    }
    if let Some(absent) = accepted.iter().find(|finding| !found.kept.contains(finding)) {
        let message = format!("names what is not found: {} {}", absent.row, absent.message);
        return Err(Error::invalid("accepted_findings", message));
    }
    let is_other = |named: &&Position| {
        let stored = verdict.positions.get(&named.cursor.revision).copied();
        let Position { cursor, event } = stored.unwrap_or_else(|| Cursor { epoch: 0, ..named.cursor }.into());
        (named.cursor.epoch != 0 && named.cursor.epoch != cursor.epoch) || !named.may_be(event)
    };
    if let Some(other) = positions.iter().find(is_other) {
        let message = format!("names another event than the one that is stored at revision {}", other.cursor.revision);
        return Err(Error::invalid("accepted_findings", message));
    }
    let left: Vec<&Finding> = found.kept.iter().filter(|finding| !accepted.contains(finding)).collect();
    let unnamed = found.count.saturating_sub(found.kept.len() as u64);
    if left.is_empty() && unnamed == 0 {
        return Ok(());
    }
    let count = left.len() as u64 + unnamed;
    let remaining = counted_noun(count, "finding remains", "findings remain");
    let message = format!("{remaining} in {}; repair what they are about, or accept them", namespace.name());
    let violations = left.into_iter().take(NAMED_FINDINGS_MAX).map(|finding| FieldViolation {
        field: if finding.row.is_empty() { format!("event {}", finding.revision) } else { finding.row.clone() },
        description: finding.message.clone(),
    });
    let refusal = Error::new(Reason::FindingsRemain, message).with("findings", count).about(namespace.name());
    Err(Error { violations: violations.collect(), ..refusal })
}

/// Checks that the digest that the caller accepts is that of the findings.
fn check_digest(namespace: &NamespaceId, accepted: &Digest, verdict: &LogVerdict) -> Result<()> {
    let count = verdict.findings.count;
    if verdict.findings_digest.as_ref() == Some(accepted) {
        return Ok(());
    }
    if count == 0 {
        return Err(Error::invalid("accepted_findings_digest", "is of findings, and nothing is found"));
    }
    let Some(found) = &verdict.findings_digest else {
        let message = format!("{count} findings in {}, which are more than can be accepted", namespace.name());
        return Err(Error::new(Reason::FindingsRemain, message).with("findings", count).about(namespace.name()));
    };
    let message = format!("what is found in {} is not what was accepted: look at it again", namespace.name());
    let refusal = Error::new(Reason::FindingsRemain, message).with("findings", count).about(namespace.name());
    Err(refusal.with("findings_digest", found))
}
