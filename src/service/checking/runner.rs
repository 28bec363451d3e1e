//! Runs the checks of a version before anything is locked, with what it names of other policies.

use std::sync::Arc;

use super::check_input::{CheckInput, CheckKind, is_of_today};
use super::content_checks::ContentChecks;
use super::other_policies::{is_still_active, read_other_policies};
use super::slots::SlotUse;
use crate::domain::Result;
use crate::domain::report::Report;
use crate::domain::time::Micros;
use crate::service::log::LogReader;

/// Runs the checks of versions that are stored, a few at a time.
#[derive(Debug)]
pub struct CheckRunner {
    log: Arc<LogReader>,
    pub contents: ContentChecks,
}

impl CheckRunner {
    pub fn new(log: &Arc<LogReader>) -> Self {
        Self { log: Arc::clone(log), contents: ContentChecks::default() }
    }

    /// Runs every check by the current rules. What exceeds the limits of a check is a failed check.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED` when too many checks run, `CHECKS_UNAVAILABLE`.
    pub async fn check(&self, input: CheckInput, kind: CheckKind, now: Micros) -> Result<(CheckInput, Report)> {
        self.check_in(SlotUse::Check, input, kind, now).await
    }

    /// Does the same for a published version before an activation or a rollback, in a slot of those.
    ///
    /// # Errors
    /// The same as `check`.
    pub async fn check_before_move(&self, input: CheckInput, now: Micros) -> Result<(CheckInput, Report)> {
        self.check_in(SlotUse::Move, input, CheckKind::AfterPublish, now).await
    }

    async fn check_in(
        &self,
        slot_use: SlotUse,
        input: CheckInput,
        kind: CheckKind,
        now: Micros,
    ) -> Result<(CheckInput, Report)> {
        let check = self.contents.parse(slot_use, input, kind).await?;
        let others = read_other_policies(&self.log, &check.input, kind, &check.parsed).await?;
        self.contents.finish(check, others, now).await
    }

    /// Runs the checks of a published version by the current rules. A report of the same bytes and rules is reused while what it
    /// looked up in other policies is active.
    ///
    /// # Errors
    /// The same as `check`.
    pub async fn check_again(
        &self,
        input: CheckInput,
        kept: Option<Report>,
        now: Micros,
    ) -> Result<(CheckInput, Report)> {
        match kept.filter(|report| is_of_today(report, &input.policy, &input.bundle.version, &input.guardrails)) {
            Some(report) if self.is_still_active(&input, &report).await? => Ok((input, report)),
            _ => self.check_before_move(input, now).await,
        }
    }

    async fn is_still_active(&self, input: &CheckInput, report: &Report) -> Result<bool> {
        if report.looked_up.is_empty() {
            return Ok(true);
        }
        let tx = self.log.store.read().await?;
        is_still_active(&tx, &input.policy.name.namespace, &report.looked_up, &input.moved).await
    }
}
