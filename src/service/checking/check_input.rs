//! The input of the checks of a version, and whether it is still current under the lock.

use std::sync::Arc;

use crate::checks;
use crate::checks::{CheckRules, Evaluation, Facts, OtherPolicies, ParsedInput, Started, TaskOutcome};
use crate::domain::bundle::Bundle;
use crate::domain::event::PointerChange;
use crate::domain::guardrail::Guardrail;
use crate::domain::label::Label;
use crate::domain::name::NamespaceId;
use crate::domain::policy::{BumpRule, Policy, is_of_several_files};
use crate::domain::report::Report;
use crate::domain::time::Micros;
use crate::domain::version::Version;
use crate::domain::{Error, Reason, Result};
use crate::store::{ReadTx, WriteTx};

/// The scope of the checks of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckKind {
    /// All checks: the version is about to be published.
    BeforePublish,
    /// All checks: the version is about to be published and to be active.
    BeforePublishAndActivation,
    /// All but those of label and media type: the version was published before, and is about to be active.
    AfterPublish,
}

/// The data on which the checks of a version depend. It is compared with the data found under the lock.
#[derive(Debug)]
pub struct CheckInput {
    /// The policy of the version.
    pub policy: Policy,
    /// The version, with its content.
    pub bundle: Bundle,
    /// Labels of the other published versions of the policy.
    pub published_labels: Vec<Label>,
    /// The guardrails of the store, then those of the namespace.
    pub guardrails: Vec<Guardrail>,
    /// The active version of the policy, if a guardrail looks at it.
    pub active: Option<Bundle>,
    /// The pointers that the call moves, which count as moved for the checks.
    pub moved: Arc<[PointerChange]>,
}

impl CheckInput {
    /// Runs the checks that need only the content.
    pub fn parse(&self, kind: CheckKind) -> ParsedInput {
        checks::parse_input(&self.input(kind, &Facts::default()))
    }

    /// Runs the other checks whose cost their code bounds. Returns them with the evaluation that is left for a worker.
    pub fn start(&self, kind: CheckKind, parsed: ParsedInput, others: &OtherPolicies) -> (Started, Option<Evaluation>) {
        checks::start(&self.input(kind, &self.facts()), parsed, others)
    }

    /// Makes the report of the outcomes of the evaluation.
    pub fn report(&self, started: Started, outcomes: Vec<TaskOutcome>, now: Micros) -> Report {
        let mut report = started.report(outcomes, now);
        let has_several_files = is_of_several_files(&self.bundle.version.content_type);
        checks::add_places(&mut report, self.policy.kind, has_several_files, &self.bundle.content);
        report
    }

    fn input<'a>(&'a self, kind: CheckKind, facts: &'a Facts) -> checks::Input<'a> {
        let version = &self.bundle.version;
        let (label, content_type) = match kind {
            CheckKind::BeforePublish | CheckKind::BeforePublishAndActivation => {
                (version.label.as_ref(), Some(version.content_type.as_str()))
            }
            CheckKind::AfterPublish => (None, None),
        };
        checks::Input {
            kind: self.policy.kind,
            content: &self.bundle.content,
            content_type,
            has_several_files: is_of_several_files(&version.content_type),
            digest: &version.digest,
            label,
            settings: &self.policy.settings,
            published_labels: &self.published_labels,
            guardrails: &self.guardrails,
            facts,
            active_version: self.policy.active_version,
        }
    }

    /// Returns the evaluation of the guardrails alone, for a content that was published before.
    pub fn evaluate_guardrails(&self) -> Evaluation {
        checks::evaluate_guardrails(&self.input(CheckKind::AfterPublish, &self.facts()))
    }

    fn facts(&self) -> Facts {
        let active = self.active.as_ref().map(|active| {
            let has_several_files = is_of_several_files(&active.version.content_type);
            let content = checks::content_value(self.policy.kind, has_several_files, &active.content);
            serde_json::json!({
                "number": active.version.number,
                "label": active.version.label.as_ref().map(ToString::to_string),
                "content": content,
            })
        });
        Facts { active, ..known_facts(&self.policy, &self.bundle.version) }
    }

    /// Reads again under the lock the data on which the checks depended.
    ///
    /// # Errors
    /// `CONCURRENT_CHANGE` when it has changed.
    pub async fn still_holds(&self, tx: &ReadTx) -> Result<(Policy, Version)> {
        let version = &self.bundle.version;
        let policy_now = tx.policy(&self.policy.name).await?;
        let version_now = tx.version(&self.policy.name, version.number).await?;
        let labels_hold = version.label.is_none()
            || (self.policy.settings.allow_backport && self.policy.settings.bump_rule == BumpRule::Any)
            || tx.version_list(&policy_now).await?.published_labels == self.published_labels;
        let guardrails_hold = guardrails_in_force(tx, &policy_now.name.namespace).await? == self.guardrails
            && (!checks::needs_active(&self.guardrails) || policy_now.active_version == self.policy.active_version);
        let rows_hold = policy_now.edits == self.policy.edits && version_now.edits == version.edits;
        if rows_hold && labels_hold && guardrails_hold {
            return Ok((policy_now, version_now));
        }
        Err(changed_meanwhile(version))
    }
}

/// Returns the refusal of a version that changed while it was checked.
pub fn changed_meanwhile(version: &Version) -> Error {
    let message = format!("{} or its policy changed while it was checked; try again", version.name());
    Error::new(Reason::ConcurrentChange, message).about(version.name())
}

/// Returns the guardrails of the store and of a namespace, in this order.
pub async fn guardrails_in_force(tx: &ReadTx, namespace: &NamespaceId) -> Result<Vec<Guardrail>> {
    Ok(tx.guardrails(namespace).await?.into_iter().flat_map(|set| set.guardrails).collect())
}

/// Returns what guardrails know of a version besides its content.
fn known_facts(policy: &Policy, version: &Version) -> Facts {
    let known = [
        (
            "policy",
            serde_json::json!({
                "id": policy.name.policy,
                "namespace": policy.name.namespace,
                "kind": policy.kind.as_str(),
                "description": policy.description,
                "required_approvals": policy.settings.required_approvals,
            }),
        ),
        (
            "version",
            serde_json::json!({
                "number": version.number,
                "label": version.label.as_ref().map(ToString::to_string),
                "author": version.author,
                "change_note": version.change_note,
                "annotations": version.annotations,
            }),
        ),
    ];
    let known = known.into_iter().map(|(name, fact)| (name.to_owned(), fact)).collect();
    Facts { known, ..Facts::default() }
}

/// Returns whether a report is of these bytes and today's rules, for a version that is to be active. What it looked up may have changed
/// (`is_still_active`).
pub fn is_of_today(report: &Report, policy: &Policy, version: &Version, guardrails: &[Guardrail]) -> bool {
    has_todays_rules(report, policy, version, guardrails) && report.is_of_an_active_version()
}

/// Returns whether a report is of these bytes and today's rules.
pub fn has_todays_rules(report: &Report, policy: &Policy, version: &Version, guardrails: &[Guardrail]) -> bool {
    let rules = CheckRules {
        kind: policy.kind,
        settings: &policy.settings,
        guardrails,
        facts: &known_facts(policy, version),
        active_version: policy.active_version,
    };
    report.is_of(&version.digest, &rules.hash())
}

/// Writes the report of failed checks, unless the version changed. Returns whether it wrote the report.
pub async fn put_failed_report(tx: &WriteTx, version: &Version, report: &Report) -> Result<bool> {
    let now = tx.read().version(&version.policy, version.number).await?;
    let is_the_same = now.edits == version.edits;
    if is_the_same {
        tx.put_report(&version.policy, version.number, report).await?;
    }
    Ok(is_the_same)
}
