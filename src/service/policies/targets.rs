//! Versions as callers name them, with all that their checks need; reports of checks that failed.

use super::use_cases::Policies;
use crate::domain::Result;
use crate::domain::bundle::Bundle;
use crate::domain::command::PolicyOrVersion;
use crate::domain::lifecycle;
use crate::domain::policy::Policy;
use crate::domain::report::Report;
use crate::domain::version::Version;
use crate::service::checking::{Subject, put_failed_report};
use crate::store::ReadTx;

impl Policies {
    /// The version a caller means, with all that its checks need.
    pub(super) async fn subject(&self, tx: &ReadTx, target: &PolicyOrVersion) -> Result<Subject> {
        let (policy, version) = self.resolve_target(tx, target).await?;
        self.subject_of(tx, policy, version).await
    }

    /// Finds the version a caller means: the one that is named, or the only open one of a policy.
    pub(super) async fn resolve_target(&self, tx: &ReadTx, target: &PolicyOrVersion) -> Result<(Policy, Version)> {
        match target {
            PolicyOrVersion::Version(name) => self.log.resolve(tx, name).await,
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
        let content = self.log.content_of(tx, &version).await?;
        let published_labels = tx.version_list(&policy).await?.published_labels;
        Ok(Subject { policy, bundle: Bundle { version, content }, published_labels })
    }

    /// Keeps the report of failed checks, so that the author can read it. Nothing else changes.
    pub(super) async fn keep_failed_report(&self, version: &Version, report: &Report) -> Result<()> {
        if report.passed() || !version.state.is_open() {
            return Ok(());
        }
        let tx = self.log.store.begin(&version.policy.namespace).await?;
        if put_failed_report(&tx, version, report).await? {
            tx.commit(|| {}).await?;
        }
        Ok(())
    }
}
