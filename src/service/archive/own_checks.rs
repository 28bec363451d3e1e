//! The checks that a server makes of its own logs, one after the other, in steps that read one short view of the database each.
//!
//! A longer log is checked from its beginning once a day, and between by what it has gained since. Invariant: a step never freezes a
//! namespace by what it found over several views; the whole log is checked again in one view first.

use std::time::Duration;

use super::log_audits::AuditCheckpoint;
use super::log_progress::LogProgress;
use super::use_cases::Archive;
use crate::domain::audit::Findings;
use crate::domain::event::{Cursor, Head};
use crate::domain::name::NamespaceId;
use crate::domain::{Error, Reason, Result};
use crate::signing::chain::{LogCheck, LogTrust};
use crate::store::ReadTx;
use crate::watch::Verify as _;

/// Number of events up to which a log is checked whole each time, in one view: some 0.25 s.
const WHOLE_EVENTS_MAX: i64 = 1_024;
/// Number of pages of events that one step verifies: 512 events, some 0.1 s.
const STEP_PAGES: usize = 8;

/// Where the checks of this server are in the order of namespaces, and in a longer log.
#[derive(Debug)]
pub struct AuditPosition {
    /// A log that is checked before the others, out of turn.
    first: Option<NamespaceId>,
    after: String,
    pass: Option<LongPass>,
}

/// Returns whether the database may answer when it is asked again. A table or a right that is missing stays so, and must not keep other
/// logs from being checked.
fn is_transient(error: &Error) -> bool {
    matches!(error.reason, Reason::DatabaseUnavailable | Reason::LockTimeout | Reason::DatabaseConnectionLimit)
}

impl AuditPosition {
    /// Returns the position of a server that has checked nothing. The log of `system` is first: what it says holds in every namespace.
    #[must_use]
    pub fn at_start() -> Self {
        Self { first: Some(NamespaceId::system()), after: String::new(), pass: None }
    }

    /// Ends the turn of a log. One that was checked out of turn takes no place in the order.
    fn end_turn(&mut self, namespace: &NamespaceId) -> AuditStep {
        if self.first.take().is_some() {
            return AuditStep::More;
        }
        self.after = namespace.to_string();
        AuditStep::Done
    }
}

/// A check of a longer log that is not finished.
#[derive(Debug)]
struct LongPass {
    check: LogCheck,
    /// The last revision that was read.
    from: i64,
    /// The uptime of the server when the last check of the whole log ended; none for a check of the whole log.
    whole_at: Option<Duration>,
    /// Whether all events were verified, and the comparison with the rows began.
    is_ending: bool,
}

/// What a step of the checks ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditStep {
    /// The next step may follow after a short rest: this log has more to check, or it was checked out of turn.
    More,
    /// The log is checked, or there is none after the last.
    Done,
}

impl Archive {
    /// Makes the next step of the checks: a part of a longer log, or a whole one. `uptime` is that of the server. After an error the step is made
    /// again. A log that can't be checked is logged, and the next one has its turn.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn check_next(&self, position: &mut AuditPosition, uptime: Duration) -> Result<AuditStep> {
        while position.pass.is_none() {
            let tx = self.log.store.read().await?;
            let next = match position.first.clone() {
                None => tx.namespace_after(&position.after).await?,
                first => first,
            };
            let Some(namespace) = next else {
                position.after.clear();
                return Ok(AuditStep::Done);
            };
            position.pass = self.begin_pass(&tx, &namespace, uptime).await?;
            drop(tx);
            if position.pass.is_none() {
                self.check_whole_log(&namespace, uptime).await?;
                // After a short log out of turn the next one follows at once.
                if position.end_turn(&namespace) == AuditStep::Done {
                    return Ok(AuditStep::Done);
                }
            }
        }
        let Some(mut pass) = position.pass.take() else { return Ok(AuditStep::Done) };
        let namespace = pass.check.namespace().clone();
        let is_finished = self.step(&mut pass, uptime).await;
        if matches!(is_finished, Ok(true)) {
            return Ok(position.end_turn(&namespace));
        }
        // A comparison that was interrupted has used up what the events added up to: the check begins again.
        if !pass.is_ending {
            position.pass = Some(pass);
        }
        is_finished.map(|_| AuditStep::More)
    }

    /// Checks the log of a namespace from its beginning in one view.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    async fn check_whole_log(&self, namespace: &NamespaceId, uptime: Duration) -> Result<()> {
        match self.check_log(namespace, Cursor::NONE.into(), &LogProgress::default()).await {
            Err(error) if error.reason == Reason::DataLoss => {
                let mut findings = Findings::default();
                findings.add(0, &format!("namespaces {namespace}"), error.internal.unwrap_or(error.message));
                self.keep_findings(namespace, self.log.store.seen_cursor(namespace), &findings);
                Ok(())
            }
            Ok((verdict, head)) => {
                self.keep_findings(namespace, head.cursor, &verdict.findings);
                if verdict.findings.count == 0 {
                    self.set_checkpoint(namespace, head, uptime);
                }
                Ok(())
            }
            Err(error) if is_transient(&error) => Err(error),
            Err(error) if error.reason == Reason::NamespaceNotFound => Ok(()),
            // The next log has its turn: nobody who breaks one may keep the others from being checked.
            Err(error) => {
                self.audits.record_failure(namespace, &error);
                Ok(())
            }
        }
    }

    /// Returns the check that a longer log needs; none for a log that is checked in one view.
    async fn begin_pass(&self, tx: &ReadTx, namespace: &NamespaceId, uptime: Duration) -> Result<Option<LongPass>> {
        let head = match tx.log_head(namespace).await {
            Err(error) if is_transient(&error) => return Err(error),
            // The check of the whole log says what it is.
            Err(_) => return Ok(None),
            Ok(head) => head,
        };
        if head.cursor.revision <= WHOLE_EVENTS_MAX {
            return Ok(None);
        }
        let trust = LogTrust::clone(&self.log.signer.trust());
        let known = self.audits.checkpoint(namespace);
        let known = known.filter(|known| known.is_current(uptime));
        if let Some(AuditCheckpoint { head, whole_at }) = known
            && self.is_there(tx, namespace, head).await?
        {
            let check = LogCheck::after(trust, namespace.clone(), head);
            return Ok(Some(LongPass {
                check,
                from: head.cursor.revision,
                whole_at: Some(whole_at),
                is_ending: false,
            }));
        }
        let check = LogCheck::new(trust, namespace.clone());
        Ok(Some(LongPass { check, from: i64::MIN, whole_at: None, is_ending: false }))
    }

    /// Returns whether an event is still in the log, as it was.
    async fn is_there(&self, tx: &ReadTx, namespace: &NamespaceId, head: Head) -> Result<bool> {
        let found = match tx.events_at(namespace, &[head.cursor.revision]).await {
            Err(error) if !is_transient(&error) => return Ok(false),
            found => found?,
        };
        let event = found.get(&head.cursor.revision);
        Ok(event.is_some_and(|event| {
            Head { cursor: event.cursor, hash: event.hash } == head && self.log.signer.event(event).is_ok()
        }))
    }

    /// Verifies the next events of a longer log, and ends its check after the last. Returns whether it ended.
    async fn step(&self, pass: &mut LongPass, uptime: Duration) -> Result<bool> {
        let namespace = pass.check.namespace().clone();
        let slot = self.audits.slots.acquire().await;
        let slot = slot.map_err(|error| Error::internal(error.to_string()))?;
        let tx = self.log.store.read_for_stream().await?;
        let holds = match self.check_events(&tx, pass).await {
            Ok(false) => return Ok(false),
            Ok(true) => pass.check.findings.count == 0,
            Err(error) if is_transient(&error) => return Err(error),
            Err(_) => false,
        };
        drop((tx, slot));
        if !holds {
            // Events of different views may contradict each other after a restore, and findings of a part may be accepted elsewhere.
            self.check_whole_log(&namespace, uptime).await?;
            return Ok(true);
        }
        self.audits.keep(&namespace, pass.check.head().cursor, &Findings::default());
        self.set_checkpoint(&namespace, pass.check.head(), pass.whole_at.unwrap_or(uptime));
        Ok(true)
    }

    /// Verifies the next events, and what follows the last. Returns whether that was reached.
    async fn check_events(&self, tx: &ReadTx, pass: &mut LongPass) -> Result<bool> {
        let head = tx.log_head(pass.check.namespace()).await?;
        for _ in 0..STEP_PAGES {
            if !self.check_next_page(tx, &mut pass.check, &mut pass.from).await? {
                pass.is_ending = true;
                self.end_check(tx, &mut pass.check, head, pass.from).await?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn set_checkpoint(&self, namespace: &NamespaceId, head: Head, whole_at: Duration) {
        // A short log is checked whole each time, so its checkpoint would only take memory.
        let checkpoint = (head.cursor.revision > WHOLE_EVENTS_MAX).then_some(AuditCheckpoint { head, whole_at });
        self.audits.set_checkpoint(namespace, checkpoint);
    }
}
