//! Runs the checks of a version before anything is locked, on blocking threads; a worker process evaluates untrusted text.

use std::sync::Arc;

use super::check_input::{CheckInput, CheckKind, is_of_today};
use super::other_policies::{is_still_active, read_other_policies};
use super::slots::{CheckSlot, CheckSlots, run_blocking};
use super::workers::{CheckWorkers, WorkerRequest};
use crate::checks::{EvaluatedContent, Evaluation, Facts, Task, TaskAnswer, TaskOutcome};
use crate::domain::error::FieldViolation;
use crate::domain::guardrail::Guardrail;
use crate::domain::name::NamespaceId;
use crate::domain::report::Report;
use crate::domain::time::Micros;
use crate::domain::{Error, Reason, Result};
use crate::service::log::LogReader;

/// Runs checks, a few at a time.
#[derive(Debug)]
pub struct CheckRunner {
    log: Arc<LogReader>,
    pub slots: CheckSlots,
    pub workers: CheckWorkers,
}

impl CheckRunner {
    pub fn new(log: &Arc<LogReader>) -> Self {
        Self { log: Arc::clone(log), slots: CheckSlots::default(), workers: CheckWorkers::default() }
    }

    /// Runs today's checks. What exceeds the limits of a check is a failed check.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED` when too many checks run, `CHECKS_UNAVAILABLE`.
    pub async fn check(&self, input: CheckInput, kind: CheckKind, now: Micros) -> Result<(CheckInput, Report)> {
        let slot = self.slots.take(&input.policy.name.namespace).await?;
        let parse = move || {
            let parsed = input.parse(kind);
            (input, parsed)
        };
        let (slot, (input, parsed)) = run_blocking(slot, parse).await?;
        let others = read_other_policies(&self.log, &input, kind, &parsed).await?;
        let work = move || {
            let (started, asked) = input.start(kind, parsed, &others);
            // Encoded here: a content of 1 MiB would occupy a serving thread for too long.
            (asked.map(|evaluation| WorkerRequest::new(&evaluation)), input, started)
        };
        let (slot, (request, input, started)) = run_blocking(slot, work).await?;
        let outcomes = match request {
            Some(request) => self.evaluate(&request?, &input.bundle.version.name(), &slot).await?,
            None => Vec::new(),
        };
        Ok((input, started.report(outcomes, now)))
    }

    /// Runs today's checks of a published version. A report of the same bytes and rules is reused while what it
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
            _ => self.check(input, CheckKind::AfterPublish, now).await,
        }
    }

    async fn is_still_active(&self, input: &CheckInput, report: &Report) -> Result<bool> {
        if report.looked_up.is_empty() {
            return Ok(true);
        }
        let tx = self.log.store.read().await?;
        is_still_active(&tx, &input.policy.name.namespace, &report.looked_up, &input.moved).await
    }

    /// Checks that a text is a JSON Schema; an empty text means no schema.
    ///
    /// # Errors
    /// `INVALID_SCHEMA`, also when it exceeds the limits of a check; `LIMIT_EXCEEDED` when too many checks run, `CHECKS_UNAVAILABLE`.
    pub async fn check_schema(&self, namespace: &NamespaceId, schema: &str) -> Result<()> {
        if schema.is_empty() {
            return Ok(());
        }
        let slot = self.slots.take(namespace).await?;
        let tasks = vec![Task::JsonSchema { schema: schema.to_owned() }];
        let request =
            WorkerRequest::new(&Evaluation { content: EvaluatedContent::None, facts: Facts::default(), tasks })?;
        let why = match self.evaluate(&request, &namespace.name(), &slot).await?.pop() {
            Some(TaskOutcome::Answered(TaskAnswer::Findings(_))) => return Ok(()),
            Some(TaskOutcome::Answered(TaskAnswer::Unusable(why))) => why,
            Some(TaskOutcome::OverLimit(limit)) => limit.message("the JSON Schema"),
            Some(TaskOutcome::NotRun) | None => return Err(Error::internal("a schema was not compiled")),
        };
        Err(Error::new(Reason::InvalidSchema, format!("settings.json_schema is not a usable JSON Schema: {why}")))
    }

    /// Checks that guardrails compile.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` with each one that does not; `LIMIT_EXCEEDED` when too many checks run, `CHECKS_UNAVAILABLE`.
    pub async fn check_guardrails(&self, namespace: &NamespaceId, guardrails: &[Guardrail]) -> Result<()> {
        if guardrails.is_empty() {
            return Ok(());
        }
        let slot = self.slots.take(namespace).await?;
        let tasks = guardrails.iter().cloned().map(Task::Guardrail).collect();
        let request =
            WorkerRequest::new(&Evaluation { content: EvaluatedContent::None, facts: Facts::default(), tasks })?;
        let outcomes = self.evaluate(&request, &namespace.name(), &slot).await?;
        let violation = |(index, outcome)| {
            let description = match outcome {
                TaskOutcome::Answered(TaskAnswer::Findings(_)) => return None,
                TaskOutcome::Answered(TaskAnswer::Unusable(why)) => why,
                TaskOutcome::OverLimit(limit) => limit.message("it"),
                TaskOutcome::NotRun => "was not compiled, because of the one before it".to_owned(),
            };
            Some(FieldViolation { field: format!("guardrails.guardrails[{index}]"), description })
        };
        let violations: Vec<FieldViolation> = outcomes.into_iter().enumerate().filter_map(violation).collect();
        if violations.is_empty() { Ok(()) } else { Err(Error::invalid_fields(violations)) }
    }

    /// Evaluates the guardrails alone. Returns the outcomes in their order.
    ///
    /// # Errors
    /// The same as `check`.
    pub async fn try_guardrails(&self, input: CheckInput) -> Result<Vec<TaskOutcome>> {
        let resource = input.bundle.version.name();
        let slot = self.slots.take(&input.policy.name.namespace).await?;
        let (slot, request) = run_blocking(slot, move || WorkerRequest::new(&input.evaluate_guardrails())).await?;
        self.evaluate(&request?, &resource, &slot).await
    }

    pub(super) async fn evaluate(
        &self,
        request: &WorkerRequest,
        resource: &str,
        slot: &CheckSlot,
    ) -> Result<Vec<TaskOutcome>> {
        let outcomes = self.workers.ask(request, slot).await?;
        for outcome in &outcomes {
            if let TaskOutcome::OverLimit(limit) = outcome {
                tracing::warn!(
                    resource,
                    limit = limit.as_str(),
                    "a check was ended by its limit: look at what it evaluates"
                );
            }
        }
        Ok(outcomes)
    }
}
