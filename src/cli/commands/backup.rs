//! `policyhub backup`: copies the embedded database to one file, also while servers run. Runs on the server's machine.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::arguments::offline;
use crate::cli::output::document::{Format, say, write_stdout};
use crate::cli::output::progress::ProgressDisplay;
use crate::domain::counted_noun::counted_noun;
use crate::domain::digest::hex;
use crate::server::config::Settings;
use crate::server::{BackupMade, BackupOptions, CheckedCopy, CopyProgress, LogCheckOutcome, NameNotFlushed, backup};

/// Message for a backup whose directory was not flushed.
const BACKUP_NOT_FLUSHED: &str =
    "the backup was made and checked, but a power cut may take it away: run it again with --force";

/// Write a backup of the embedded database to a file, while servers run or not
#[derive(Debug, Args)]
#[command(
    mut_args(offline),
    after_help = "Example:\n  policyhub backup /mnt/backups/policyhub.backup --data-dir /var/lib/policyhub\n\n\
                        The file holds the database alone. Keep the keys directory and, on this machine, high-water.json\n\
                        too. PostgreSQL has ways of its own: see docs/operations/backup.md."
)]
pub struct BackupArguments {
    /// The file to write; it must not be there
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replace the file when it is a former backup
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    shared: CopyArguments,
}

/// The flags that backup and restore share.
#[derive(Debug, Args)]
pub struct CopyArguments {
    /// Also when the check of its logs finds what does not hold
    #[arg(long)]
    pub accept_findings: bool,
    #[command(flatten)]
    pub settings: Settings,
}

/// Makes the backup and prints what it contains.
pub async fn run(output: Format, arguments: BackupArguments) -> anyhow::Result<()> {
    let BackupArguments { file, force, shared: CopyArguments { accept_findings, settings } } = arguments;
    let shown = ShownProgress::new();
    let options = BackupOptions { overwrite: force, accept_findings };
    let made = backup(settings, &file, options, &|progress| shown.show(progress)).await;
    drop(shown);
    let made = made.map_err(|error| with_outcome(error, "no backup was made", BACKUP_NOT_FLUSHED))?;
    let BackupMade { checked, bytes, digest, keys_dir, data_dir } = &made;
    if output.is_document() {
        let document = describe(
            checked,
            [
                ("file", json!(file)),
                ("bytes", json!(bytes)),
                ("digest", json!(digest.to_string())),
                ("not_included", json!([keys_dir, data_dir.join("high-water.json")])),
            ],
        );
        return output.print_document(&document);
    }
    let text = format!("wrote {}: {bytes} bytes, {digest}\n{}", file.display(), summary(checked));
    write_stdout(text.as_bytes())?;
    say(&format!(
        "not in it: the keys in {} (without them no server starts on it: keep a copy apart), and {} (leave it on this \
         machine: it shows a lost tail)",
        keys_dir.display(),
        data_dir.join("high-water.json").display()
    ));
    Ok(())
}

/// Adds to an error what happened to the file: it was not made, or it was made and may be lost in a power cut.
pub fn with_outcome(error: anyhow::Error, not_done: &'static str, not_flushed: &'static str) -> anyhow::Error {
    let is_there = error.downcast_ref::<NameNotFlushed>().is_some();
    error.context(if is_there { not_flushed } else { not_done })
}

/// Returns what a copy contains and what was checked, as text.
pub fn summary(checked: &CheckedCopy) -> String {
    let CheckedCopy { state, events, logs } = checked;
    let mut text = format!(
        "store {}, schema {}: {} with {}\nchecked: pages, references, schema, the chain of every log, \
         every content",
        state.store_id,
        state.schema,
        counted_noun(state.logs.len(), "log", "logs"),
        counted_noun(*events, "event", "events")
    );
    match logs {
        LogCheckOutcome::Checked(findings) if findings.is_empty() => {
            text.push_str("; with the keys: seals, statements, manifests, rows\n");
        }
        LogCheckOutcome::Checked(findings) => {
            text.push_str(&format!(
                "; with the keys, and {} not hold:\n",
                counted_noun(findings.len(), "thing does", "things do")
            ));
            for finding in findings {
                text.push_str(&format!("  {finding}\n"));
            }
        }
        LogCheckOutcome::Left(why) => text.push_str(&format!("; not checked: seals and rows, because {why}\n")),
    }
    text
}

/// Returns the same as JSON, with more fields.
pub fn describe<const MORE: usize>(checked: &CheckedCopy, more: [(&str, Value); MORE]) -> Value {
    let CheckedCopy { state, events, logs } = checked;
    let ends = state.logs.iter().map(|log| {
        let (epoch, revision) = (log.head.cursor.epoch, log.head.cursor.revision);
        json!({"namespace": log.namespace, "epoch": epoch, "revision": revision, "hash": hex(&log.head.hash)})
    });
    let (findings, not_checked) = match logs {
        LogCheckOutcome::Checked(findings) => (Some(findings), None),
        LogCheckOutcome::Left(why) => (None, Some(why)),
    };
    let fields = [
        ("store", json!(state.store_id)),
        ("schema", json!(state.schema)),
        ("logs", Value::Array(ends.collect())),
        ("events", json!(events)),
        // Null when there was no check; `not_checked` says why.
        ("findings", json!(findings)),
        ("not_checked", json!(not_checked)),
    ];
    fields.into_iter().chain(more).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Progress bars on a terminal, one for each step.
#[derive(Debug)]
pub struct ShownProgress {
    copied: ProgressDisplay,
    checking: std::sync::OnceLock<ProgressDisplay>,
}

impl ShownProgress {
    /// Shows the first bar.
    pub fn new() -> Self {
        Self { copied: ProgressDisplay::of(0, "copying"), checking: std::sync::OnceLock::new() }
    }

    /// Updates the bars.
    pub fn show(&self, progress: CopyProgress) {
        match progress {
            CopyProgress::Copied(done, total) => self.copied.set_of(done, total),
            CopyProgress::Checking => {
                self.checking.get_or_init(|| ProgressDisplay::counting("checking"));
            }
        }
    }
}
