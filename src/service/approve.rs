//! ApproveVersion and RejectVersion, and the approvals of a version as the log proves them.

use std::collections::BTreeMap;

use super::draft::state_change;
use super::{Context, Service};
use crate::domain::approval::Approval;
use crate::domain::command::{ApproveVersion, RejectVersion};
use crate::domain::event::{Change, EventKind};
use crate::domain::import::FIRST_POSITION;
use crate::domain::lifecycle::{self, ApproveFacts, Review};
use crate::domain::name::PolicyName;
use crate::domain::outcome::{Approved, VersionChanged};
use crate::domain::policy::Policy;
use crate::domain::time::Micros;
use crate::domain::version::{Version, VersionState};
use crate::domain::{Error, Result};
use crate::store::ReadTx;

impl Service {
    /// Approves a staged version. Approving again renews the approval.
    ///
    /// # Errors
    /// `VERSION_NOT_FOUND`, `VERSION_NOT_OPEN`, `VERSION_NOT_STAGED`, `DIGEST_MISMATCH`, `SELF_APPROVAL`, `LIMIT_EXCEEDED`,
    /// `INVALID_ARGUMENT`, `DATA_LOSS`.
    pub async fn approve_version(&self, context: &Context, request: ApproveVersion) -> Result<Approved> {
        lifecycle::check_note("reason", &request.reason)?;
        let call = self.call(context, "ApproveVersion", &request)?;
        call.mutate(&request.version.policy.namespace, async |write| {
            let tx = write.tx.read();
            let (policy, version) = self.resolve(tx, &request.version).await?;
            let mut approvals = self.approvals(tx, &version).await?;
            let importer = importer_of(tx, &version).await?;
            let (approver, now, revision) = (context.actor(), write.time(), write.tx.head().next().revision);
            let facts = ApproveFacts {
                policy: &policy,
                version: &version,
                approvals: &approvals,
                importer: importer.as_deref(),
                store: self.signer.store(),
                approver: &approver,
                now,
                revision,
            };
            let approval = lifecycle::approve(facts, &request)?;
            let change = Change {
                reason: request.reason.clone(),
                versions: vec![state_change(&version)],
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

    /// Ends a version that shall not be published.
    ///
    /// # Errors
    /// `VERSION_NOT_FOUND`, `VERSION_NOT_OPEN`, `DIGEST_MISMATCH`, `INVALID_ARGUMENT`.
    pub async fn reject_version(&self, context: &Context, request: RejectVersion) -> Result<VersionChanged> {
        lifecycle::check_reason(&request.reason)?;
        let call = self.call(context, "RejectVersion", &request)?;
        let name = &request.version.policy;
        call.mutate(&name.namespace, async |write| {
            let (_, version) = self.resolve(write.tx.read(), &request.version).await?;
            lifecycle::reject(&version, &request)?;
            let version = Version { state: VersionState::Rejected, edits: version.edits + 1, ..version };
            write.tx.update_version(&version).await?;
            let change = Change {
                reason: request.reason.clone(),
                versions: vec![state_change(&version)],
                ..Change::new(EventKind::RejectVersion, Some(&name.policy))
            };
            let recorded = write.record(change).await?;
            Ok(VersionChanged { version, active: false, cursor: recorded.cursor })
        })
        .await
    }

    /// Every approval that a version was given, whether it still counts or not.
    ///
    /// # Errors
    /// `DATA_LOSS` when a row says something that its event does not.
    pub(super) async fn approvals(&self, tx: &ReadTx, version: &Version) -> Result<Vec<Approval>> {
        let mut found = self.approvals_of(tx, &version.policy, std::slice::from_ref(version)).await?;
        Ok(found.remove(&version.number).unwrap_or_default())
    }

    /// The approvals, as events tell them, on which putting a version in force rests: those of a version that another store
    /// published, the first time.
    ///
    /// # Errors
    /// `APPROVALS_MISSING`, `DATA_LOSS`.
    pub(super) async fn reviewed(
        &self,
        tx: &ReadTx,
        policy: &Policy,
        version: &Version,
        now: Micros,
    ) -> Result<Vec<Approval>> {
        if !version.is_imported() || policy.settings.required_approvals == 0 {
            return Ok(Vec::new());
        }
        let approvals = self.approvals(tx, version).await?;
        let was_active = self.was_active(tx, &version.policy, version.number).await?;
        let counted = lifecycle::reviewed(policy, version, Review { approvals: &approvals, was_active, now })?;
        Ok(counted.iter().map(Approval::for_log).collect())
    }

    /// The same of some versions of a policy, by number. Only those have any that are staged, or that were imported as
    /// published.
    pub(super) async fn approvals_of(
        &self,
        tx: &ReadTx,
        policy: &PolicyName,
        versions: &[Version],
    ) -> Result<BTreeMap<i64, Vec<Approval>>> {
        let is_reviewed = |version: &&Version| version.state == VersionState::Staged || version.is_imported();
        let numbers: Vec<i64> = versions.iter().filter(is_reviewed).map(|version| version.number).collect();
        let mut approvals: BTreeMap<i64, Vec<Approval>> = BTreeMap::new();
        if numbers.is_empty() {
            return Ok(approvals);
        }
        for row in tx.approvals(policy, &numbers).await? {
            let number = row.version;
            approvals.entry(number).or_default().push(self.signer.approval(policy, row)?);
        }
        Ok(approvals)
    }
}

/// Who imported a version: the same for every part of an import. None for a version that was made here.
///
/// # Errors
/// `DATA_LOSS` when the import is not there: its importer would be anybody.
async fn importer_of(tx: &ReadTx, version: &Version) -> Result<Option<String>> {
    if !version.came_by_import() {
        return Ok(None);
    }
    let imports = tx.imports(&version.policy.namespace).await?;
    let import = imports.into_iter().find(|import| import.position == FIRST_POSITION);
    let missing = || Error::data_loss(format!("{}: the import that brought it is not there", version.name()));
    Ok(Some(import.ok_or_else(missing)?.importer))
}
