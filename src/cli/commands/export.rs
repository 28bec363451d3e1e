//! `policyhub export`: writes a namespace's log, rows and versions to a file, to be verified anywhere and imported elsewhere.

use std::fs::{File, remove_file, rename};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use crate::cli::commands::verify_log::trust;
use crate::cli::output::document::{Format, write_stdout};
use crate::cli::output::progress::ProgressDisplay;
use crate::cli::session::Session;
use crate::client::durable::sync_directory_of;
use crate::client::name::NamespaceId;
use crate::client::signing::chain::LogCheck;
use crate::client::{ArchiveWriter, LogRead, read_archive};
use crate::domain::counted_noun::counted_noun;

/// Write a namespace to a file: its log, its settings, its versions and their contents
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub export team-a --out team-a.jsonl\n  \
                        policyhub verify --log --from team-a.jsonl")]
pub struct ExportArguments {
    /// The namespace
    #[arg(value_parser = |text: &str| NamespaceId::parse("namespace", text))]
    namespace: NamespaceId,
    /// The file to write; it must not be there
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Runs the command.
pub async fn run(session: &Session, arguments: ExportArguments) -> anyhow::Result<()> {
    let ExportArguments { namespace, out } = arguments;
    anyhow::ensure!(!out.exists(), "failed to write {}: it is there already", out.display());
    let part = out.with_added_extension("part");
    let done = write(session, &namespace, &part).await;
    let check = match done {
        Ok(check) => check,
        Err(error) => {
            // An incomplete archive is of no use.
            let _ = remove_file(&part);
            return Err(error);
        }
    };
    let renamed = rename(&part, &out).and_then(|()| sync_directory_of(&out));
    renamed.with_context(|| format!("failed to write {}", out.display()))?;
    let (events, versions) = (check.events, check.manifests.len());
    match session.output {
        Format::Json | Format::Yaml | Format::Sarif => session.output.print_document(&json!({
            "namespace": namespace, "file": out, "events": events, "versions": versions,
            "findings": check.findings.count,
        }))?,
        Format::Text => {
            let events = counted_noun(events, "event", "events");
            let versions = counted_noun(versions, "published version", "published versions");
            let line = format!("wrote {}: {events}, {versions}\n", out.display());
            write_stdout(line.as_bytes())?;
        }
    }
    anyhow::ensure!(check.findings.count == 0, "the log does not hold; see policyhub verify --log");
    Ok(())
}

async fn write(session: &Session, namespace: &NamespaceId, path: &Path) -> anyhow::Result<LogCheck> {
    let trust = trust(session, (None, None)).await?;
    let failed = || format!("failed to write {}", path.display());
    let file = File::create(path).with_context(failed)?;
    let mut archive = ArchiveWriter::new(BufWriter::new(file), &trust, namespace).with_context(failed)?;
    let mut check = LogCheck::new(trust, namespace.clone());
    let mut progress = ProgressDisplay::counting("events");
    let mut counts_rows = false;
    let read = read_archive(&session.client, namespace, &mut check, |read| {
        match read {
            LogRead::Progress(events) => progress.set(events.unsigned_abs()),
            LogRead::Rows(rows, total) => {
                if !counts_rows {
                    (progress, counts_rows) = (ProgressDisplay::of(total, "rows"), true);
                }
                progress.set_of(rows, total);
            }
            _ => {}
        }
        archive.add(&read)
    });
    read.await.context("failed to read the namespace")?;
    let file = archive.end().with_context(failed)?.into_inner().map_err(std::io::IntoInnerError::into_error);
    file.and_then(|file| file.sync_all()).with_context(failed)?;
    Ok(check)
}
