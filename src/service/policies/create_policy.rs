//! CreatePolicy.

use super::use_cases::Policies;
use crate::checks::check_has_parser;
use crate::domain::command::CreatePolicy;
use crate::domain::event::{Change, EventKind};
use crate::domain::lifecycle::check_note;
use crate::domain::outcome::{PolicyChanged, RuleTrial};
use crate::domain::pointed_policy::PointedPolicy;
use crate::domain::policy::Policy;
use crate::domain::{Error, Reason, Result};
use crate::service::context::Context;

pub(super) fn describe_policy(kind: EventKind, policy: &Policy) -> Result<Change> {
    let settings = serde_json::json!({
        "kind": policy.kind, "description": policy.description, "settings": policy.settings,
    });
    Ok(Change { settings: Some(settings), ..Change::new(kind, Some(&policy.name.policy)) })
}

impl Policies {
    /// Creates a policy.
    ///
    /// # Errors
    /// `UNIMPLEMENTED`, `POLICY_EXISTS`, `NAMESPACE_NOT_FOUND`, `INVALID_SCHEMA`, `CHECKS_UNAVAILABLE`, `LIMIT_EXCEEDED`, `QUOTA_EXCEEDED`, `INVALID_ARGUMENT`.
    pub async fn create_policy(&self, context: &Context, request: CreatePolicy) -> Result<PolicyChanged> {
        check_note("description", &request.description)?;
        check_has_parser(request.kind)?;
        request.kind.check_json_schema(&request.settings.json_schema)?;
        self.checks.contents.check_schema(&request.policy.namespace, &request.settings.json_schema).await?;
        let call = self.writer.call(context, "CreatePolicy", &request)?;
        let namespace = request.policy.namespace.clone();
        call.mutate(&namespace, async |write| {
            if write.tx.read().find_policy(&request.policy).await?.is_some() {
                let message = format!("{} exists already", request.policy);
                return Err(Error::new(Reason::PolicyExists, message).about(&request.policy));
            }
            let policy = Policy {
                description: request.description,
                settings: request.settings,
                ..Policy::new(request.policy, request.kind, write.time())
            };
            self.meters.insert_policy(&mut write.tx, &policy).await?;
            let recorded = write.record(describe_policy(EventKind::CreatePolicy, &policy)?).await?;
            let policy = PointedPolicy { policy, activation: None };
            Ok(PolicyChanged { policy, trial: RuleTrial::default(), cursor: recorded.cursor })
        })
        .await
    }
}
