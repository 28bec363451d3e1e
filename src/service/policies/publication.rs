//! The writes of a publication, for every verb that publishes.

use super::use_cases::Policies;
use super::version_change::describe_version;
use crate::domain::Result;
use crate::domain::approval::Approval;
use crate::domain::etag::Etag;
use crate::domain::event::{Change, EventKind};
use crate::domain::lifecycle;
use crate::domain::lifecycle::{PublishBasis, PublishFacts};
use crate::domain::policy::Policy;
use crate::domain::report::Report;
use crate::domain::time::Micros;
use crate::domain::version::{Version, VersionState};
use crate::service::context::Context;
use crate::service::log::Write;
use crate::service::proof::Signer;

/// Returns a version in its published state, signed, with the time of the event.
pub(super) fn sign_version(signer: &Signer, context: &Context, version: Version, time: Micros) -> Result<Version> {
    let publisher = context.actor();
    // With `validate_only` nothing is signed: the signature would stay valid.
    let manifest =
        if context.options.validate_only { String::new() } else { signer.manifest(&version, &publisher, time)? };
    Ok(Version {
        state: VersionState::Published,
        publisher,
        manifest,
        edits: version.edits + 1,
        stage_time: version.stage_time.or(Some(time)),
        publish_time: Some(time),
        ..version
    })
}

impl Policies {
    /// Signs a version and writes its rows. Returns it, and the change that its event has to record.
    pub(super) async fn write_published(
        &self,
        write: &Write<'_>,
        version: Version,
        report: &Report,
        basis: &PublishBasis,
        reason: String,
    ) -> Result<(Version, Change)> {
        let version = sign_version(&self.log.signer, write.context(), version, write.time())?;
        write.tx.update_version(&version).await?;
        write.tx.put_report(&version.policy, version.number, report).await?;
        let change = Change {
            reason,
            versions: vec![describe_version(&version)],
            approvals: basis.approvals.iter().map(Approval::for_log).collect(),
            ..Change::new(EventKind::Publish, Some(&version.policy.policy))
        };
        Ok((version, change))
    }

    /// Returns what the publication of a version is based on: its report, and its approvals as read under the lock.
    ///
    /// # Errors
    /// Those of `lifecycle::publish`.
    pub(super) async fn basis(
        &self,
        write: &Write<'_>,
        policy: &Policy,
        version: &Version,
        etag: Option<&Etag>,
        report: &Report,
        break_glass: bool,
    ) -> Result<PublishBasis> {
        let approvals = if policy.settings.required_approvals > 0 {
            self.read_approvals(write.tx.read(), version).await?
        } else {
            Vec::new()
        };
        let facts = PublishFacts { policy, version, approvals: &approvals, now: write.time() };
        lifecycle::publish(facts, etag, report, break_glass)
    }
}
