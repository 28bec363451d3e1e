//! The rows of one policy, as the store of the model has them.

use std::collections::BTreeMap;

use super::fixtures::content_of;
use super::operation::{BAD, LAX};
use crate::domain::approval::Approval;
use crate::domain::error::{Error, Reason, Result};
use crate::domain::label::Label;
use crate::domain::lifecycle::{self as lifecycle, PointerMove};
use crate::domain::policy::Policy;
use crate::domain::report::{Check, CheckFinding, CheckResult, Report};
use crate::domain::time::Micros;
use crate::domain::version::{Version, VersionState};

/// A policy with its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PolicyRows {
    pub(super) policy: Policy,
    pub(super) versions: BTreeMap<i64, Version>,
    /// Holds approvals by version and approver, as the table has them.
    pub(super) approvals: BTreeMap<(i64, String), Approval>,
    pub(super) moves: Vec<PointerMove>,
}

impl PolicyRows {
    pub(super) fn new(policy: Policy) -> Self {
        Self { policy, versions: BTreeMap::new(), approvals: BTreeMap::new(), moves: Vec::new() }
    }

    pub(super) fn version(&self, number: i64) -> Result<&Version> {
        self.versions.get(&number).ok_or_else(|| Error::new(Reason::VersionNotFound, "absent"))
    }

    pub(super) fn open(&self) -> Vec<Version> {
        self.versions.values().filter(|version| version.state.is_open()).cloned().collect()
    }

    pub(super) fn meant(&self, version: Option<i64>) -> Result<Version> {
        match version {
            Some(number) => self.version(number).cloned(),
            None => lifecycle::resolve_open(&self.policy, &self.open()).cloned(),
        }
    }

    pub(super) fn approvals_of(&self, version: i64) -> Vec<Approval> {
        let of_version = self.approvals.iter().filter(|((number, _), _)| *number == version);
        of_version.map(|(_, approval)| approval.clone()).collect()
    }

    /// Runs the checks of today. A rollback gives no label, because the label was accepted before.
    pub(super) fn report(&self, version: &Version, label: Option<&Label>) -> Report {
        let is_strict = !self.policy.settings.json_schema.is_empty();
        let content = content_of(&version.digest);
        let content_passes = content != BAD && (content != LAX || !is_strict);
        let label_passes = label.is_none_or(|label| {
            let mut published = self.versions.values().filter(|other| other.state == VersionState::Published);
            self.policy.settings.allow_backport
                || published.all(|other| other.label.as_ref().is_none_or(|other| label.is_higher_than(other)))
        });
        let check = |id, passes| {
            let result = if passes { CheckResult::Passed } else { CheckResult::Failed };
            Check::of(id, result, vec![CheckFinding::new(result.severity(), "checked").at_place(1, 1)])
        };
        let checks = vec![
            Check::new("unusual", CheckResult::Warning, "never matters"),
            check("content", content_passes),
            check("label", label_passes),
        ];
        Report::new(version.digest.clone(), String::new(), checks, Micros(0))
    }

    pub(super) fn insert(&mut self, version: Version) {
        self.policy.latest_version = version.number;
        let taken = self.versions.insert(version.number, version);
        assert_eq!(taken, None, "a number was used twice");
    }

    pub(super) fn update(&mut self, version: Version) {
        assert!(self.versions.insert(version.number, version).is_some(), "only rows that are there are updated");
    }
}
