//! Deactivate: a pointer is removed, subscribers get a tombstone.

use super::use_cases::Policies;
use crate::domain::Result;
use crate::domain::command::Deactivate;
use crate::domain::event::{Change, EventKind};
use crate::domain::lifecycle;
use crate::domain::lifecycle::TargetFacts;
use crate::domain::outcome::Deactivated;
use crate::domain::pointed_policy::PointedPolicy;
use crate::domain::policy::Policy;
use crate::service::context::Context;

impl Policies {
    /// Removes the active pointer of a policy.
    ///
    /// # Errors
    /// `NO_ACTIVE_VERSION`, `EXPECTED_ACTIVE_MISMATCH`, `REQUIREMENT_BROKEN`, `POLICY_NOT_FOUND`, `INVALID_ARGUMENT`.
    pub async fn deactivate(&self, context: &Context, request: Deactivate) -> Result<Deactivated> {
        lifecycle::check_reason(&request.reason)?;
        let call = self.writer.call(context, "Deactivate", &request)?;
        call.mutate(&request.policy.namespace, async |write| {
            let policy = write.tx.read().policy(&request.policy).await?;
            let pointer = match lifecycle::deactivate(&policy, request.expected_active) {
                Ok(pointer) => pointer,
                Err(refusal) => return Err(self.add_who_moved(write.tx.read(), &[policy], refusal).await),
            };
            self.check_dependents(write, &[TargetFacts { policy: &policy, version: None }]).await?;
            let change = Change {
                reason: request.reason,
                pointers: vec![pointer],
                ..Change::new(EventKind::Deactivate, Some(&policy.name.policy))
            };
            let (activation, recorded) = write.record_activation(change).await?;
            let active_revision = recorded.cursor.map_or(0, |at| at.cursor.revision);
            let policy = Policy { active_version: 0, active_revision, ..policy };
            let policy = PointedPolicy { policy, activation: recorded.cursor };
            Ok(Deactivated { policy, activation, cursor: recorded.cursor })
        })
        .await
    }
}
