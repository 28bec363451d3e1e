//! The checks of a version, run before anything is locked and apart from the threads that serve; what a schema says is asked
//! of a worker process.

use super::Service;
use super::check_slots::{CheckSlot, off_thread};
use super::check_workers::Question;
use crate::checks::{self, CheckLimit, SchemaAnswer, SchemaCheck, SchemaOutcome, SchemaTask, Started};
use crate::domain::bundle::Bundle;
use crate::domain::command::PolicyOrVersion;
use crate::domain::label::Label;
use crate::domain::lifecycle;
use crate::domain::name::NamespaceId;
use crate::domain::policy::{BumpRule, Policy};
use crate::domain::report::Report;
use crate::domain::time::Micros;
use crate::domain::version::Version;
use crate::domain::{Error, Reason, Result};
use crate::store::{ReadTx, WriteTx};

/// What is checked of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CheckKind {
    /// It is about to be published: everything.
    First,
    /// It was published long ago, and took its label then: only what it says.
    Again,
}

/// What a check was run on. It is compared with what is found under the lock.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) policy: Policy,
    pub(super) bundle: Bundle,
    published_labels: Vec<Label>,
}

impl Subject {
    /// Runs what is bounded by us; what is left is asked of the schema.
    fn start(&self, kind: CheckKind) -> (Started, Option<SchemaCheck>) {
        let version = &self.bundle.version;
        let (label, content_type) = match kind {
            CheckKind::First => (version.label.as_ref(), Some(version.content_type.as_str())),
            CheckKind::Again => (None, None),
        };
        let input = checks::Input {
            kind: self.policy.kind,
            content: &self.bundle.content,
            content_type,
            digest: &version.digest,
            label,
            settings: &self.policy.settings,
            published_labels: &self.published_labels,
        };
        checks::start(&input)
    }

    /// Reads again under the lock what the checks depended on.
    ///
    /// # Errors
    /// `CONCURRENT_CHANGE` when it is something else by now.
    pub(super) async fn still_holds(&self, tx: &ReadTx) -> Result<(Policy, Version)> {
        let version = &self.bundle.version;
        let policy_now = tx.policy(&self.policy.name).await?;
        let version_now = tx.version(&self.policy.name, version.number).await?;
        let labels_hold = version.label.is_none()
            || (self.policy.settings.allow_backport && self.policy.settings.bump_rule == BumpRule::Any)
            || tx.version_list(&policy_now).await?.published_labels == self.published_labels;
        if policy_now.edits == self.policy.edits && version_now.edits == version.edits && labels_hold {
            return Ok((policy_now, version_now));
        }
        Err(changed_meanwhile(version))
    }
}

/// The refusal of a version that is not any more what was checked.
pub(super) fn changed_meanwhile(version: &Version) -> Error {
    let message = format!("{} or its policy changed while it was checked; try again", version.name());
    Error::new(Reason::ConcurrentChange, message).about(version.name())
}

/// Whether a report says what the checks of today would.
pub(super) fn is_of_today(report: &Report, policy: &Policy, version: &Version) -> bool {
    report.is_of(&version.digest, &checks::rules(policy.kind, &policy.settings))
}

/// Puts the report of failed checks into a write, unless the version is another one by now. Returns whether it did.
pub(super) async fn put_failed_report(tx: &WriteTx, version: &Version, report: &Report) -> Result<bool> {
    let now = tx.read().version(&version.policy, version.number).await?;
    let is_the_same = now.edits == version.edits;
    if is_the_same {
        tx.put_report(&version.policy, version.number, report).await?;
    }
    Ok(is_the_same)
}

impl Service {
    /// Starts a process for checks, so that the first one finds it ready.
    pub async fn warm_check_workers(&self) {
        self.check_workers.warm().await;
    }

    /// Checks since the start that ended without an answer: by each limit, and because their callers left.
    #[must_use]
    pub fn ended_checks(&self) -> (Vec<(CheckLimit, u64)>, u64) {
        self.check_workers.ended()
    }

    /// The version a caller means, with all that its checks need.
    pub(super) async fn subject(&self, tx: &ReadTx, target: &PolicyOrVersion) -> Result<Subject> {
        let (policy, version) = self.resolve_target(tx, target).await?;
        self.subject_of(tx, policy, version).await
    }

    /// Finds the version a caller means: the one that is named, or the only open one of a policy.
    pub(super) async fn resolve_target(&self, tx: &ReadTx, target: &PolicyOrVersion) -> Result<(Policy, Version)> {
        match target {
            PolicyOrVersion::Version(name) => self.resolve(tx, name).await,
            PolicyOrVersion::Policy(name) => {
                let policy = tx.policy(name).await?;
                let list = tx.version_list(&policy).await?;
                let version = lifecycle::resolve_open(&policy, &list.open)?.clone();
                Ok((policy, version))
            }
        }
    }

    /// All that the checks of a version need.
    pub(super) async fn subject_of(&self, tx: &ReadTx, policy: Policy, version: Version) -> Result<Subject> {
        let content = self.content_of(tx, &version).await?;
        let published_labels = tx.version_list(&policy).await?.published_labels;
        Ok(Subject { policy, bundle: Bundle { version, content }, published_labels })
    }

    /// Today's checks. A schema that needs more than a check may have is a failed check.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED` when too many checks run, `CHECKS_UNAVAILABLE`.
    pub(super) async fn check(&self, subject: Subject, kind: CheckKind, now: Micros) -> Result<(Subject, Report)> {
        let slot = self.check_slots.take(&subject.policy.name.namespace).await?;
        let work = move || {
            let (started, asked) = subject.start(kind);
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
    pub(super) async fn check_again(
        &self,
        subject: Subject,
        kept: Option<Report>,
        now: Micros,
    ) -> Result<(Subject, Report)> {
        match kept.filter(|report| is_of_today(report, &subject.policy, &subject.bundle.version)) {
            Some(report) => Ok((subject, report)),
            None => self.check(subject, CheckKind::Again, now).await,
        }
    }

    /// A JSON Schema must be one before it is kept; empty is none.
    ///
    /// # Errors
    /// `INVALID_SCHEMA`, also when it needs more than a check may have; `LIMIT_EXCEEDED` when too many checks run,
    /// `CHECKS_UNAVAILABLE`.
    pub(super) async fn check_schema(&self, namespace: &NamespaceId, schema: &str) -> Result<()> {
        if schema.is_empty() {
            return Ok(());
        }
        let slot = self.check_slots.take(namespace).await?;
        let question = Question::new(&SchemaCheck { schema: schema.to_owned(), task: SchemaTask::Compile })?;
        let why = match self.ask_schema(&question, &namespace.name(), &slot).await? {
            SchemaOutcome::Answered(SchemaAnswer::Errors(_)) => return Ok(()),
            SchemaOutcome::Answered(SchemaAnswer::Unusable(why)) => why,
            SchemaOutcome::OverLimit(limit) => limit.message(),
        };
        Err(Error::new(Reason::InvalidSchema, format!("settings.json_schema is no usable JSON Schema: {why}")))
    }

    async fn ask_schema(&self, question: &Question, resource: &str, slot: &CheckSlot) -> Result<SchemaOutcome> {
        let outcome = self.check_workers.ask(question, slot).await?;
        if let SchemaOutcome::OverLimit(limit) = outcome {
            tracing::warn!(resource, limit = limit.as_str(), "a check was ended by its limit: look at the JSON Schema");
        }
        Ok(outcome)
    }

    /// Keeps the report of failed checks, so that the author can read it. Nothing else changes.
    pub(super) async fn keep_failed_report(&self, version: &Version, report: &Report) -> Result<()> {
        if report.passed() || !version.state.is_open() {
            return Ok(());
        }
        let tx = self.store.begin(&version.policy.namespace).await?;
        if put_failed_report(&tx, version, report).await? {
            tx.commit(|| {}).await?;
        }
        Ok(())
    }
}
