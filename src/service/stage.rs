//! Stage: every check, then the lock on the content.

use super::check::CheckKind;
use super::draft::state_change;
use super::write::Begun;
use super::{Context, Service};
use crate::domain::Result;
use crate::domain::command::Stage;
use crate::domain::event::{Change, EventKind};
use crate::domain::lifecycle::{self, StageDecision};
use crate::domain::outcome::Staged;
use crate::domain::version::{Version, VersionState};

impl Service {
    /// Runs every check and locks the content. A failed check leaves the draft a draft, with its report kept; with
    /// `validate_only` the report is the answer, failed or not.
    ///
    /// # Errors
    /// `VALIDATION_FAILED`, `VERSION_NOT_OPEN`, `ETAG_MISMATCH`, `SEVERAL_OPEN_DRAFTS`, `CONCURRENT_CHANGE`.
    pub async fn stage(&self, context: &Context, request: Stage) -> Result<Staged> {
        let call = self.call(context, "Stage", &request)?;
        let tx = self.store.read().await?;
        if let Some(answer) = call.replayed(&tx).await? {
            return Ok(answer);
        }
        let subject = self.subject(&tx, &request.target).await?;
        drop(tx);
        lifecycle::check_stageable(&subject.bundle.version, request.etag.as_ref())?;
        let (subject, report) = self.check(subject, CheckKind::First, context.now).await?;
        if context.options.validate_only {
            return Ok(Staged { version: subject.bundle.version, report, cursor: None });
        }
        self.keep_failed_report(&subject.bundle.version, &report).await?;
        lifecycle::stage(&subject.bundle.version, request.etag.as_ref(), &report)?;

        let name = &subject.policy.name;
        let mut write = match call.begin(&name.namespace).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        let (_, version) = subject.still_holds(write.tx.read()).await?;
        if lifecycle::stage(&version, request.etag.as_ref(), &report)? == StageDecision::AlreadyStaged {
            return write.finish(Staged { version, report, cursor: None }).await;
        }
        let version = Version {
            state: VersionState::Staged,
            edits: version.edits + 1,
            stage_time: Some(write.time()),
            ..version
        };
        write.tx.update_version(&version).await?;
        write.tx.put_report(name, version.number, &report).await?;
        let change =
            Change { versions: vec![state_change(&version)], ..Change::new(EventKind::Stage, Some(&name.policy)) };
        let recorded = write.record(change).await?;
        write.finish(Staged { version, report, cursor: recorded.cursor }).await
    }
}
