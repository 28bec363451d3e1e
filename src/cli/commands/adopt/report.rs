//! Reports what happened to each version, for people and for programs.

use serde_json::{Value, json};

use crate::cli::exit_code::{CommandReason, PartialError};
use crate::cli::output::document::{Format, print_text};
use crate::cli::release::{FolderResult, ReleaseStatus, ResultCounts, left_lines, line, listed};
use crate::client::name::NamespaceId;

/// The report of one run.
#[derive(Debug)]
pub struct AdoptReport<'a> {
    pub namespace: &'a NamespaceId,
    pub dry_run: bool,
    pub results: Vec<FolderResult>,
    /// Members of the metadata that are not kept.
    pub warnings: Vec<String>,
    /// The command that puts a version in force.
    pub next: String,
}

impl AdoptReport<'_> {
    /// Prints the report.
    ///
    /// # Errors
    /// Something is left to do.
    pub fn print(&self, output: Format) -> anyhow::Result<()> {
        if output.is_document() {
            output.print_document(&self.document())?
        } else {
            print_text(&self.text())?
        }
        match ReleaseStatus::of(&self.results) {
            ReleaseStatus::Success => Ok(()),
            ReleaseStatus::Partial => {
                Err(PartialError("some versions are left: mend them, and adopt again".to_owned()).into())
            }
            ReleaseStatus::Failed => Err(CommandReason::NotDelivered.error("nothing was adopted")),
        }
    }

    fn text(&self) -> String {
        let counts = ResultCounts::of(&self.results);
        let rehearsal = if self.dry_run { " (dry run)" } else { "" };
        let mut text = format!("adopted into {}: {counts}{rehearsal}\n", self.namespace);
        text.push_str(&listed("warning", &self.warnings));
        text.push_str(&left_lines(&self.results, line));
        if counts.published > 0 {
            text.push_str(&format!("nothing is in force by this: `{}` puts a version in force\n", self.next));
        }
        text
    }

    fn document(&self) -> Value {
        json!({
            "status": ReleaseStatus::of(&self.results).word(),
            "namespace": self.namespace,
            "dry_run": self.dry_run,
            "counts": ResultCounts::of(&self.results).to_json(),
            "versions": self.results.iter().map(FolderResult::to_json).collect::<Vec<Value>>(),
            "warnings": self.warnings,
        })
    }
}
