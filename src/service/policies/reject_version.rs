//! RejectVersion.

use super::use_cases::Policies;
use super::version_change::describe_version;
use crate::domain::Result;
use crate::domain::command::RejectVersion;
use crate::domain::event::{Change, EventKind};
use crate::domain::lifecycle;
use crate::domain::outcome::VersionChanged;
use crate::domain::version::{Version, VersionState};
use crate::service::context::Context;

impl Policies {
    /// Rejects a version, which can then no longer be published.
    ///
    /// # Errors
    /// `VERSION_NOT_FOUND`, `VERSION_NOT_OPEN`, `DIGEST_MISMATCH`, `INVALID_ARGUMENT`.
    pub async fn reject_version(&self, context: &Context, request: RejectVersion) -> Result<VersionChanged> {
        lifecycle::check_reason(&request.reason)?;
        let call = self.writer.call(context, "RejectVersion", &request)?;
        let name = &request.version.policy;
        call.mutate(&name.namespace, async |write| {
            let (_, version) = self.log.resolve_version(write.tx.read(), &request.version).await?;
            lifecycle::reject(&version, &request)?;
            let version = Version { state: VersionState::Rejected, edits: version.edits + 1, ..version };
            write.tx.update_version(&version).await?;
            let change = Change {
                reason: request.reason.clone(),
                versions: vec![describe_version(&version)],
                ..Change::new(EventKind::RejectVersion, Some(&name.policy))
            };
            let recorded = write.record(change).await?;
            Ok(VersionChanged { version, active: false, cursor: recorded.cursor })
        })
        .await
    }
}
