//! The checks of a version, run before anything is locked and apart from the threads that serve.

use super::Service;
use crate::checks;
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
use crate::store::ReadTx;

/// What is checked of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Occasion {
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
    fn report(&self, label: Option<&Label>, now: Micros) -> Report {
        let input = checks::Input {
            kind: self.policy.kind,
            content: &self.bundle.content,
            digest: &self.bundle.version.digest,
            label,
            settings: &self.policy.settings,
            published_labels: &self.published_labels,
        };
        checks::run(&input, now)
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
            || tx.published_labels(&self.policy.name).await? == self.published_labels;
        if policy_now.edits == self.policy.edits && version_now.edits == version.edits && labels_hold {
            return Ok((policy_now, version_now));
        }
        let message = format!("{} or its policy changed while it was checked; try again", version.name());
        Err(Error::new(Reason::ConcurrentChange, message).about(version.name()))
    }
}

impl Service {
    /// Checks that nobody waited for to their end: all so far, and those that run still.
    #[must_use]
    pub fn abandoned_checks(&self) -> (u64, u64) {
        self.check_slots.abandoned()
    }

    /// The version a caller means, with all that its checks need.
    pub(super) async fn subject(&self, tx: &ReadTx, target: &PolicyOrVersion) -> Result<Subject> {
        match target {
            PolicyOrVersion::Version(name) => {
                let (policy, version) = self.resolve(tx, name).await?;
                self.subject_of(tx, policy, version).await
            }
            PolicyOrVersion::Policy(name) => {
                let policy = tx.policy(name).await?;
                let open = tx.open_versions(name).await?;
                let version = lifecycle::resolve_open(&policy, &open)?.clone();
                self.subject_of(tx, policy, version).await
            }
        }
    }

    /// All that the checks of a version need.
    pub(super) async fn subject_of(&self, tx: &ReadTx, policy: Policy, version: Version) -> Result<Subject> {
        let content = self.content_of(tx, &version).await?;
        let published_labels = tx.published_labels(&policy.name).await?;
        Ok(Subject { policy, bundle: Bundle { version, content }, published_labels })
    }

    /// Today's checks.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED` when they take too long.
    pub(super) async fn check(&self, subject: Subject, occasion: Occasion, now: Micros) -> Result<(Subject, Report)> {
        let namespace = subject.policy.name.namespace.clone();
        let checked = self.check_slots.run(&namespace, move || {
            let label = match occasion {
                Occasion::First => subject.bundle.version.label.as_ref(),
                Occasion::Again => None,
            };
            let report = subject.report(label, now);
            (subject, report)
        });
        checked.await
    }

    /// A JSON Schema must be one before it is kept; empty is none.
    ///
    /// # Errors
    /// `INVALID_SCHEMA`, `LIMIT_EXCEEDED` when that takes too long.
    pub(super) async fn check_schema(&self, namespace: &NamespaceId, schema: &str) -> Result<()> {
        if schema.is_empty() {
            return Ok(());
        }
        let schema = schema.to_owned();
        let compiled = self.check_slots.run(namespace, move || checks::compile_schema(&schema).map(|_| ())).await?;
        compiled.map_err(|why| {
            Error::new(Reason::InvalidSchema, format!("settings.json_schema is no usable JSON Schema: {why}"))
        })
    }

    /// Keeps the report of failed checks, so that the author can read it. Nothing else changes.
    pub(super) async fn keep_failed_report(&self, version: &Version, report: &Report) -> Result<()> {
        if report.passed() || !version.state.is_open() {
            return Ok(());
        }
        let tx = self.store.begin(&version.policy.namespace).await?;
        let now = tx.read().version(&version.policy, version.number).await?;
        if now.edits == version.edits {
            tx.put_report(&version.policy, version.number, report).await?;
            tx.commit(|| {}).await?;
        }
        Ok(())
    }
}
