//! Validation reports: what the checks of a version found.

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::time::Micros;

/// Id of the check that looks at the label of a version, and at no content.
pub const LABEL_CHECK: &str = "label";

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum CheckResult {
    /// Holds.
    Passed,
    /// Does not hold: the version can't be staged.
    Failed,
    /// Does not hold, and does not matter for staging.
    Warning,
    /// Nothing to check.
    Skipped,
}

/// One check of one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Stable id: `limits`, `parse`, `json-schema`, `label`.
    pub id: String,
    /// How it ended.
    pub result: CheckResult,
    /// What was found, for the author.
    pub message: String,
    /// JSON Pointer (RFC 6901) into the content, empty for the whole.
    pub pointer: String,
    /// Line, from 1; 0 without a place.
    pub line: u32,
    /// Column in characters, from 1; 0 without a place.
    pub column: u32,
}

/// All checks of one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The digest that was checked.
    pub digest: Digest,
    /// Names the rules for content that it was checked against; empty: not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rules: String,
    /// Every check that ran, in order.
    pub checks: Vec<Check>,
    /// When they ran.
    pub time: Micros,
}

impl Check {
    /// A check without a place.
    pub fn new(id: &str, result: CheckResult, message: impl Into<String>) -> Self {
        Self { id: id.to_owned(), result, message: message.into(), pointer: String::new(), line: 0, column: 0 }
    }

    /// Says where, as a JSON Pointer.
    #[must_use]
    pub fn at_pointer(mut self, pointer: impl Into<String>) -> Self {
        self.pointer = pointer.into();
        self
    }

    /// Says where, as line and column from 1.
    #[must_use]
    pub fn at_place(mut self, line: u32, column: u32) -> Self {
        (self.line, self.column) = (line, column);
        self
    }
}

impl Report {
    /// Whether checks of these bytes by these rules would find the same again.
    #[must_use]
    pub fn is_of(&self, digest: &Digest, rules: &str) -> bool {
        self.digest == *digest && self.rules == rules
    }

    /// Whether no check failed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.first_failure().is_none()
    }

    /// The same report with another outcome of one of its checks.
    #[must_use]
    pub fn with(mut self, check: Check) -> Self {
        match self.checks.iter_mut().find(|each| each.id == check.id) {
            Some(before) => *before = check,
            None => self.checks.push(check),
        }
        self
    }

    /// Whether no check but this one failed.
    #[must_use]
    pub fn passed_but_for(&self, id: &str) -> bool {
        self.checks.iter().all(|check| check.id == id || check.result != CheckResult::Failed)
    }

    /// The first check that failed.
    #[must_use]
    pub fn first_failure(&self) -> Option<&Check> {
        self.checks.iter().find(|check| check.result == CheckResult::Failed)
    }
}
