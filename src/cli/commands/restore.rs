//! `policyhub restore`: replaces the embedded database by a backup. Runs on the server's machine, while no server runs.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::arguments::offline;
use crate::cli::commands::backup::{CopyArguments, ShownProgress, describe, summary, with_outcome};
use crate::cli::output::document::{Format, say, write_stdout};
use crate::server::{Digest, HighWaterInTheWay, OldDatabase, RestoreOptions, Restored, restore};

/// Message for a restored database whose directory was not flushed.
const RESTORE_NOT_FLUSHED: &str =
    "the backup is in place of the database, but a power cut may bring the old one back: run it again";

/// Put a backup in place of the embedded database, while no server runs
#[derive(Debug, Args)]
#[command(
    mut_args(offline),
    after_help = "Example:\n  policyhub restore /mnt/backups/policyhub.backup --data-dir /var/lib/policyhub\n\n\
                        The backup is checked first. The old database stays beside the new one. When changes were seen\n\
                        here that the backup lacks, the next start is read-only until `policyhub epoch bump --accept-loss`.\n\
                        Interrupted, run it again."
)]
pub struct RestoreArguments {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only a file with this digest, as `policyhub backup` printed it
    #[arg(long, value_name = "sha256:HEX", value_parser = |text: &str| Digest::parse("digest", text))]
    digest: Option<Digest>,
    /// Also a backup of another store, or one whose keys are not here
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    shared: CopyArguments,
}

/// Restores, and prints what was there, what is there now, and what comes next.
pub async fn run(output: Format, arguments: RestoreArguments) -> anyhow::Result<()> {
    let RestoreArguments { file, digest, force, shared: CopyArguments { accept_findings, settings } } = arguments;
    let shown = ShownProgress::new();
    let options = RestoreOptions { force, accept_findings, digest };
    let restored = restore(settings, &file, options, &|progress| shown.show(progress)).await;
    drop(shown);
    let restored = restored.map_err(|error| match error.is::<HighWaterInTheWay>() {
        true => error,
        false => with_outcome(error, "nothing was restored", RESTORE_NOT_FLUSHED),
    })?;
    if output.is_document() {
        return output.print_document(&document(&restored));
    }
    write_stdout(text(&restored).as_bytes())?;
    say(&format!("next: {}", next(&restored)));
    Ok(())
}

fn text(restored: &Restored) -> String {
    let mut text = match &restored.old {
        OldDatabase::None => "before: no database\n".to_owned(),
        OldDatabase::Unreadable(why) => format!("before: a database that can't be read: {why}\n"),
        OldDatabase::Readable(state) => {
            let mut text = format!("before: store {}\n", state.store_id);
            for log in &state.logs {
                let _ = writeln!(text, "  {}", end(&log.namespace, log.head.cursor.epoch, log.head.cursor.revision));
            }
            text
        }
    };
    if let Some(kept) = &restored.kept_as {
        let _ = writeln!(text, "  kept as {}: remove it when nobody needs it", kept.display());
    }
    if let Some(kept) = &restored.high_water_kept_as {
        let _ = writeln!(text, "what was seen of another store is kept as {}", kept.display());
    }
    let _ = write!(text, "now: {}, {}\n{}", restored.database.display(), restored.digest, summary(&restored.new));
    for log in &restored.new.state.logs {
        let _ = writeln!(text, "  {}", end(&log.namespace, log.head.cursor.epoch, log.head.cursor.revision));
    }
    if let Some(doubt) = &restored.doubt {
        let _ = writeln!(text, "in doubt: {doubt}");
    }
    text
}

fn end(namespace: &str, epoch: i64, revision: i64) -> String {
    format!("namespaces/{namespace}  epoch {epoch}, revision {revision}")
}

/// Returns what the operator must do next.
fn next(restored: &Restored) -> String {
    let keys = format!("see that its keys are in {}", restored.keys_dir.display());
    if restored.doubt.is_some() {
        return format!(
            "{keys} and start the server, which is read-only now; find out what was lost, then accept it: \
             policyhub epoch bump --accept-loss"
        );
    }
    if !restored.is_witnessed {
        return format!(
            "{keys}. Nobody here can tell whether changes were acknowledged after the backup: if any may have been, run \
             `policyhub epoch bump --accept-loss --force` before the first write; else start the server"
        );
    }
    format!(
        "{keys} and start the server: nothing that was seen here is missing, so it needs no `policyhub epoch bump --accept-loss`"
    )
}

fn document(restored: &Restored) -> Value {
    let before = match &restored.old {
        OldDatabase::None => Value::Null,
        OldDatabase::Unreadable(why) => json!({"unreadable": why}),
        OldDatabase::Readable(state) => {
            let ends = state.logs.iter().map(|log| {
                let (epoch, revision) = (log.head.cursor.epoch, log.head.cursor.revision);
                json!({"namespace": log.namespace, "epoch": epoch, "revision": revision})
            });
            json!({"store": state.store_id, "logs": ends.collect::<Vec<_>>()})
        }
    };
    describe(
        &restored.new,
        [
            ("database", json!(restored.database)),
            ("digest", json!(restored.digest.to_string())),
            ("before", before),
            ("kept_as", json!(restored.kept_as)),
            ("high_water_kept_as", json!(restored.high_water_kept_as)),
            ("doubt", json!(restored.doubt)),
            ("next", json!(next(restored))),
        ],
    )
}
