//! Tries new rules on the versions that are published already, and says which of them they would refuse. It refuses nothing by that.
//!
//! It runs without the lock of a namespace: each version takes a worker process, and all of them may take seconds.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::use_cases::Policies;
use crate::checks::guardrail_findings;
use crate::domain::bundle::Bundle;
use crate::domain::guardrail::{Guardrail, GuardrailSeverity};
use crate::domain::limits::CALL_TIMEOUT_DEFAULT_SECONDS;
use crate::domain::name::{NamespaceId, PolicyName};
use crate::domain::outcome::{RuleTrial, RuleViolation};
use crate::domain::policy::{Policy, PolicyKind, PolicySettings};
use crate::domain::report::{
    CheckFinding, CheckResult, GUARDRAILS_CHECK, JSON_SCHEMA_CHECK, REFERENCES_CHECK, Severity,
};
use crate::domain::time::Micros;
use crate::domain::version::{Version, VersionState};
use crate::domain::{Reason, Result};
use crate::service::checking::{CheckInput, CheckKind};
use crate::store::{PublishedScope, ReadTx};

/// Number of versions that new rules are tried on. More: the call may take longer than its caller waits.
const VERSIONS_TRIED_MAX: usize = 1_000;
/// Wall-clock time of a trial, within the time that clients give a call.
const TRIAL_MAX: Duration = Duration::from_secs(10);
const _: () = assert!(TRIAL_MAX.as_secs() < CALL_TIMEOUT_DEFAULT_SECONDS);
/// Number of violations in the answer.
const VIOLATIONS_MAX: usize = 100;
/// The checks of a published version that the settings of its policy decide.
const CHECKS_OF_SETTINGS: [&str; 2] = [JSON_SCHEMA_CHECK, REFERENCES_CHECK];
/// What a violation names as its check when approvals are missing. It is no check of a report.
const APPROVALS: &str = "approvals";

/// The rules that are tried.
pub(super) enum NewRules {
    /// The guardrails of a namespace, or of the store.
    Guardrails { namespace: NamespaceId, guardrails: Vec<Guardrail> },
    /// The settings of a policy, which is as it would be with them.
    Settings { policy: Box<Policy>, trial_scope: TrialScope },
}

/// What of published versions new settings may refuse, and so is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TrialScope {
    /// Whether their contents pass the checks.
    contents: bool,
    /// Whether versions that another store published have enough approvals.
    approvals: bool,
}

impl NewRules {
    /// Returns the guardrails of a namespace, those that refuse first, as in the check: a warning that exceeds a limit must not hide
    /// one of them.
    pub fn guardrails(namespace: &NamespaceId, guardrails: &[Guardrail]) -> Self {
        let mut guardrails = guardrails.to_vec();
        guardrails.sort_by_key(|guardrail| guardrail.severity == GuardrailSeverity::Warn);
        Self::Guardrails { namespace: namespace.clone(), guardrails }
    }

    /// Returns new settings of a policy.
    pub fn settings(before: Policy, settings: PolicySettings) -> Self {
        let is_checked = matches!(before.kind, PolicyKind::Json | PolicyKind::Yaml);
        let is_other = settings.json_schema != before.settings.json_schema
            || settings.reference_keys != before.settings.reference_keys;
        let trial_scope = TrialScope {
            contents: is_checked && is_other,
            approvals: settings.required_approvals > before.settings.required_approvals,
        };
        // An approval counts for the policy as it was when it was given.
        let policy = Policy { settings, edits: before.edits + 1, ..before };
        Self::Settings { policy: Box::new(policy), trial_scope }
    }

    fn decide_nothing(&self) -> bool {
        match self {
            Self::Guardrails { guardrails, .. } => guardrails.is_empty(),
            Self::Settings { trial_scope, .. } => *trial_scope == TrialScope { contents: false, approvals: false },
        }
    }

    fn scope(&self) -> PublishedScope<'_> {
        match self {
            Self::Guardrails { namespace, .. } if namespace.is_system() => PublishedScope::Store,
            Self::Guardrails { namespace, .. } => PublishedScope::Namespace(namespace),
            Self::Settings { policy, .. } => PublishedScope::Policy(&policy.name),
        }
    }
}

impl Policies {
    /// Tries new rules on published versions: those that are active, then the newest ones.
    ///
    /// # Errors
    /// Errors of the database. What keeps a version from being checked is none: it counts as not tried.
    pub(super) async fn try_rules(&self, rules: &NewRules, now: Micros) -> Result<RuleTrial> {
        let mut trial = RuleTrial::default();
        if rules.decide_nothing() {
            return Ok(trial);
        }
        let scope = rules.scope();
        let tx = self.log.store.read().await?;
        let published = tx.count_published(scope).await?;
        let active = tx.active_names(scope, VERSIONS_TRIED_MAX).await?;
        let newest = tx.newest_published_names(scope, VERSIONS_TRIED_MAX).await?;
        drop(tx);
        let names = first_once(active.into_iter().chain(newest), VERSIONS_TRIED_MAX);
        // What was tried by then is the answer.
        if let Ok(tried) = tokio::time::timeout(TRIAL_MAX, self.try_each(rules, now, names, &mut trial)).await {
            match tried {
                // The next version would wait for the same.
                Err(error) if matches!(error.reason, Reason::ChecksUnavailable | Reason::LimitExceeded) => {}
                tried => tried?,
            }
        }
        let published = usize::try_from(published).unwrap_or(usize::MAX);
        trial.versions_not_tried = published.saturating_sub(trial.versions_tried);
        Ok(trial)
    }

    async fn try_each(
        &self,
        rules: &NewRules,
        now: Micros,
        names: Vec<(PolicyName, i64)>,
        trial: &mut RuleTrial,
    ) -> Result<()> {
        for (policy, number) in names {
            match self.try_one(rules, now, &policy, number, trial).await {
                // A version that is damaged, or whose rows are gone, must not keep everybody's rules from changing.
                Err(error)
                    if matches!(
                        error.reason,
                        Reason::DataLoss | Reason::VersionNotFound | Reason::PolicyNotFound | Reason::NamespaceNotFound
                    ) => {}
                tried => tried?,
            }
        }
        Ok(())
    }

    async fn try_one(
        &self,
        rules: &NewRules,
        now: Micros,
        name: &PolicyName,
        number: i64,
        trial: &mut RuleTrial,
    ) -> Result<()> {
        let tx = self.log.store.read().await?;
        let (policy, version) = (tx.policy(name).await?, tx.version(name, number).await?);
        if version.state != VersionState::Published {
            return Ok(());
        }
        let is_active = policy.active_version == number;
        let about = version.clone();
        let found = match rules {
            NewRules::Guardrails { guardrails, .. } => {
                let input = self.trial_input(&tx, policy, version, guardrails).await?;
                drop(tx);
                self.broken_guardrails(input).await?
            }
            NewRules::Settings { policy, trial_scope } => {
                let mut found = Vec::new();
                if trial_scope.approvals {
                    found.extend(self.missing_approvals(&tx, policy, &version, now).await?);
                }
                if trial_scope.contents {
                    let input = self.trial_input(&tx, (**policy).clone(), version, &[]).await?;
                    drop(tx);
                    found.extend(self.failed_checks(input, now).await?);
                }
                found
            }
        };
        trial.versions_tried += 1;
        let label = about.label.as_ref().map(ToString::to_string).unwrap_or_default();
        for violation in found {
            if trial.violations.len() < VIOLATIONS_MAX {
                let version = about.name();
                trial.violations.push(RuleViolation { version, label: label.clone(), is_active, ..violation });
            } else {
                trial.violations_not_listed += 1;
            }
        }
        Ok(())
    }

    /// Returns the input of the checks of a version as if it were activated next.
    async fn trial_input(
        &self,
        tx: &ReadTx,
        policy: Policy,
        version: Version,
        guardrails: &[Guardrail],
    ) -> Result<CheckInput> {
        let content = self.log.read_content(tx, &version).await?;
        let active = self.read_active(tx, &policy, guardrails).await?;
        Ok(CheckInput {
            policy,
            bundle: Bundle { version, content },
            published_labels: Vec::new(),
            guardrails: guardrails.to_vec(),
            active,
            moved: Arc::default(),
        })
    }

    /// Returns the first finding of each guardrail that does not hold.
    async fn broken_guardrails(&self, input: CheckInput) -> Result<Vec<RuleViolation>> {
        let guardrails = input.guardrails.clone();
        let outcomes = self.checks.contents.try_guardrails(input).await?;
        let broken = guardrails.into_iter().zip(outcomes).filter_map(|(guardrail, outcome)| {
            let Guardrail { id, severity, .. } = guardrail;
            let finding = guardrail_findings(&id, severity, outcome).into_iter().next()?;
            Some(RuleViolation { guardrail: id, ..violation(GUARDRAILS_CHECK, severity, finding) })
        });
        Ok(broken.collect())
    }

    /// Returns the first finding of each check that the settings decide and that fails.
    async fn failed_checks(&self, input: CheckInput, now: Micros) -> Result<Vec<RuleViolation>> {
        let (_, report) = self.checks.check(input, CheckKind::AfterPublish, now).await?;
        let of_settings = |id: &str| CHECKS_OF_SETTINGS.contains(&id);
        let failed =
            report.checks.into_iter().filter(|check| of_settings(&check.id) && check.result == CheckResult::Failed);
        let first = failed.filter_map(|check| {
            let finding = check.findings.into_iter().next()?;
            Some(violation(&check.id, GuardrailSeverity::Deny, finding))
        });
        Ok(first.collect())
    }

    async fn missing_approvals(
        &self,
        tx: &ReadTx,
        policy: &Policy,
        version: &Version,
        now: Micros,
    ) -> Result<Option<RuleViolation>> {
        match self.approvals_for_activation(tx, policy, version, now).await {
            Ok(_) => Ok(None),
            Err(refusal) if refusal.reason == Reason::ApprovalsMissing => {
                let finding = CheckFinding::new(Severity::Error, refusal.message);
                Ok(Some(violation(APPROVALS, GuardrailSeverity::Deny, finding)))
            }
            Err(error) => Err(error),
        }
    }
}

/// Returns the first of some names, each of them once.
fn first_once<T: Ord + Clone>(names: impl Iterator<Item = T>, max: usize) -> Vec<T> {
    let mut seen = BTreeSet::new();
    names.filter(|name| seen.insert(name.clone())).take(max).collect()
}

/// Returns a finding as a violation, without the version that it is about.
fn violation(check: &str, severity: GuardrailSeverity, finding: CheckFinding) -> RuleViolation {
    let CheckFinding { message, pointer, .. } = finding;
    RuleViolation {
        version: String::new(),
        label: String::new(),
        is_active: false,
        check: check.to_owned(),
        guardrail: String::new(),
        severity,
        message,
        pointer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn active_versions_come_first_and_no_version_twice() {
        assert_eq!(first_once([2, 9, 8, 2, 1].into_iter(), 10), [2, 9, 8, 1]);
        assert_eq!(
            first_once([2, 9, 2, 8, 1].into_iter(), 3),
            [2, 9, 8],
            "as many as may be, without those that come twice"
        );
        assert_eq!(first_once([2, 9].into_iter(), 2), [2, 9]);
    }
}
