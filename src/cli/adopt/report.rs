//! What became of each version, for people and for programs.

use serde_json::{Value, json};

use crate::cli::failure::Partial;
use crate::cli::output::{Format, print_text};
use crate::cli::release::{Counts, Status, Told, left_lines, line, listed};
use crate::client::name::NamespaceId;

/// One run.
#[derive(Debug)]
pub struct Report<'a> {
    pub namespace: &'a NamespaceId,
    pub dry_run: bool,
    pub told: Vec<Told>,
    /// What of the metadata is not kept.
    pub warnings: Vec<String>,
}

impl Report<'_> {
    /// Prints it.
    ///
    /// # Errors
    /// When something is left to do.
    pub fn print(&self, output: Format) -> anyhow::Result<()> {
        if output.is_document() {
            output.print_document(&self.document())?
        } else {
            print_text(&self.text())?
        }
        match Status::of(&self.told) {
            Status::Success => Ok(()),
            Status::Partial => Err(Partial("some versions are left: mend them, and adopt again".to_owned()).into()),
            Status::Failed => Err(anyhow::anyhow!("nothing was adopted")),
        }
    }

    fn text(&self) -> String {
        let counts = Counts::of(&self.told);
        let rehearsal = if self.dry_run { " (dry run)" } else { "" };
        let mut text = format!("adopted into {}: {counts}{rehearsal}\n", self.namespace);
        text.push_str(&listed("warning", &self.warnings));
        text.push_str(&left_lines(&self.told, line));
        if counts.published > 0 {
            text.push_str("nothing is in force by this: `policyhub activate POLICY@vLABEL` puts a version in force\n");
        }
        text
    }

    fn document(&self) -> Value {
        json!({
            "status": Status::of(&self.told).word(),
            "namespace": self.namespace,
            "dry_run": self.dry_run,
            "counts": Counts::of(&self.told).to_json(),
            "versions": self.told.iter().map(Told::to_json).collect::<Vec<Value>>(),
            "warnings": self.warnings,
        })
    }
}
