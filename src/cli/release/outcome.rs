//! Holds what a release did: each version, the activation, and the totals.
//!
//! Boundary: data and counting; `summary` and `markdown` print it.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::cli::local_check;
use crate::cli::output::text;
use crate::cli::release::baseline::Baseline;
use crate::cli::release::checked_version::CheckedVersion;
use crate::cli::release::fault::Fault;
use crate::cli::release::folder::FolderVersion;
use crate::cli::release::git::Commit;
use crate::cli::typed_commands::TypedCommands;
use crate::client::name::NamespaceId;
use crate::client::{ClientError, pb};

/// The reason of a version whose checks failed: that of the server, which runs the same ones.
const CHECKS_FAILED: &str = "VALIDATION_FAILED";

/// How a release ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseStatus {
    /// Everything is delivered, or there was nothing to do.
    Success,
    /// Some versions are delivered, some are not.
    Partial,
    /// No version is delivered.
    Failed,
}

/// The outcome of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionOutcome {
    /// Published by this release.
    Published,
    /// Dry run: it would have been published.
    Rehearsed,
    /// The server already had it.
    Present,
    /// It failed; the next release tries it again.
    Failed {
        /// The stable reason; empty when the error is not the server's.
        reason: String,
        /// The error message.
        error: String,
    },
    /// Not tried; left to the next release. Holds why.
    Held(String),
}

/// The result of one version folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderResult {
    /// `pricing@v1.2.0`, or the path of an entry that is no version folder.
    pub name: String,
    /// The number that the server assigned; 0: none.
    pub version: i64,
    pub outcome: VersionOutcome,
    /// The file concerned, from the top of the repository.
    pub file: String,
    /// Line in that file, from 1; 0 when unknown.
    pub line: u32,
}

/// The versions that were activated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseActivation {
    /// Revision of the event; 0 in a dry run.
    pub revision: i64,
    pub targets: Vec<(FolderVersion, i64)>,
}

/// The report of a whole release.
#[derive(Debug)]
pub struct ReleaseReport {
    pub commit: Commit,
    pub namespace: NamespaceId,
    pub dry_run: bool,
    pub baseline: Baseline,
    /// Whether the baseline was moved to the commit.
    pub moved: bool,
    pub delivered_before: usize,
    pub results: Vec<FolderResult>,
    /// In a dry run: what the checks found of what would be published.
    pub checked: Vec<CheckedVersion>,
    pub activated: Option<ReleaseActivation>,
    /// Failures besides those of single versions, each on one line: git's words are in them.
    pub problems: Vec<String>,
    pub warnings: Vec<String>,
    pub notes: Vec<String>,
}

/// Number of versions by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ResultCounts {
    pub published: usize,
    pub rehearsed: usize,
    pub present: usize,
    pub failed: usize,
    pub held: usize,
}

impl ResultCounts {
    /// Counts results by outcome.
    pub fn of(results: &[FolderResult]) -> Self {
        let mut counts = Self::default();
        for one in results {
            *match one.outcome {
                VersionOutcome::Published => &mut counts.published,
                VersionOutcome::Rehearsed => &mut counts.rehearsed,
                VersionOutcome::Present => &mut counts.present,
                VersionOutcome::Failed { .. } => &mut counts.failed,
                VersionOutcome::Held(_) => &mut counts.held,
            } += 1;
        }
        counts
    }

    /// Returns the counts as JSON members.
    pub fn to_json(self) -> Map<String, Value> {
        let counts = [
            ("published", self.published),
            ("would_publish", self.rehearsed),
            ("already_there", self.present),
            ("failed", self.failed),
            ("held_back", self.held),
        ];
        counts.into_iter().map(|(name, count)| (name.to_owned(), count.into())).collect()
    }
}

/// Shows the counts that are not zero: `3 published, 1 failed`.
impl fmt::Display for ResultCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [
            (self.published, "published"),
            (self.rehearsed, "would be published"),
            (self.present, "already there"),
            (self.failed, "failed"),
            (self.held, "held back"),
        ];
        let some = all.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
        f.write_str(&some.collect::<Vec<_>>().join(", "))
    }
}

impl ReleaseStatus {
    /// Returns the status of these results; without any it is a success.
    pub fn of(results: &[FolderResult]) -> Self {
        match results.iter().filter(|one| one.is_left()).count() {
            0 => Self::Success,
            left if left < results.len() => Self::Partial,
            _ => Self::Failed,
        }
    }

    /// Returns the stable name for scripts.
    pub fn word(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Partial => "partial",
            Self::Failed => "failed",
        }
    }
}

impl VersionOutcome {
    /// Returns the outcome for a refusal of the server.
    pub fn refused(error: &ClientError) -> Self {
        Self::Failed { reason: error.reason().to_owned(), error: text::line(&error.to_string()) }
    }

    /// Appends what to do next to a failure.
    pub fn and(self, next: &str) -> Self {
        match self {
            Self::Failed { reason, error } => Self::Failed { reason, error: format!("{error}; {next}") },
            other => other,
        }
    }

    /// Returns the failure for missing approvals: once they are given, the command `again` does the rest.
    pub fn awaiting(error: &ClientError, version: &pb::Version, key: &FolderVersion, again: &str) -> Self {
        let (policy, number, digest) = (&key.policy, version.version, &version.digest);
        Self::refused(error)
            .and(&format!("`policyhub approve {policy}@{number} --digest {digest}`, then {again} again"))
    }

    /// Returns a failure that did not come from the server.
    pub fn failed(error: impl Into<String>) -> Self {
        Self::Failed { reason: String::new(), error: error.into() }
    }

    /// Returns whether the version was sent to the server, to be published or for a dry run.
    pub fn is_sent(&self) -> bool {
        matches!(self, Self::Published | Self::Rehearsed)
    }

    /// Returns the stable name for scripts.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Rehearsed => "would publish",
            Self::Present => "already there",
            Self::Failed { .. } => "failed",
            Self::Held(_) => "held back",
        }
    }

    /// Returns why the version is not delivered; empty when it is.
    pub fn why(&self) -> &str {
        match self {
            Self::Failed { error, .. } => error,
            Self::Held(why) => why,
            _ => "",
        }
    }
}

impl FolderResult {
    /// Writes the commands of a failure as they are typed to go on.
    pub fn fill_commands(&mut self, commands: &TypedCommands) {
        if let VersionOutcome::Failed { error, .. } = &mut self.outcome {
            *error = commands.fill(error, None);
        }
    }

    /// Returns a result without a number and a file.
    pub fn of(name: impl ToString, outcome: VersionOutcome) -> Self {
        Self { name: name.to_string(), version: 0, outcome, file: String::new(), line: 0 }
    }

    /// Returns the result for a fault in the folder of a version.
    pub fn at_fault(top: &str, key: &FolderVersion, fault: &Fault) -> Self {
        let gap = if fault.file.is_empty() { "" } else { "/" };
        let file = format!("{}{gap}{}", key.path(top), fault.file);
        Self { line: fault.line, ..Self::of(key, VersionOutcome::failed(&fault.why)).in_file(file) }
    }

    /// Returns the result of a version that was not tried.
    pub fn held(name: impl ToString, why: impl Into<String>) -> Self {
        Self::of(name, VersionOutcome::Held(why.into()))
    }

    /// Sets the file of the result.
    pub fn in_file(self, file: String) -> Self {
        Self { file, ..self }
    }

    /// Returns the result of a rehearsed version by its checks: a failure at the first error, or the result as it is.
    fn checked(self, by: &CheckedVersion) -> Self {
        let errors = by.errors();
        let Some(first) = errors.first() else {
            let outcome = if by.passed() { self.outcome } else { VersionOutcome::failed("a check failed") };
            return Self { outcome, ..self };
        };
        let more = match errors.len() - 1 {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        let outcome = VersionOutcome::Failed { reason: CHECKS_FAILED.to_owned(), error: format!("{first}{more}") };
        Self { outcome, line: first.line(), ..self.in_file(by.file_of(first)) }
    }

    /// Returns the result as JSON.
    pub fn to_json(&self) -> Value {
        let reason = if let VersionOutcome::Failed { reason, .. } = &self.outcome { reason } else { "" };
        json!({
            "name": self.name, "version": self.version, "outcome": self.outcome.word(),
            "reason": reason, "error": self.outcome.why(), "file": self.file, "line": self.line,
        })
    }

    /// Returns whether the next release must try it again.
    pub fn is_left(&self) -> bool {
        matches!(self.outcome, VersionOutcome::Failed { .. } | VersionOutcome::Held(_))
    }
}

impl ReleaseReport {
    /// Writes the commands in it as they are typed to go on.
    pub fn fill_commands(&mut self, commands: &TypedCommands) {
        self.results.iter_mut().for_each(|result| result.fill_commands(commands));
        self.problems.iter_mut().for_each(|problem| *problem = commands.fill(problem, None));
    }

    /// Counts the results by outcome.
    pub fn counts(&self) -> ResultCounts {
        ResultCounts::of(&self.results)
    }

    /// Takes the checks of rehearsed versions, whose results become failures where a check failed.
    pub fn take_checked(&mut self, checked: Vec<CheckedVersion>) {
        for by in &checked {
            let name = by.key.to_string();
            for one in self.results.iter_mut().filter(|one| one.name == name) {
                *one = one.clone().checked(by);
            }
        }
        self.checked = checked;
        self.checked.sort_by(|one, other| one.key.order(&other.key));
    }

    /// Returns the status of the whole release.
    pub fn status(&self) -> ReleaseStatus {
        // A rehearsal fails as `policyhub check` does: nobody merges a part of a change.
        if self.checked.iter().any(|one| !one.passed()) {
            return ReleaseStatus::Failed;
        }
        match ReleaseStatus::of(&self.results) {
            ReleaseStatus::Success if self.problems.is_empty() => ReleaseStatus::Success,
            // Nothing was to be delivered, and something else failed.
            ReleaseStatus::Success if self.results.is_empty() && self.activated.is_none() => ReleaseStatus::Failed,
            ReleaseStatus::Failed if self.activated.is_none() => ReleaseStatus::Failed,
            _ => ReleaseStatus::Partial,
        }
    }

    /// Returns the report as JSON.
    pub fn to_json(&self) -> anyhow::Result<Value> {
        let checked: Vec<_> = self.checked.iter().map(|one| (&one.content, &one.report)).collect();
        let mut counts = self.counts().to_json();
        counts.insert("delivered_before".to_owned(), self.delivered_before.into());
        let activation = self.activated.as_ref().map(|activated| {
            let targets = activated.targets.iter();
            let targets: Vec<Value> = targets
                .map(|(key, version)| json!({"policy": key.policy, "label": key.label, "version": version}))
                .collect();
            json!({"revision": activated.revision, "targets": targets})
        });
        Ok(json!({
            "status": self.status().word(),
            "commit": self.commit.as_str(),
            "namespace": self.namespace,
            "dry_run": self.dry_run,
            "baseline": {
                "from": self.baseline.from.as_ref().map(Commit::as_str),
                "why": self.baseline.why,
                "moved": self.moved,
            },
            "counts": counts,
            "versions": self.results.iter().map(FolderResult::to_json).collect::<Vec<Value>>(),
            "checked": local_check::document(&checked)?,
            "activation": activation,
            "problems": self.problems,
            "warnings": self.warnings,
            "notes": self.notes,
        }))
    }
}
