//! Runs the checks of a version, before anything is locked and apart from the threads that serve; what a schema says is asked of a
//! worker process.

use super::check_input::{Occasion, Subject, is_of_today};
use super::slots::{CheckSlot, CheckSlots, off_thread};
use super::workers::{CheckWorkers, Question};
use crate::checks::{SchemaAnswer, SchemaCheck, SchemaOutcome, SchemaTask};
use crate::domain::name::NamespaceId;
use crate::domain::report::Report;
use crate::domain::time::Micros;
use crate::domain::{Error, Reason, Result};

/// Runs checks, a few at a time.
#[derive(Debug, Default)]
pub struct CheckRunner {
    pub slots: CheckSlots,
    pub workers: CheckWorkers,
}

impl CheckRunner {
    /// Today's checks. A schema that needs more than a check may have is a failed check.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED` when too many checks run, `CHECKS_UNAVAILABLE`.
    pub async fn check(&self, subject: Subject, occasion: Occasion, now: Micros) -> Result<(Subject, Report)> {
        let slot = self.slots.take(&subject.policy.name.namespace).await?;
        let work = move || {
            let (started, asked) = subject.start(occasion);
            // Written here: a content of a MiB, its objects and their end would keep a thread that serves for too long.
            (asked.map(|check| Question::new(&check)), subject, started)
        };
        let (slot, (question, subject, started)) = off_thread(slot, work).await?;
        let outcome = match question {
            Some(question) => Some(self.ask_schema(&question?, &subject.bundle.version.name(), &slot).await?),
            None => None,
        };
        Ok((subject, started.report(outcome, now)))
    }

    /// Today's checks of what a published version says. A report of the same bytes by the same rules is taken as it is.
    ///
    /// # Errors
    /// As `check`.
    pub async fn check_again(&self, subject: Subject, kept: Option<Report>, now: Micros) -> Result<(Subject, Report)> {
        match kept.filter(|report| is_of_today(report, &subject.policy, &subject.bundle.version)) {
            Some(report) => Ok((subject, report)),
            None => self.check(subject, Occasion::Again, now).await,
        }
    }

    /// A JSON Schema must be one before it is kept; empty is none.
    ///
    /// # Errors
    /// `INVALID_SCHEMA`, also when it needs more than a check may have; `LIMIT_EXCEEDED` when too many checks run,
    /// `CHECKS_UNAVAILABLE`.
    pub async fn check_schema(&self, namespace: &NamespaceId, schema: &str) -> Result<()> {
        if schema.is_empty() {
            return Ok(());
        }
        let slot = self.slots.take(namespace).await?;
        let question = Question::new(&SchemaCheck { schema: schema.to_owned(), task: SchemaTask::Compile })?;
        let why = match self.ask_schema(&question, &namespace.name(), &slot).await? {
            SchemaOutcome::Answered(SchemaAnswer::Errors(_)) => return Ok(()),
            SchemaOutcome::Answered(SchemaAnswer::Unusable(why)) => why,
            SchemaOutcome::OverLimit(limit) => limit.message(),
        };
        Err(Error::new(Reason::InvalidSchema, format!("settings.json_schema is no usable JSON Schema: {why}")))
    }

    async fn ask_schema(&self, question: &Question, resource: &str, slot: &CheckSlot) -> Result<SchemaOutcome> {
        let outcome = self.workers.ask(question, slot).await?;
        if let SchemaOutcome::OverLimit(limit) = outcome {
            tracing::warn!(resource, limit = limit.as_str(), "a check was ended by its limit: look at the JSON Schema");
        }
        Ok(outcome)
    }
}
