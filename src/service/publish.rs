//! Publish: the draft becomes the published version, signed; with `activate` it is in force in the same transaction.

use std::sync::atomic::{AtomicU64, Ordering};

use super::check::CheckKind;
use super::draft::state_change;
use super::write::{Begun, Write};
use super::{Context, Service, Signer};
use crate::domain::access::{Permission, Rpc};
use crate::domain::approval::Approval;
use crate::domain::command::Publish;
use crate::domain::etag::Etag;
use crate::domain::event::{Change, EventKind};
use crate::domain::lifecycle::{self, PublishBasis, PublishFacts};
use crate::domain::outcome::Published;
use crate::domain::policy::Policy;
use crate::domain::report::Report;
use crate::domain::time::Micros;
use crate::domain::version::{Version, VersionState};
use crate::domain::{Error, Result};

/// A version as it is once published, at the time of the event.
pub(super) fn signed(signer: &Signer, context: &Context, version: Version, time: Micros) -> Result<Version> {
    let publisher = context.actor();
    // What is not published is not signed either: the signature would outlive the question.
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

/// Publications without the approvals they should have had.
#[derive(Debug, Default)]
pub(super) struct BreakGlass(AtomicU64);

impl BreakGlass {
    /// Tells people. Called before the commit: one whose end nobody knows must not go unseen.
    fn alarm(&self, context: &Context, version: &Version) {
        self.0.fetch_add(1, Ordering::Relaxed);
        let (version, actor) = (version.name(), context.actor());
        tracing::warn!(version, actor, "break-glass: a version is published without the approvals it needs");
    }
}

fn check_request(request: &Publish) -> Result<()> {
    if request.expected_active.is_some() && !request.activate {
        return Err(Error::invalid("expected_active", "can be given only with activate"));
    }
    if request.activate || request.break_glass {
        return lifecycle::check_reason(&request.reason);
    }
    lifecycle::check_note("reason", &request.reason)
}

impl Service {
    /// Publishes a version, staging it first when the caller did not.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`, `VERSION_NOT_OPEN`, `VALIDATION_FAILED`, `ETAG_MISMATCH`, `EXPECTED_ACTIVE_MISMATCH`, `APPROVALS_MISSING`,
    /// `SEVERAL_OPEN_DRAFTS`, `CONCURRENT_CHANGE`, `INVALID_ARGUMENT`.
    pub async fn publish(&self, context: &Context, request: Publish) -> Result<Published> {
        let namespace = request.target.namespace();
        if request.activate {
            self.require(context, namespace, Rpc::Publish, Permission::Activate)?;
        }
        if request.break_glass {
            self.require(context, namespace, Rpc::Publish, Permission::Administer)?;
        }
        check_request(&request)?;
        let call = self.call(context, "Publish", &request)?;
        let tx = self.store.read().await?;
        if let Some(answer) = call.replayed(&tx).await? {
            return Ok(answer);
        }
        let subject = self.subject(&tx, &request.target).await?;
        self.check_expected_active(&tx, &subject.policy, request.expected_active).await?;
        drop(tx);
        let (subject, report) = self.check(subject, CheckKind::First, context.now).await?;
        if !context.options.validate_only {
            self.keep_failed_report(&subject.bundle.version, &report).await?;
        }
        // What needs no approvals: they are counted under the lock.
        lifecycle::stage(&subject.bundle.version, request.etag.as_ref(), &report)?;

        let name = &subject.policy.name;
        let mut write = match call.begin(&name.namespace).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        let (policy, version) = subject.still_holds(write.tx.read()).await?;
        self.check_expected_active(write.tx.read(), &policy, request.expected_active).await?;
        let basis =
            self.basis(&write, (&policy, &version), request.etag.as_ref(), &report, request.break_glass).await?;
        let (version, mut change) = self.write_published(&write, version, &report, &basis, request.reason).await?;
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
            return write.finish(Published { version, cursor: recorded.cursor, activation: None }).await;
        }
        change.pointers.push(lifecycle::point(&policy, &version)?);
        let (activation, recorded) = write.record_activation(change).await?;
        write.finish(Published { version, cursor: recorded.cursor, activation: Some(activation) }).await
    }

    /// Signs a version and writes its rows. Returns it, and the change that its event has to record.
    pub(super) async fn write_published(
        &self,
        write: &Write<'_>,
        version: Version,
        report: &Report,
        basis: &PublishBasis,
        reason: String,
    ) -> Result<(Version, Change)> {
        let version = signed(&self.signer, write.context(), version, write.time())?;
        write.tx.update_version(&version).await?;
        write.tx.put_report(&version.policy, version.number, report).await?;
        let change = Change {
            reason,
            versions: vec![state_change(&version)],
            approvals: basis.approvals.iter().map(Approval::for_log).collect(),
            ..Change::new(EventKind::Publish, Some(&version.policy.policy))
        };
        Ok((version, change))
    }

    /// What the publication rests on, decided on the approvals as they are under the lock.
    pub(super) async fn basis(
        &self,
        write: &Write<'_>,
        (policy, version): (&Policy, &Version),
        etag: Option<&Etag>,
        report: &Report,
        break_glass: bool,
    ) -> Result<PublishBasis> {
        let approvals = if policy.settings.required_approvals > 0 {
            self.approvals(write.tx.read(), version).await?
        } else {
            Vec::new()
        };
        let facts = PublishFacts { policy, version, approvals: &approvals, now: write.time() };
        lifecycle::publish(facts, etag, report, break_glass)
    }

    /// How many publications broke the glass since the start.
    #[must_use]
    pub fn broken_glass(&self) -> u64 {
        self.break_glass.0.load(Ordering::Relaxed)
    }
}
