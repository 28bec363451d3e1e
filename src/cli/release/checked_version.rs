//! Holds what the checks found of a version that a dry run would publish.

use std::fmt::Write as _;

use crate::cli::local_check::{LocalContent, LocalReport};
use crate::cli::output::excerpt::path_of;
use crate::cli::output::text::line;
use crate::cli::release::folder::FolderVersion;
use crate::client::pb;

/// A version whose checks were run by the rules of the server.
#[derive(Debug)]
pub struct CheckedVersion {
    pub key: FolderVersion,
    /// The content, by its path from the top of the repository.
    pub content: LocalContent,
    pub report: LocalReport,
}

/// An error that a check found.
#[derive(Debug)]
pub struct CheckedError<'a> {
    check: &'a str,
    found: &'a pb::Finding,
}

impl CheckedVersion {
    /// Returns whether every check passed.
    pub fn passed(&self) -> bool {
        self.report.report.passed
    }

    /// Returns whether something was found that people must see, be it only a warning.
    pub fn has_problems(&self) -> bool {
        let found = self.report.report.checks.iter().flat_map(|check| &check.findings);
        !self.passed() || found.into_iter().any(|found| found.severity() == pb::finding::Severity::Warning)
    }

    /// Returns what made the checks fail.
    pub fn errors(&self) -> Vec<CheckedError<'_>> {
        let checks = self.report.report.checks.iter().filter(|check| check.result() == pb::check::Result::Failed);
        let found =
            checks.flat_map(|check| check.findings.iter().map(|found| CheckedError { check: &check.id, found }));
        found.filter(|error| error.found.severity() == pb::finding::Severity::Error).collect()
    }

    /// Returns the path of the file that an error is in.
    pub fn file_of(&self, error: &CheckedError<'_>) -> String {
        path_of(&self.content.path, &error.found.file)
    }

    /// Returns one line for each error, with its place.
    pub fn lines(&self) -> Vec<String> {
        let named = |error: &CheckedError<'_>| {
            let mut place = self.file_of(error);
            if error.found.line > 0 {
                let _ = write!(place, ":{}:{}", error.found.line, error.found.column);
            }
            line(&format!("{}: {error} at {place}", self.key))
        };
        self.errors().iter().map(named).collect()
    }
}

impl CheckedError<'_> {
    /// Returns the line in its file, from 1; 0 when unknown.
    pub fn line(&self) -> u32 {
        u32::try_from(self.found.line).unwrap_or_default()
    }
}

impl std::fmt::Display for CheckedError<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.check, line(&self.found.message))
    }
}
