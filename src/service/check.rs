//! The checks of a version, run before anything is locked.

use super::Service;
use crate::checks;
use crate::domain::bundle::Bundle;
use crate::domain::command::PolicyOrVersion;
use crate::domain::label::Label;
use crate::domain::lifecycle;
use crate::domain::policy::Policy;
use crate::domain::report::Report;
use crate::domain::time::Micros;
use crate::domain::version::Version;
use crate::domain::{Error, Reason, Result};
use crate::signing::digest_of;
use crate::store::ReadTx;

/// What a check was run on. It is compared with what is found under the lock.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) policy: Policy,
    pub(super) bundle: Bundle,
    published_labels: Vec<Label>,
}

impl Subject {
    /// Today's checks of a version that is not published yet.
    pub(super) fn run(&self, now: Micros) -> Report {
        self.report(self.bundle.version.label.as_ref(), now)
    }

    /// Today's checks of older content. Its label was taken long ago: only what it says is checked.
    pub(super) fn run_again(&self, now: Micros) -> Report {
        self.report(None, now)
    }

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
            || self.policy.settings.allow_backport
            || tx.published_labels(&self.policy.name).await? == self.published_labels;
        if policy_now.etag == self.policy.etag && version_now.etag == version.etag && labels_hold {
            return Ok((policy_now, version_now));
        }
        let message = format!("{} or its policy changed while it was checked; try again", version.name());
        Err(Error::new(Reason::ConcurrentChange, message).about(version.name()))
    }
}

impl Service {
    /// The version a caller means, with all that its checks need.
    pub(super) async fn subject(&self, tx: &ReadTx, target: &PolicyOrVersion) -> Result<Subject> {
        match target {
            PolicyOrVersion::Version(name) => {
                let version = self.resolve(tx, name).await?;
                let policy = tx.policy(&name.policy).await?;
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
        let content = tx.content(&version.digest).await?;
        if digest_of(&content) != version.digest {
            return Err(Error::data_loss(format!("{}: its content is not that of its digest", version.name())));
        }
        let published_labels = tx.published_labels(&policy.name).await?;
        Ok(Subject { policy, bundle: Bundle { version, content }, published_labels })
    }

    /// Keeps the report of failed checks, so that the author can read it. Nothing else changes.
    pub(super) async fn keep_failed_report(&self, version: &Version, report: &Report) -> Result<()> {
        if report.passed() || !version.state.is_open() {
            return Ok(());
        }
        self.store.put_failed_report(&version.policy, version.number, report).await
    }
}
