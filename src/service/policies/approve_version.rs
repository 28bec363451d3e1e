//! ApproveVersion.

use super::use_cases::Policies;
use super::version_change::describe_version;
use crate::domain::command::ApproveVersion;
use crate::domain::event::{Change, EventKind};
use crate::domain::import::FIRST_POSITION;
use crate::domain::lifecycle;
use crate::domain::lifecycle::ApproveFacts;
use crate::domain::outcome::Approved;
use crate::domain::version::Version;
use crate::domain::{Error, Result};
use crate::service::context::Context;
use crate::store::ReadTx;

impl Policies {
    /// Approves a staged version. Approving again renews the approval.
    ///
    /// # Errors
    /// `VERSION_NOT_FOUND`, `VERSION_NOT_OPEN`, `VERSION_NOT_STAGED`, `DIGEST_MISMATCH`, `SELF_APPROVAL`, `LIMIT_EXCEEDED`,
    /// `INVALID_ARGUMENT`, `DATA_LOSS`.
    pub async fn approve_version(&self, context: &Context, request: ApproveVersion) -> Result<Approved> {
        lifecycle::check_note("reason", &request.reason)?;
        let call = self.writer.call(context, "ApproveVersion", &request)?;
        call.mutate(&request.version.policy.namespace, async |write| {
            let tx = write.tx.read();
            let (policy, version) = self.log.resolve_version(tx, &request.version).await?;
            let mut approvals = self.read_approvals(tx, &version).await?;
            let importer = find_importer(tx, &version).await?;
            let (approver, now, revision) = (context.actor(), write.time(), write.tx.head().next().revision);
            let facts = ApproveFacts {
                policy: &policy,
                version: &version,
                approvals: &approvals,
                importer: importer.as_deref(),
                store: self.log.signer.store(),
                approver: &approver,
                now,
                revision,
            };
            let approval = lifecycle::approve(facts, &request)?;
            let change = Change {
                reason: request.reason.clone(),
                versions: vec![describe_version(&version)],
                approvals: vec![approval.for_log()],
                ..Change::new(EventKind::ApproveVersion, Some(&policy.name.policy))
            };
            write.tx.put_approval(&policy.name, version.number, &approval).await?;
            let recorded = write.record(change).await?;
            approvals.retain(|other| other.approver != approver);
            approvals.push(approval);
            let approvals = lifecycle::counting(&policy, &version, &approvals, now);
            Ok(Approved { version, approvals, cursor: recorded.cursor })
        })
        .await
    }
}

/// Returns who imported a version; none for one that was created here. Every part of an import has the same importer.
///
/// # Errors
/// `DATA_LOSS` when the import is missing: then its importer is unknown.
async fn find_importer(tx: &ReadTx, version: &Version) -> Result<Option<String>> {
    if !version.came_by_import() {
        return Ok(None);
    }
    let imports = tx.imports(&version.policy.namespace).await?;
    let import = imports.into_iter().find(|import| import.position == FIRST_POSITION);
    let missing = || Error::data_loss(format!("{}: the import that brought it is not there", version.name()));
    Ok(Some(import.ok_or_else(missing)?.importer))
}
