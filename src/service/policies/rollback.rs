//! Rollback: a new event activates an older version. Nothing is deleted, and a rollback can be rolled back.

use super::pointer_checks::check_unmoved;
use super::publication::sign_version;
use super::use_cases::Policies;
use super::version_change::describe_version;
use crate::domain::access::{Permission, Rpc};
use crate::domain::command::{Rollback, RollbackTarget};
use crate::domain::event::{Change, EventKind};
use crate::domain::lifecycle;
use crate::domain::lifecycle::TargetFacts;
use crate::domain::name::PolicyName;
use crate::domain::outcome::RolledBack;
use crate::domain::policy::Policy;
use crate::domain::report::Report;
use crate::domain::version::Version;
use crate::domain::{Error, Reason, Result};
use crate::service::checking::CheckInput;
use crate::service::context::Context;
use crate::service::log::Write;
use crate::store::ReadTx;

impl Policies {
    /// Activates an older version, at a new revision.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`, `NO_PREVIOUS_VERSION`, `VERSION_NOT_FOUND`, `VERSION_NOT_PUBLISHED`, `ALREADY_ACTIVE`,
    /// `EXPECTED_ACTIVE_MISMATCH`, `VALIDATION_FAILED`, `REQUIREMENT_BROKEN`, `KEY_STATE_WRONG`, `APPROVALS_MISSING` and
    /// `QUOTA_EXCEEDED` for a copy, `CONCURRENT_CHANGE`, `INVALID_ARGUMENT`.
    pub async fn rollback(&self, context: &Context, request: Rollback) -> Result<RolledBack> {
        if request.copy_forward {
            self.denials.require(context, &request.policy.namespace, Rpc::Rollback, Permission::Publish)?;
        }
        if request.skip_validation {
            self.denials.require(context, &request.policy.namespace, Rpc::Rollback, Permission::Administer)?;
        }
        lifecycle::check_reason(&request.reason)?;
        if matches!(request.to, Some(RollbackTarget::Number(..1))) {
            return Err(Error::invalid("version", "must be a number from 1; leave it out for the version before"));
        }
        let call = self.writer.call(context, "Rollback", &request)?;
        let tx = self.log.store.read().await?;
        if let Some(answer) = call.replayed(&tx).await? {
            return Ok(answer);
        }
        let policy = tx.policy(&request.policy).await?;
        self.check_expected_active(&tx, &policy, request.expected_active).await?;
        let number = match &request.to {
            Some(RollbackTarget::Label(label)) => tx.labelled(&policy.name, label).await?.number,
            Some(RollbackTarget::Number(number)) => *number,
            None => self.find_version_before(&tx, &policy).await?,
        };
        let version = tx.version(&request.policy, number).await?;
        let input = self.check_input_of(&tx, policy, version).await?;
        let warnings = read_rejection_warnings(&tx, &request.policy, number).await?;
        let kept = tx.reports_named(&request.policy.namespace, &[(&request.policy.policy, number)]).await?;
        drop(tx);
        let (input, report) = if request.skip_validation {
            (input, None)
        } else {
            let (input, report) = self.checks.check_again(input, kept.into_values().next(), context.now).await?;
            (input, Some(report))
        };

        call.mutate(&request.policy.namespace, async |write| {
            let (policy, version) = input.still_holds(write.tx.read()).await?;
            self.check_unmoved_under_lock(write, &policy, &request).await?;
            // "The version before" may have changed: then the checks ran on the wrong one.
            if request.to.is_none() && policy.active_revision != input.policy.active_revision {
                return Err(Error::new(Reason::ConcurrentChange, "the active version changed meanwhile; try again"));
            }
            let pointer = lifecycle::rollback(&policy, &version, report.as_ref())?;
            self.log.signer.publishable(&version)?;
            let approvals = if request.copy_forward {
                Vec::new()
            } else {
                self.approvals_for_activation(write.tx.read(), &policy, &version, write.time()).await?
            };
            let mut change = Change {
                reason: request.reason.clone(),
                approvals,
                skipped_validation: request.skip_validation,
                ..Change::new(EventKind::Rollback, Some(&policy.name.policy))
            };
            let version = if request.copy_forward {
                let copy = self.copy_forward(context, write, &policy, &input, &request, report.as_ref()).await?;
                change.versions.push(describe_version(&copy));
                change.pointers.push(lifecycle::point(&policy, &copy)?);
                copy
            } else {
                change.pointers.push(pointer);
                version
            };
            let target = TargetFacts { policy: &policy, version: Some(&version) };
            self.check_others(write, report.as_ref(), &change, target).await?;
            let (activation, recorded) = write.record_activation(change).await?;
            Ok(RolledBack { version, activation, cursor: recorded.cursor, report, warnings })
        })
        .await
    }

    /// Checks that no pointer moved that the caller had read.
    async fn check_unmoved_under_lock(&self, write: &Write<'_>, policy: &Policy, request: &Rollback) -> Result<()> {
        if let Some(since) = request.unmoved_since {
            check_unmoved(write.tx.read(), &request.policy.namespace, write.tx.head(), since).await?;
        }
        self.check_expected_active(write.tx.read(), policy, request.expected_active).await
    }

    /// Publishes a copy of an older version as version n + 1.
    async fn copy_forward(
        &self,
        context: &Context,
        write: &mut Write<'_>,
        policy: &Policy,
        input: &CheckInput,
        request: &Rollback,
        report: Option<&Report>,
    ) -> Result<Version> {
        let source = &input.bundle.version;
        let number = policy.latest_version + 1;
        lifecycle::check_copy(policy, source)?;
        let copy = Version {
            number,
            // A label belongs to one version for ever.
            label: None,
            change_note: request.reason.clone(),
            base_version: source.number,
            source_version: source.number,
            author: context.actor(),
            edits: 0,
            create_time: write.time(),
            stage_time: Some(write.time()),
            // It is published here, whatever its source is.
            origin_manifests: Vec::new(),
            adopted: None,
            ..source.clone()
        };
        let copy = sign_version(&self.log.signer, context, copy, write.time())?;
        self.meters.admit_new_version(&write.tx, &copy)?;
        write.tx.insert_version(&copy).await?;
        write.tx.set_latest_version(&policy.name, number).await?;
        if let Some(report) = report {
            write.tx.put_report(&policy.name, number, report).await?;
        }
        Ok(copy)
    }
}

/// Returns a warning when subscribers rejected the version during an earlier activation.
async fn read_rejection_warnings(tx: &ReadTx, policy: &PolicyName, number: i64) -> Result<Vec<String>> {
    let found = tx.rejections(policy, number).await?;
    let warning = found.map(|(count, first, why)| {
        let who = if count == 1 { first } else { format!("{count} subscribers, {first} among them,") };
        format!("{who} rejected an activation of {}: {why}", policy.version(number))
    });
    Ok(warning.into_iter().collect())
}
