//! What the checks of a version are run on, and whether it is still what was checked.

use crate::checks;
use crate::checks::{SchemaCheck, Started};
use crate::domain::bundle::Bundle;
use crate::domain::label::Label;
use crate::domain::policy::{BumpRule, Policy};
use crate::domain::report::Report;
use crate::domain::version::Version;
use crate::domain::{Error, Reason, Result};
use crate::store::{ReadTx, WriteTx};

/// What is checked of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// It is about to be published: everything.
    First,
    /// It was published long ago, and took its label then: only what it says.
    Again,
}

/// What a check was run on. It is compared with what is found under the lock.
#[derive(Debug)]
pub struct Subject {
    pub policy: Policy,
    pub bundle: Bundle,
    pub published_labels: Vec<Label>,
}

impl Subject {
    /// Runs what is bounded by us; what is left is asked of the schema.
    pub fn start(&self, occasion: Occasion) -> (Started, Option<SchemaCheck>) {
        let version = &self.bundle.version;
        let (label, content_type) = match occasion {
            Occasion::First => (version.label.as_ref(), Some(version.content_type.as_str())),
            Occasion::Again => (None, None),
        };
        let input = checks::Input {
            kind: self.policy.kind,
            content: &self.bundle.content,
            content_type,
            digest: &version.digest,
            label,
            settings: &self.policy.settings,
            published_labels: &self.published_labels,
        };
        checks::start(&input)
    }

    /// Reads again under the lock what the checks depended on.
    ///
    /// # Errors
    /// `CONCURRENT_CHANGE` when it is something else by now.
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

/// The refusal of a version that is not any more what was checked.
pub fn changed_meanwhile(version: &Version) -> Error {
    let message = format!("{} or its policy changed while it was checked; try again", version.name());
    Error::new(Reason::ConcurrentChange, message).about(version.name())
}

/// Whether a report says what the checks of today would.
pub fn is_of_today(report: &Report, policy: &Policy, version: &Version) -> bool {
    report.is_of(&version.digest, &checks::rules(policy.kind, &policy.settings))
}

/// Puts the report of failed checks into a write, unless the version is another one by now. Returns whether it did.
pub async fn put_failed_report(tx: &WriteTx, version: &Version, report: &Report) -> Result<bool> {
    let now = tx.read().version(&version.policy, version.number).await?;
    let is_the_same = now.edits == version.edits;
    if is_the_same {
        tx.put_report(&version.policy, version.number, report).await?;
    }
    Ok(is_the_same)
}
