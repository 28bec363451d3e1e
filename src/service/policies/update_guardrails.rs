//! UpdateGuardrails: compiled and tried on published versions before anything is locked, then written as one event.

use super::rule_trial::NewRules;
use super::use_cases::Policies;
use crate::domain::Result;
use crate::domain::command::UpdateGuardrails;
use crate::domain::event::{Change, EventKind};
use crate::domain::guardrail::{Guardrail, GuardrailSet};
use crate::domain::lifecycle::{check_etag, check_note};
use crate::domain::outcome::GuardrailsChanged;
use crate::service::context::Context;

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
        let [_, before] = tx.guardrails(&request.namespace).await?;
        // Decided below, under the lock; here it saves the trial for nothing.
        check_etag(request.etag.as_ref(), &before.etag(), "the guardrails")?;
        drop(tx);
        self.checks.contents.check_guardrails(&request.namespace, &request.guardrails).await?;
        let trial = self.try_rules(&NewRules::guardrails(&request.namespace, &request.guardrails), context.now).await?;
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
            let (set, deleted) = changed_ids(&before.guardrails, &guardrails.guardrails);
            let settings =
                Some(serde_json::json!({ "guardrails": guardrails.guardrails, "set": set, "deleted": deleted }));
            let change = Change { reason: request.reason, settings, ..Change::new(EventKind::UpdateGuardrails, None) };
            let recorded = write.record(change).await?;
            Ok(GuardrailsChanged { guardrails, trial, cursor: recorded.cursor })
        })
        .await
    }
}

/// Returns the ids of the guardrails that are new or differ, and of those that are there no more.
fn changed_ids<'a>(before: &'a [Guardrail], after: &'a [Guardrail]) -> (Vec<&'a str>, Vec<&'a str>) {
    let set = after.iter().filter(|each| !before.contains(each)).map(|each| each.id.as_str());
    let deleted =
        before.iter().filter(|each| after.iter().all(|other| other.id != each.id)).map(|each| each.id.as_str());
    (set.collect(), deleted.collect())
}
