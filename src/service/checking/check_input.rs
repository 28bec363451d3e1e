//! The input of the checks of a version, and whether it is still current under the lock.

use crate::checks;
use crate::checks::{Evaluation, Started};
use crate::domain::bundle::Bundle;
use crate::domain::label::Label;
use crate::domain::policy::{BumpRule, Policy, is_of_several_files};
use crate::domain::report::Report;
use crate::domain::version::Version;
use crate::domain::{Error, Reason, Result};
use crate::store::{ReadTx, WriteTx};

/// The scope of the checks of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckKind {
    /// All checks: the version is about to be published.
    BeforePublish,
    /// Only its content: it was published before, and got its label then.
    AfterPublish,
}

/// The data on which the checks of a version depend. It is compared with the data found under the lock.
#[derive(Debug)]
pub struct CheckInput {
    pub policy: Policy,
    pub bundle: Bundle,
    pub published_labels: Vec<Label>,
}

impl CheckInput {
    /// Runs the checks whose cost their code bounds. Returns them with the evaluation that is left for a worker.
    pub fn start(&self, kind: CheckKind) -> (Started, Option<Evaluation>) {
        let version = &self.bundle.version;
        let (label, content_type) = match kind {
            CheckKind::BeforePublish => (version.label.as_ref(), Some(version.content_type.as_str())),
            CheckKind::AfterPublish => (None, None),
        };
        let input = checks::Input {
            kind: self.policy.kind,
            content: &self.bundle.content,
            content_type,
            has_several_files: is_of_several_files(&version.content_type),
            digest: &version.digest,
            label,
            settings: &self.policy.settings,
            published_labels: &self.published_labels,
        };
        checks::start(&input)
    }

    /// Reads again under the lock the data on which the checks depended.
    ///
    /// # Errors
    /// `CONCURRENT_CHANGE` when it has changed.
    pub async fn still_holds(&self, tx: &ReadTx) -> Result<(Policy, Version)> {
        let version = &self.bundle.version;
        let policy_now = tx.policy(&self.policy.name).await?;
        let version_now = tx.version(&self.policy.name, version.number).await?;
        let labels_hold = version.label.is_none()
            || (self.policy.settings.allow_backport && self.policy.settings.bump_rule == BumpRule::Any)
            || tx.version_list(&policy_now).await?.published_labels == self.published_labels;
        if policy_now.edits == self.policy.edits && version_now.edits == version.edits && labels_hold {
            return Ok((policy_now, version_now));
        }
        Err(changed_meanwhile(version))
    }
}

/// Returns the refusal of a version that changed while it was checked.
pub fn changed_meanwhile(version: &Version) -> Error {
    let message = format!("{} or its policy changed while it was checked; try again", version.name());
    Error::new(Reason::ConcurrentChange, message).about(version.name())
}

/// Returns whether a report is of these bytes and today's rules.
pub fn is_of_today(report: &Report, policy: &Policy, version: &Version) -> bool {
    report.is_of(&version.digest, &checks::rules(policy.kind, &policy.settings))
}

/// Writes the report of failed checks, unless the version changed. Returns whether it wrote the report.
pub async fn put_failed_report(tx: &WriteTx, version: &Version, report: &Report) -> Result<bool> {
    let now = tx.read().version(&version.policy, version.number).await?;
    let is_the_same = now.edits == version.edits;
    if is_the_same {
        tx.put_report(&version.policy, version.number, report).await?;
    }
    Ok(is_the_same)
}
