//! Stage: runs every check, then locks the content.

use super::use_cases::Policies;
use super::version_change::describe_version;
use crate::domain::Result;
use crate::domain::command::Stage;
use crate::domain::event::{Change, EventKind};
use crate::domain::lifecycle;
use crate::domain::lifecycle::StageDecision;
use crate::domain::outcome::Staged;
use crate::domain::version::{Version, VersionState};
use crate::service::checking::CheckKind;
use crate::service::context::Context;

impl Policies {
    /// Runs every check and locks the content. After a failed check the version stays a draft, and its report is stored; with
    /// `validate_only` the report is the answer, failed or not.
    ///
    /// # Errors
    /// `VALIDATION_FAILED`, `VERSION_NOT_OPEN`, `ETAG_MISMATCH`, `SEVERAL_OPEN_DRAFTS`, `CONCURRENT_CHANGE`.
    pub async fn stage(&self, context: &Context, request: Stage) -> Result<Staged> {
        let call = self.writer.call(context, "Stage", &request)?;
        let tx = self.log.store.read().await?;
        if let Some(answer) = call.replayed(&tx).await? {
            return Ok(answer);
        }
        let input = self.read_check_input(&tx, &request.target).await?;
        drop(tx);
        lifecycle::check_stageable(&input.bundle.version, request.etag.as_ref())?;
        let (input, report) = self.checks.check(input, CheckKind::BeforePublish, context.now).await?;
        if context.options.validate_only {
            return Ok(Staged { version: input.bundle.version, report, cursor: None });
        }
        self.keep_failed_report(&input.bundle.version, &report).await?;
        lifecycle::stage(&input.bundle.version, request.etag.as_ref(), &report)?;

        let name = &input.policy.name;
        call.mutate(&name.namespace, async |write| {
            let (_, version) = input.still_holds(write.tx.read()).await?;
            if lifecycle::stage(&version, request.etag.as_ref(), &report)? == StageDecision::AlreadyStaged {
                return Ok(Staged { version, report, cursor: None });
            }
            let version = Version {
                state: VersionState::Staged,
                edits: version.edits + 1,
                stage_time: Some(write.time()),
                ..version
            };
            write.tx.update_version(&version).await?;
            write.tx.put_report(name, version.number, &report).await?;
            let change = Change {
                versions: vec![describe_version(&version)],
                ..Change::new(EventKind::Stage, Some(&name.policy))
            };
            let recorded = write.record(change).await?;
            Ok(Staged { version, report, cursor: recorded.cursor })
        })
        .await
    }
}
