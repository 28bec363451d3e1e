//! AbandonDraft.

use super::use_cases::Policies;
use super::version_change::describe_version;
use crate::domain::Result;
use crate::domain::command::AbandonDraft;
use crate::domain::event::{Change, EventKind};
use crate::domain::lifecycle;
use crate::domain::outcome::VersionChanged;
use crate::domain::version::{Version, VersionState};
use crate::service::context::Context;

impl Policies {
    /// Abandons a draft.
    ///
    /// # Errors
    /// `VERSION_NOT_FOUND`, `VERSION_NOT_OPEN`, `ETAG_MISMATCH`.
    pub async fn abandon_draft(&self, context: &Context, request: AbandonDraft) -> Result<VersionChanged> {
        lifecycle::check_note("reason", &request.reason)?;
        let call = self.writer.call(context, "AbandonDraft", &request)?;
        let name = &request.version.policy;
        call.mutate(&name.namespace, async |write| {
            let (_, version) = self.log.resolve_version(write.tx.read(), &request.version).await?;
            lifecycle::abandon(&version, request.etag.as_ref())?;
            let version = Version { state: VersionState::Abandoned, edits: version.edits + 1, ..version };
            write.tx.update_version(&version).await?;
            let change = Change {
                reason: request.reason,
                versions: vec![describe_version(&version)],
                ..Change::new(EventKind::AbandonDraft, Some(&name.policy))
            };
            let recorded = write.record(change).await?;
            Ok(VersionChanged { version, active: false, cursor: recorded.cursor })
        })
        .await
    }
}
