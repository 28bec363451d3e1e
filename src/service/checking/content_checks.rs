//! Runs the checks of a content on blocking threads; a worker process evaluates untrusted text. Asks no database.

use super::check_input::{CheckInput, CheckKind};
use super::slots::{CheckSlot, CheckSlots, SlotUse, run_blocking};
use super::workers::{CheckWorkers, WorkerRequest};
use crate::checks::{EvaluatedContent, Evaluation, Facts, OtherPolicies, ParsedInput, Task, TaskAnswer, TaskOutcome};
use crate::domain::error::FieldViolation;
use crate::domain::guardrail::Guardrail;
use crate::domain::name::NamespaceId;
use crate::domain::report::Report;
use crate::domain::time::Micros;
use crate::domain::{Error, Reason, Result};

/// Runs the checks of contents, wherever these are from, a few at a time.
#[derive(Debug, Default)]
pub struct ContentChecks {
    /// The slots in which checks run.
    pub slots: CheckSlots,
    /// The processes that evaluate untrusted text.
    pub workers: CheckWorkers,
}

/// Checks of a version whose content is parsed, so that it is known which other policies it names.
#[derive(Debug)]
pub struct ParsedCheck {
    slot: CheckSlot,
    /// The data on which the checks depend.
    pub input: CheckInput,
    /// The scope of the checks.
    pub kind: CheckKind,
    /// The content, as far as it parses.
    pub parsed: ParsedInput,
}

impl ContentChecks {
    /// Waits for a slot, and parses the content.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED` when too many checks run.
    pub async fn parse(&self, slot_use: SlotUse, input: CheckInput, kind: CheckKind) -> Result<ParsedCheck> {
        let slot = self.slots.take(slot_use, &input.policy.name.namespace).await?;
        let work = move || {
            let parsed = input.parse(kind);
            (input, parsed)
        };
        let (slot, (input, parsed)) = run_blocking(slot, work).await?;
        Ok(ParsedCheck { slot, input, kind, parsed })
    }

    /// Runs the other checks. What exceeds the limits of a check is a failed check.
    ///
    /// # Errors
    /// `CHECKS_UNAVAILABLE`.
    pub async fn finish(&self, check: ParsedCheck, others: OtherPolicies, now: Micros) -> Result<(CheckInput, Report)> {
        let ParsedCheck { slot, input, kind, parsed } = check;
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
        let work = move || {
            let report = input.report(started, outcomes, now);
            (input, report)
        };
        Ok(run_blocking(slot, work).await?.1)
    }

    /// Checks that a text is a JSON Schema; an empty text means no schema.
    ///
    /// # Errors
    /// `INVALID_SCHEMA`, also when it exceeds the limits of a check; `LIMIT_EXCEEDED` when too many checks run, `CHECKS_UNAVAILABLE`.
    pub async fn check_schema(&self, namespace: &NamespaceId, schema: &str) -> Result<()> {
        match self.schema_problem(namespace, schema).await? {
            None => Ok(()),
            Some(why) => {
                let message = format!("settings.json_schema is not a usable JSON Schema: {why}");
                Err(Error::new(Reason::InvalidSchema, message))
            }
        }
    }

    /// Returns why a text is no usable JSON Schema, also when it exceeds the limits of a check; `None` for one that is, and for an empty
    /// text, which means no schema.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED` when too many checks run, `CHECKS_UNAVAILABLE`.
    pub async fn schema_problem(&self, namespace: &NamespaceId, schema: &str) -> Result<Option<String>> {
        if schema.is_empty() {
            return Ok(None);
        }
        let slot = self.slots.take(SlotUse::Check, namespace).await?;
        let tasks = vec![Task::CompileJsonSchema { schema: schema.to_owned() }];
        let request =
            WorkerRequest::new(&Evaluation { content: EvaluatedContent::None, facts: Facts::default(), tasks })?;
        match self.evaluate(&request, &namespace.name(), &slot).await?.pop() {
            Some(TaskOutcome::Answered(TaskAnswer::Findings(_))) => Ok(None),
            Some(TaskOutcome::Answered(TaskAnswer::Unusable(why))) => Ok(Some(why)),
            Some(TaskOutcome::OverLimit(limit)) => Ok(Some(limit.message("the JSON Schema"))),
            Some(TaskOutcome::NotRun) | None => Err(Error::internal("a schema was not compiled")),
        }
    }

    /// Checks that guardrails compile.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` with each one that does not; `LIMIT_EXCEEDED` when too many checks run, `CHECKS_UNAVAILABLE`.
    pub async fn check_guardrails(&self, namespace: &NamespaceId, guardrails: &[Guardrail]) -> Result<()> {
        let problems = self.guardrail_problems(namespace, guardrails).await?.into_iter();
        let violation =
            |(index, description)| FieldViolation { field: format!("guardrails.guardrails[{index}]"), description };
        let violations: Vec<FieldViolation> = problems.map(violation).collect();
        if violations.is_empty() { Ok(()) } else { Err(Error::invalid_fields(violations)) }
    }

    /// Returns the guardrails that do not compile, each by its index, and why.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED` when too many checks run, `CHECKS_UNAVAILABLE`.
    pub async fn guardrail_problems(
        &self,
        namespace: &NamespaceId,
        guardrails: &[Guardrail],
    ) -> Result<Vec<(usize, String)>> {
        if guardrails.is_empty() {
            return Ok(Vec::new());
        }
        let slot = self.slots.take(SlotUse::Check, namespace).await?;
        let tasks = guardrails.iter().cloned().map(Task::Guardrail).collect();
        let request =
            WorkerRequest::new(&Evaluation { content: EvaluatedContent::None, facts: Facts::default(), tasks })?;
        let outcomes = self.evaluate(&request, &namespace.name(), &slot).await?;
        let problem = |(index, outcome)| match outcome {
            TaskOutcome::Answered(TaskAnswer::Findings(_)) => None,
            TaskOutcome::Answered(TaskAnswer::Unusable(why)) => Some((index, why)),
            TaskOutcome::OverLimit(limit) => Some((index, limit.message("it"))),
            TaskOutcome::NotRun => Some((index, "was not compiled, because of the one before it".to_owned())),
        };
        Ok(outcomes.into_iter().enumerate().filter_map(problem).collect())
    }

    /// Evaluates the guardrails alone. Returns the outcomes in their order.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED` when too many checks run, `CHECKS_UNAVAILABLE`.
    pub async fn try_guardrails(&self, input: CheckInput) -> Result<Vec<TaskOutcome>> {
        let resource = input.bundle.version.name();
        let slot = self.slots.take(SlotUse::Check, &input.policy.name.namespace).await?;
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
