//! UpdateGuardrails: compiled and tried over the active versions before anything is locked, then written as one event.

use std::sync::Arc;
use std::time::Duration;

use super::use_cases::Policies;
use crate::checks::{TaskAnswer, TaskOutcome};
use crate::domain::bundle::Bundle;
use crate::domain::command::{PageRequest, UpdateGuardrails};
use crate::domain::event::{Change, EventKind};
use crate::domain::guardrail::{Guardrail, GuardrailSet, GuardrailSeverity};
use crate::domain::lifecycle::{check_etag, check_note};
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::outcome::{GuardrailViolation, GuardrailsChanged};
use crate::domain::policy::Policy;
use crate::domain::version::Version;
use crate::domain::{Reason, Result};
use crate::service::checking::CheckInput;
use crate::service::context::Context;

/// Number of active versions that a new set is tried on. More: the call may take longer than its caller waits.
const VERSIONS_TRIED_MAX: usize = 1_000;
/// Wall-clock time of a trial, within the time that clients give a call.
const TRIAL_MAX: Duration = Duration::from_secs(10);
/// Number of violations in the answer.
const VIOLATIONS_MAX: usize = 100;
/// Number of policies and of namespaces that are read at once.
const PAGE: u32 = 200;

/// What a set would do to the active versions.
#[derive(Debug, Default)]
struct Trial {
    violations: Vec<GuardrailViolation>,
    versions_tried: usize,
    versions_active: usize,
}

impl Policies {
    /// Replaces the guardrails of a namespace, or of the store.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `ETAG_MISMATCH`, `INVALID_ARGUMENT`, also for an expression that does not compile; `CHECKS_UNAVAILABLE`,
    /// `LIMIT_EXCEEDED`.
    pub async fn update_guardrails(&self, context: &Context, request: UpdateGuardrails) -> Result<GuardrailsChanged> {
        check_note("reason", &request.reason)?;
        let call = self.writer.call(context, "UpdateGuardrails", &request)?;
        let tx = self.log.store.read().await?;
        if let Some(answer) = call.replayed(&tx).await? {
            return Ok(answer);
        }
        tx.namespace(&request.namespace).await?;
        drop(tx);
        self.checks.contents.check_guardrails(&request.namespace, &request.guardrails).await?;
        let mut trial = Trial::default();
        // What was tried by then is the answer.
        if let Ok(tried) = tokio::time::timeout(TRIAL_MAX, self.try_on_active(&request, &mut trial)).await {
            tried?;
        }
        call.mutate(&request.namespace, async |write| {
            let [_, before] = write.tx.read().guardrails(&request.namespace).await?;
            check_etag(request.etag.as_ref(), &before.etag(), "the guardrails")?;
            let guardrails = GuardrailSet {
                namespace: request.namespace.clone(),
                guardrails: request.guardrails,
                edits: before.edits + 1,
                update_time: write.time(),
            };
            write.tx.put_guardrails(&guardrails).await?;
            let settings = Some(serde_json::json!({ "guardrails": guardrails.guardrails }));
            let change = Change { reason: request.reason, settings, ..Change::new(EventKind::UpdateGuardrails, None) };
            let recorded = write.record(change).await?;
            let Trial { violations, versions_tried, versions_active } = trial;
            let versions_not_tried = versions_active - versions_tried;
            Ok(GuardrailsChanged {
                guardrails,
                violations,
                versions_tried,
                versions_not_tried,
                cursor: recorded.cursor,
            })
        })
        .await
    }

    /// Tries new guardrails on the active versions of their namespace, or of all.
    async fn try_on_active(&self, request: &UpdateGuardrails, trial: &mut Trial) -> Result<()> {
        if request.guardrails.is_empty() {
            return Ok(());
        }
        // Those that refuse come first, as in the check: a warning that exceeds a limit must not hide one of them.
        let mut guardrails = request.guardrails.clone();
        guardrails.sort_by_key(|guardrail| guardrail.severity == GuardrailSeverity::Warn);
        if !request.namespace.is_system() {
            return self.try_in(&request.namespace, &guardrails, trial).await;
        }
        let mut after = None;
        loop {
            let tx = self.log.store.read().await?;
            let page = tx.namespaces(&PageRequest { size: PAGE, after }).await?;
            drop(tx);
            for namespace in &page {
                self.try_in(&namespace.id, &guardrails, trial).await?;
            }
            match page.into_iter().next_back() {
                Some(last) => after = Some(last.id),
                None => return Ok(()),
            }
        }
    }

    async fn try_in(&self, namespace: &NamespaceId, guardrails: &[Guardrail], trial: &mut Trial) -> Result<()> {
        let mut after: Option<PolicyId> = None;
        loop {
            let tx = self.log.store.read().await?;
            let page = tx.policies(namespace, &PageRequest { size: PAGE, after }).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.name.policy.clone());
            let active: Vec<_> = page.iter().filter(|policy| policy.active_version > 0).collect();
            trial.versions_active += active.len();
            let named: Vec<_> = active.iter().map(|policy| (&policy.name.policy, policy.active_version)).collect();
            let versions = tx.versions_named(namespace, &named).await?;
            drop(tx);
            for version in versions {
                let policy = active.iter().find(|policy| policy.name == version.policy);
                if let (Some(policy), true) = (policy, trial.versions_tried < VERSIONS_TRIED_MAX) {
                    self.try_one((*policy).clone(), version, guardrails, trial).await?;
                }
            }
        }
    }

    async fn try_one(
        &self,
        policy: Policy,
        version: Version,
        guardrails: &[Guardrail],
        trial: &mut Trial,
    ) -> Result<()> {
        let tx = self.log.store.read().await?;
        let content = match self.log.read_content(&tx, &version).await {
            Ok(content) => content,
            // A version that is damaged counts as not tried: it must not keep everybody's guardrails from changing.
            Err(error) if error.reason == Reason::DataLoss => return Ok(()),
            Err(error) => return Err(error),
        };
        drop(tx);
        let bundle = Bundle { version, content };
        let name = bundle.version.name();
        let input = CheckInput {
            policy,
            // An active version that is activated again is compared with itself.
            active: Some(bundle.clone()),
            bundle,
            published_labels: Vec::new(),
            guardrails: guardrails.to_vec(),
            moved: Arc::default(),
        };
        let outcomes = self.checks.contents.try_guardrails(input).await?;
        trial.versions_tried += 1;
        for (guardrail, outcome) in guardrails.iter().zip(outcomes) {
            let broken: Vec<(String, String)> = match outcome {
                TaskOutcome::Answered(TaskAnswer::Findings(findings)) => {
                    findings.into_iter().map(|finding| (finding.message, finding.pointer)).collect()
                }
                TaskOutcome::Answered(TaskAnswer::Unusable(why)) => vec![(why, String::new())],
                TaskOutcome::OverLimit(limit) => vec![(limit.message("the guardrail"), String::new())],
                TaskOutcome::NotRun => {
                    vec![("was not evaluated: the one before it exceeded a limit".to_owned(), String::new())]
                }
            };
            let violation = |(message, pointer)| GuardrailViolation {
                version: name.clone(),
                guardrail: guardrail.id.clone(),
                severity: guardrail.severity,
                message,
                pointer,
            };
            let room = VIOLATIONS_MAX.saturating_sub(trial.violations.len());
            trial.violations.extend(broken.into_iter().map(violation).take(room));
        }
        Ok(())
    }
}
