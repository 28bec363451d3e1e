//! `policyhub epoch`: shows a suspected data loss, and accepts it. Runs on the server's machine, like `migrate`.

use std::fmt::Write as _;

use anyhow::ensure;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::arguments::offline;
use crate::cli::exit_code::UsageError;
use crate::cli::output::document::{Format, write_stdout};
use crate::domain::counted_noun::counted_noun;
use crate::server::config::Settings;
use crate::server::{BumpDone, EpochState, bump_epoch, epoch_state};

/// Message after a restore when it is unknown what was lost.
const UNWITNESSED: &str = "A backup was restored where nobody could tell whether changes were acknowledged after it: if any may \
                           have been, run `policyhub epoch bump --accept-loss --force`";

/// What to do with epochs.
#[derive(Debug, Subcommand)]
pub enum EpochCommands {
    /// Show where each log ends, and whether the store is in doubt
    Show(EpochShow),
    /// Accept that the newest changes may be lost: raise the epoch of every log, and let writes go on
    Bump(Bump),
}

/// Show where each log ends, and whether the store is in doubt
#[derive(Debug, Args)]
#[command(mut_args(offline), after_help = "Example:\n  policyhub epoch show --data-dir /var/lib/policyhub")]
pub struct EpochShow {
    #[command(flatten)]
    settings: Settings,
}

/// Accept that the newest changes may be lost
#[derive(Debug, Args)]
#[command(
    mut_args(offline),
    after_help = "Example:\n  policyhub epoch bump --accept-loss --data-dir /var/lib/policyhub\n\n\
                        Nothing that is in the logs changes, and nothing is activated. Changes that were acknowledged and\n\
                        are not in the logs are gone. Without doubt, or twice, it changes nothing.\n\
                        Servers may be running, but no migration and no `policyhub restore`."
)]
pub struct Bump {
    /// Say that you looked into what was lost; it is needed
    #[arg(long)]
    accept_loss: bool,
    /// Also when nothing speaks for a loss: after a restored backup that took its data directory with it
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    settings: Settings,
}

/// Runs the command.
pub async fn run(output: Format, command: EpochCommands) -> anyhow::Result<()> {
    match command {
        EpochCommands::Show(arguments) => show(output, &epoch_state(arguments.settings).await?),
        EpochCommands::Bump(arguments) => {
            ensure!(
                arguments.accept_loss,
                UsageError(
                    "say --accept-loss when you have looked into what was lost: see `policyhub epoch show`".to_owned()
                )
            );
            let BumpDone { epoch, logs, is_unwitnessed } = bump_epoch(arguments.settings, arguments.force).await?;
            if output.is_document() {
                return output.print_document(&json!({"epoch": epoch, "raised": logs, "unwitnessed": is_unwitnessed}));
            }
            let text = match logs {
                0 if is_unwitnessed => format!("epoch {epoch}: nothing raised. {UNWITNESSED}\n"),
                0 => format!("epoch {epoch}: nothing to raise, the store is not in doubt\n"),
                logs => format!("epoch {epoch}: {} raised\n", counted_noun(logs, "log", "logs")),
            };
            write_stdout(text.as_bytes())
        }
    }
}

fn show(output: Format, state: &EpochState) -> anyhow::Result<()> {
    if output.is_document() {
        let heads = state
            .heads
            .iter()
            .map(|(id, head)| json!({"namespace": id.name(), "epoch": head.epoch, "revision": head.revision}));
        return output.print_document(&json!({
            "heads": heads.collect::<Vec<_>>(),
            "incarnation": state.incarnation,
            "doubt": state.doubt,
            "unwitnessed": state.is_unwitnessed,
            "unfinished": state.unfinished,
        }));
    }
    let mut text = String::new();
    for (id, head) in &state.heads {
        let _ = writeln!(text, "{}  epoch {}, revision {}", id.name(), head.epoch, head.revision);
    }
    if !state.incarnation.is_empty() {
        let _ = writeln!(text, "PostgreSQL (system identifier/timeline)  {}", state.incarnation);
    }
    if let Some(target) = state.unfinished {
        let _ = writeln!(text, "a bump to epoch {target} was begun and not ended: run it again");
    }
    match &state.doubt {
        Some(doubt) => {
            let _ = writeln!(text, "in doubt: {doubt}");
        }
        None if state.is_unwitnessed => {
            let _ = writeln!(text, "not known to be in doubt. {UNWITNESSED}");
        }
        None => text.push_str("not in doubt\n"),
    }
    write_stdout(text.as_bytes())
}
