//! UpdatePolicy.

use super::create_policy::describe_policy;
use super::rule_trial::NewRules;
use super::use_cases::Policies;
use crate::checks::check_has_parser;
use crate::domain::command::{PageRequest, SettingsPatch, UpdatePolicy};
use crate::domain::event::EventKind;
use crate::domain::lifecycle::{check_etag, check_note};
use crate::domain::listing::VersionFilter;
use crate::domain::outcome::{PolicyChanged, RuleTrial};
use crate::domain::policy::{Policy, PolicyKind, PolicySettings};
use crate::domain::time::Micros;
use crate::domain::version::VersionState;
use crate::domain::{Error, Reason, Result};
use crate::service::context::Context;
use crate::store::ReadTx;

fn patch(settings: &mut PolicySettings, patch: SettingsPatch) {
    let SettingsPatch {
        max_open_drafts,
        json_schema,
        allow_backport,
        bump_rule,
        allow_draft_fallback,
        required_approvals,
        require_change_note,
        require_base_active,
        reference_keys,
    } = patch;
    settings.max_open_drafts = max_open_drafts.unwrap_or(settings.max_open_drafts);
    settings.allow_backport = allow_backport.unwrap_or(settings.allow_backport);
    settings.bump_rule = bump_rule.unwrap_or(settings.bump_rule);
    settings.allow_draft_fallback = allow_draft_fallback.unwrap_or(settings.allow_draft_fallback);
    settings.required_approvals = required_approvals.unwrap_or(settings.required_approvals);
    settings.require_change_note = require_change_note.unwrap_or(settings.require_change_note);
    settings.require_base_active = require_base_active.unwrap_or(settings.require_base_active);
    if let Some(schema) = json_schema {
        settings.json_schema = schema;
    }
    if let Some(keys) = reference_keys {
        settings.reference_keys = keys;
    }
}

/// Checks that the kind of a policy may change: only while none of its versions is published, because those were checked as the old kind.
async fn check_kind_change(tx: &ReadTx, policy: &Policy, kind: PolicyKind) -> Result<()> {
    if kind == policy.kind {
        return Ok(());
    }
    check_has_parser(kind)?;
    let page = PageRequest { size: 1, after: None };
    let filter = VersionFilter::in_state(VersionState::Published);
    let Some(published) = tx.versions(&policy.name, &page, &filter).await?.pop() else { return Ok(()) };
    let message = format!(
        "{} is {} for ever: version {} is published; make another policy of kind {}",
        policy.name,
        policy.kind.as_str(),
        published.number,
        kind.as_str()
    );
    let error = Error::new(Reason::KindFixed, message).with("kind", policy.kind.as_str());
    Err(error.with("version", published.number).about(&policy.name))
}

impl Policies {
    /// Updates a policy.
    ///
    /// # Errors
    /// `POLICY_NOT_FOUND`, `ETAG_MISMATCH`, `KIND_FIXED`, `UNIMPLEMENTED`, `INVALID_SCHEMA`, `CHECKS_UNAVAILABLE`, `LIMIT_EXCEEDED`,
    /// `INVALID_ARGUMENT`.
    pub async fn update_policy(&self, context: &Context, request: UpdatePolicy) -> Result<PolicyChanged> {
        if let Some(schema) = &request.settings.json_schema {
            self.checks.contents.check_schema(&request.policy.namespace, schema).await?;
        }
        let call = self.writer.call(context, "UpdatePolicy", &request)?;
        let tx = self.log.store.read().await?;
        if let Some(answer) = call.replayed(&tx).await? {
            return Ok(answer);
        }
        let found = tx.find_policy(&request.policy).await?;
        drop(tx);
        let trial = match found {
            Some(policy) => {
                // Decided below, under the lock; here it saves the trial for nothing.
                check_etag(request.etag.as_ref(), &policy.etag(), &policy.name.to_string())?;
                self.try_settings(policy, &request, context.now).await?
            }
            // The refusal comes from below, where it is known whether it is the namespace that does not exist.
            None => RuleTrial::default(),
        };
        call.mutate(&request.policy.namespace, async |write| {
            let mut policy = write.tx.read().policy(&request.policy).await?;
            check_etag(request.etag.as_ref(), &policy.etag(), &policy.name.to_string())?;
            if let Some(description) = request.description {
                check_note("description", &description)?;
                policy.description = description;
            }
            if let Some(kind) = request.kind {
                check_kind_change(write.tx.read(), &policy, kind).await?;
                policy.kind = kind;
            }
            let required_before = policy.settings.required_approvals;
            patch(&mut policy.settings, request.settings);
            policy.kind.check_json_schema(&policy.settings.json_schema)?;
            if policy.settings.required_approvals < required_before && !context.options.validate_only {
                self.lowered_approvals.alarm(context, &policy, required_before);
            }
            policy.edits += 1;
            policy.update_time = write.time();
            write.tx.update_policy(&policy).await?;
            let recorded = write.record(describe_policy(EventKind::UpdatePolicy, &policy)?).await?;
            let policy = self.add_activation(write.tx.read(), policy).await?;
            Ok(PolicyChanged { policy, trial, cursor: recorded.cursor })
        })
        .await
    }

    /// Tries the settings that a request leads to on the published versions of the policy.
    async fn try_settings(&self, policy: Policy, request: &UpdatePolicy, now: Micros) -> Result<RuleTrial> {
        let mut settings = policy.settings.clone();
        patch(&mut settings, request.settings.clone());
        self.try_rules(&NewRules::settings(policy, settings), now).await
    }
}
