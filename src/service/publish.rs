//! Publish: the draft becomes the published version, signed; with `activate` it is in force in the same transaction.

use super::check::Occasion;
use super::draft::state_change;
use super::write::Begun;
use super::{Context, Service, Signer};
use crate::domain::access::Permission;
use crate::domain::command::Publish;
use crate::domain::event::{Change, EventKind};
use crate::domain::lifecycle;
use crate::domain::outcome::Published;
use crate::domain::version::{Version, VersionState};
use crate::domain::{Error, Reason, Result};

/// A version as it is once published.
pub(super) fn signed(signer: &Signer, context: &Context, version: Version) -> Result<Version> {
    let publisher = context.actor();
    // What is not published is not signed either: the signature would outlive the question.
    let manifest = if context.delivery.validate_only {
        String::new()
    } else {
        signer.manifest(&version, &publisher, context.now)?
    };
    Ok(Version {
        state: VersionState::Published,
        publisher,
        manifest,
        etag: version.etag + 1,
        stage_time: version.stage_time.or(Some(context.now)),
        publish_time: Some(context.now),
        ..version
    })
}

fn check_request(request: &Publish) -> Result<()> {
    if request.activate {
        return lifecycle::check_reason(&request.reason);
    }
    lifecycle::check_note("reason", &request.reason)
}

impl Service {
    /// Publishes a version, staging it first when the caller did not.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`, `VERSION_NOT_OPEN`, `VALIDATION_FAILED`, `ETAG_MISMATCH`, `APPROVALS_MISSING`, `SEVERAL_OPEN_DRAFTS`,
    /// `CONCURRENT_CHANGE`, `INVALID_ARGUMENT`.
    pub async fn publish(&self, context: &Context, request: Publish) -> Result<Published> {
        if request.activate {
            context.require(Permission::Activate)?;
        }
        if request.break_glass {
            return Err(Error::new(Reason::Unimplemented, "break_glass is not in this version of the server"));
        }
        check_request(&request)?;
        let call = self.call(context, "Publish", &request)?;
        let tx = self.store.read().await?;
        if let Some(answer) = call.replayed(&tx).await? {
            return Ok(answer);
        }
        let subject = self.subject(&tx, &request.target).await?;
        drop(tx);
        let (subject, report) = self.check(subject, Occasion::First, context.now).await?;
        if !context.delivery.validate_only {
            self.keep_failed_report(&subject.bundle.version, &report).await?;
        }
        lifecycle::publish(&subject.policy, &subject.bundle.version, request.etag, &report)?;

        let name = &subject.policy.name;
        let mut write = match call.begin(&name.namespace).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        let (policy, version) = subject.still_holds(write.tx.read()).await?;
        lifecycle::publish(&policy, &version, request.etag, &report)?;
        let version = signed(&self.signer, context, version)?;
        write.tx.update_version(&version).await?;
        write.tx.put_report(name, version.number, &report).await?;
        let mut change = Change {
            reason: request.reason,
            versions: vec![state_change(&version)],
            ..Change::new(EventKind::Publish, Some(&name.policy))
        };
        if !request.activate {
            let recorded = write.record(change).await?;
            return write.finish(Published { version, revision: recorded.revision(), activation: None }).await;
        }
        change.kind = EventKind::Activate;
        change.pointers.push(lifecycle::point(&policy, &version)?);
        let (activation, recorded) = write.record_activation(change).await?;
        write.finish(Published { version, revision: recorded.revision(), activation: Some(activation) }).await
    }
}
