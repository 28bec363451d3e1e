//! Publish: the draft becomes the published version, signed; with `activate` it becomes active in the same transaction.

use super::use_cases::Policies;
use crate::domain::access::{Permission, Rpc};
use crate::domain::command::Publish;
use crate::domain::event::EventKind;
use crate::domain::lifecycle;
use crate::domain::lifecycle::TargetFacts;
use crate::domain::outcome::Published;
use crate::domain::{Error, Result};
use crate::service::checking::CheckKind;
use crate::service::context::Context;

fn check_request(request: &Publish) -> Result<()> {
    if request.expected_active.is_some() && !request.activate {
        return Err(Error::invalid("expected_active", "can be given only with activate"));
    }
    if request.activate || request.break_glass {
        return lifecycle::check_reason(&request.reason);
    }
    lifecycle::check_note("reason", &request.reason)
}

impl Policies {
    /// Publishes a version, staging it first when the caller did not.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`, `VERSION_NOT_OPEN`, `VALIDATION_FAILED`, `ETAG_MISMATCH`, `EXPECTED_ACTIVE_MISMATCH`, `APPROVALS_MISSING`,
    /// `SEVERAL_OPEN_DRAFTS`, `REQUIREMENT_BROKEN`, `CONCURRENT_CHANGE`, `INVALID_ARGUMENT`.
    pub async fn publish(&self, context: &Context, request: Publish) -> Result<Published> {
        let namespace = request.target.namespace();
        if request.activate {
            self.denials.require(context, namespace, Rpc::Publish, Permission::Activate)?;
        }
        if request.break_glass {
            self.denials.require(context, namespace, Rpc::Publish, Permission::Administer)?;
        }
        check_request(&request)?;
        let call = self.writer.call(context, "Publish", &request)?;
        let tx = self.log.store.read().await?;
        if let Some(answer) = call.replayed(&tx).await? {
            return Ok(answer);
        }
        let input = self.read_check_input(&tx, &request.target).await?;
        self.check_expected_active(&tx, &input.policy, request.expected_active).await?;
        drop(tx);
        let kind = if request.activate { CheckKind::BeforePublishAndActivation } else { CheckKind::BeforePublish };
        let (input, report) = self.checks.check(input, kind, context.now).await?;
        if !context.options.validate_only {
            self.keep_failed_report(&input.bundle.version, &report).await?;
        }
        // Checks everything but the approvals, which are counted under the lock.
        lifecycle::stage(&input.bundle.version, request.etag.as_ref(), &report)?;

        let name = &input.policy.name;
        call.mutate(&name.namespace, async |write| {
            let (policy, version) = input.still_holds(write.tx.read()).await?;
            self.check_expected_active(write.tx.read(), &policy, request.expected_active).await?;
            let basis =
                self.basis(write, &policy, &version, request.etag.as_ref(), &report, request.break_glass).await?;
            let (version, mut change) = self.write_published(write, version, &report, &basis, request.reason).await?;
            if basis.broke_glass {
                change.kind = EventKind::BreakGlass;
            } else if request.activate {
                change.kind = EventKind::Activate;
            }
            if basis.broke_glass && !context.options.validate_only {
                self.break_glass.alarm(context, &version);
            }
            if !request.activate {
                let recorded = write.record(change).await?;
                return Ok(Published { version, cursor: recorded.cursor, activation: None });
            }
            change.pointers.push(lifecycle::point(&policy, &version)?);
            let target = TargetFacts { policy: &policy, version: Some(&version) };
            self.check_others(write, Some(&report), &change, target).await?;
            let (activation, recorded) = write.record_activation(change).await?;
            Ok(Published { version, cursor: recorded.cursor, activation: Some(activation) })
        })
        .await
    }
}
