//! The versions that callers name, with the input of their checks, and reports of failed checks.

use std::sync::Arc;

use super::use_cases::Policies;
use crate::checks::needs_active;
use crate::domain::Result;
use crate::domain::bundle::Bundle;
use crate::domain::guardrail::Guardrail;
use crate::domain::lifecycle;
use crate::domain::name::PolicyOrVersion;
use crate::domain::policy::Policy;
use crate::domain::report::Report;
use crate::domain::version::Version;
use crate::service::checking::{CheckInput, guardrails_in_force, put_failed_report};
use crate::store::ReadTx;

impl Policies {
    /// Reads the version that a caller names, with the input of its checks.
    pub(super) async fn read_check_input(&self, tx: &ReadTx, target: &PolicyOrVersion) -> Result<CheckInput> {
        let (policy, version) = self.resolve_target(tx, target).await?;
        self.check_input_of(tx, policy, version).await
    }

    /// Finds the version that a caller names, or the only open one of a policy.
    pub(super) async fn resolve_target(&self, tx: &ReadTx, target: &PolicyOrVersion) -> Result<(Policy, Version)> {
        match target {
            PolicyOrVersion::Version(name) => self.log.resolve_version(tx, name).await,
            PolicyOrVersion::Policy(name) => {
                let policy = tx.policy(name).await?;
                let list = tx.version_list(&policy).await?;
                let version = lifecycle::resolve_open(&policy, &list.open)?.clone();
                Ok((policy, version))
            }
        }
    }

    /// Reads the input of the checks of a version.
    pub(super) async fn check_input_of(&self, tx: &ReadTx, policy: Policy, version: Version) -> Result<CheckInput> {
        let content = self.log.read_content(tx, &version).await?;
        self.check_input_with(tx, policy, Bundle { version, content }).await
    }

    /// Reads the input of the checks of a content.
    pub(super) async fn check_input_with(&self, tx: &ReadTx, policy: Policy, bundle: Bundle) -> Result<CheckInput> {
        let published_labels = tx.version_list(&policy).await?.published_labels;
        let guardrails = guardrails_in_force(tx, &policy.name.namespace).await?;
        let active = self.read_active(tx, &policy, &guardrails).await?;
        Ok(CheckInput { policy, bundle, published_labels, guardrails, active, moved: Arc::default() })
    }

    /// Reads the active version of a policy, if a guardrail looks at it.
    pub(super) async fn read_active(
        &self,
        tx: &ReadTx,
        policy: &Policy,
        guardrails: &[Guardrail],
    ) -> Result<Option<Bundle>> {
        if policy.active_version == 0 || !needs_active(guardrails) {
            return Ok(None);
        }
        let version = tx.version(&policy.name, policy.active_version).await?;
        let content = self.log.read_content(tx, &version).await?;
        Ok(Some(Bundle { version, content }))
    }

    /// Writes the report of failed checks, so that the author can read it. Nothing else changes.
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
