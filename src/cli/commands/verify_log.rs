//! `policyhub verify --log`: verifies a whole log, from a server or from an archive.
//!
//! With a server, its own check is requested, and the log is also read and verified here: the two checks are independent.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use crate::cli::commands::keys;
use crate::cli::exit_code::CommandReason;
use crate::cli::output::document::{Format, print_text, say};
use crate::cli::output::progress::ProgressDisplay;
use crate::cli::output::text;
use crate::cli::session::Session;
use crate::client::name::NamespaceId;
use crate::client::signing::KeySet;
use crate::client::signing::chain::{LogCheck, LogTrust};
use crate::client::{Cursor, Head, LogRead, log_keys, pb, read_log, seal_keys, verify_archive};
use crate::domain::counted_noun::counted_noun;

/// What the check of a log is told, and the keys.
#[derive(Debug, Args)]
pub struct LogArguments {
    /// Verify the log of this namespace instead [default: that of --namespace]
    #[arg(long, value_name = "NAMESPACE", num_args = 0..=1, conflicts_with_all = ["folder", "manifest", "content", "statement"],
          value_parser = |text: &str| NamespaceId::parse("namespace", text))]
    pub log: Option<Option<NamespaceId>>,
    /// The archive that `policyhub export` wrote; nothing is asked of a server then
    #[arg(long, value_name = "FILE", requires = "log")]
    pub from: Option<PathBuf>,
    /// An event that the log must have, as the last verdict printed its head
    #[arg(long, value_name = "EPOCH:REVISION:HASH", requires = "log", value_parser = head)]
    pub expect_head: Option<Head>,
    /// The keys to trust for bundles and statements, as a JWK Set
    #[arg(long, value_name = "FILE", required_unless_present = "log")]
    pub jwks: Option<PathBuf>,
    /// The keys to trust for seals of events, as a JWK Set
    #[arg(long, value_name = "FILE", requires = "log")]
    pub seal_jwks: Option<PathBuf>,
}

/// Parses a cursor with its hash, as `--expect-head` takes it and a verdict prints it.
pub fn head(text: &str) -> Result<Head, String> {
    let refuse = || "must be EPOCH:REVISION:HASH, as `verify --log` prints it".to_owned();
    let parts: Vec<&str> = text.split(':').collect();
    let [epoch, revision, hash] = parts.as_slice() else { return Err(refuse()) };
    let number = |text: &str| text.parse::<i64>().ok().filter(|number| *number > 0).ok_or_else(refuse);
    let bytes = crate::client::unhex(hash).and_then(|bytes| bytes.try_into().ok());
    Ok(Head { cursor: Cursor { epoch: number(epoch)?, revision: number(revision)? }, hash: bytes.ok_or_else(refuse)? })
}

/// Formats a head so that `head` can parse it.
pub fn written(head: Head) -> String {
    format!("{}:{}:{}", head.cursor.epoch, head.cursor.revision, crate::client::hex(&head.hash))
}

/// Reads the pinned keys of bundles and of event signatures.
fn pinned(arguments: &LogArguments) -> anyhow::Result<(Option<KeySet>, Option<KeySet>)> {
    let read = |path: &Option<std::path::PathBuf>| path.as_deref().map(keys::read_jwks).transpose();
    Ok((read(&arguments.jwks)?, read(&arguments.seal_jwks)?))
}

/// The result of a check, for printing.
struct VerifyVerdict {
    namespace: String,
    /// The result of the server's own check, when there is a server.
    server: Option<pb::VerifyLogResult>,
    check: LogCheck,
    pinned: bool,
}

/// Checks an archive.
pub fn run_offline(output: Format, arguments: &LogArguments, from: &Path) -> anyhow::Result<()> {
    let file = File::open(from).with_context(|| format!("failed to open {}", from.display()))?;
    let pins = pinned(arguments)?;
    let is_pinned = pins.0.is_some() && pins.1.is_some();
    let read = verify_archive(BufReader::new(file), pins, arguments.expect_head);
    let read = read.with_context(|| format!("failed to verify {}", from.display()))?;
    let namespace = read.header.namespace;
    if let Some(named) = arguments.log.as_ref().and_then(Option::as_ref)
        && *named != namespace
    {
        let message = format!("failed to verify: the archive is of {namespace}, not of {named}");
        return Err(CommandReason::NotVerified.error(message));
    }
    let verdict =
        VerifyVerdict { namespace: namespace.to_string(), server: None, check: read.check, pinned: is_pinned };
    verdict.print(output)
}

/// Checks the log of a server.
pub async fn run_online(session: &Session, arguments: &LogArguments) -> anyhow::Result<()> {
    let named = arguments.log.as_ref().and_then(Option::as_ref);
    let namespace = named.unwrap_or(&session.namespace).clone();
    let pins = pinned(arguments)?;
    let pinned = pins.0.is_some() && pins.1.is_some();
    let trust = trust(session, pins).await?;
    let mut check = LogCheck::new(trust, namespace.clone());
    check.expect(arguments.expect_head);
    let progress = ProgressDisplay::counting("events");
    let read = read_log(&session.client, &namespace, &mut check, |read| {
        if let LogRead::Progress(events) = read {
            progress.set(events.unsigned_abs());
        }
        Ok(())
    });
    if let Err(error) = read.await {
        let error = anyhow::Error::from(error).context("failed to read the log");
        // The server refuses to show a log that does not verify: this is a result of the check, not a failure of it.
        if !is_data_loss(&error) {
            return Err(error);
        }
        check.findings.add(0, "", format!("{error:#}"));
    }
    drop(progress);
    let server = checked_by_server(session, &namespace).await?;
    let (own, said) = (check.proven(), server.head.unwrap_or_default());
    if said.revision == own.cursor.revision && server.head_hash.as_ref() != own.hash {
        check.findings.add(said.revision, "", "the server checked another log than it shows");
    }
    let verdict = VerifyVerdict { namespace: namespace.to_string(), server: Some(server), check, pinned };
    verdict.print(session.output)
}

/// Has the server check its own log, and shows the progress.
pub async fn checked_by_server(session: &Session, namespace: &NamespaceId) -> anyhow::Result<pb::VerifyLogResult> {
    let request = pb::VerifyLogRequest { parent: namespace.name(), after: None };
    let bar = ProgressDisplay::of(0, "events, by the server");
    let checked = session.client.verify_log_with(request, |progress| {
        bar.set_of(progress.events.unsigned_abs(), progress.total_events.unsigned_abs());
        match progress.phase() {
            pb::VerifyLogPhase::Waiting => bar.name("the server checks other logs first"),
            pb::VerifyLogPhase::Rows => bar.name("rows, by the server"),
            pb::VerifyLogPhase::Events | pb::VerifyLogPhase::Unspecified => bar.name("events, by the server"),
        }
    });
    checked.await.context("failed to have the server check its log")
}

/// Returns the revision of a finding of the server; 0: no single event.
fn revision_of(found: &pb::LogFinding) -> i64 {
    found.cursor.map_or(0, |cursor| cursor.revision)
}

/// Returns the keys that a log is verified with: the pinned ones, else those of the server.
pub async fn trust(session: &Session, pinned: (Option<KeySet>, Option<KeySet>)) -> anyhow::Result<LogTrust> {
    let listed = keys::list(session).await?;
    let keys = pinned.0.map_or_else(|| log_keys(&listed), Ok)?;
    let seal_keys = pinned.1.map_or_else(|| seal_keys(&listed), Ok)?;
    Ok(LogTrust { store: listed.store, keys, seal_keys })
}

fn is_data_loss(error: &anyhow::Error) -> bool {
    let mut causes = error.chain();
    causes.any(|cause| {
        let read = cause.downcast_ref::<crate::client::ReadError>();
        matches!(read, Some(crate::client::ReadError::Call(call)) if call.reason() == "DATA_LOSS")
    })
}

impl VerifyVerdict {
    fn holds(&self) -> bool {
        self.check.findings.count == 0 && self.server.as_ref().is_none_or(|server| server.valid)
    }

    fn print(mut self, output: Format) -> anyhow::Result<()> {
        self.check.settle();
        match output {
            Format::Json | Format::Yaml | Format::Sarif => output.print_document(&self.json())?,
            Format::Text => print_text(&self.text())?,
        }
        if !self.holds() {
            return Err(CommandReason::NotVerified.error(format!("the log of {} does not hold", self.namespace)));
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let head = self.check.proven();
        let finding = |by: &str, revision: i64, row: &str, message: &str| json!({"by": by, "revision": revision, "row": row, "message": message});
        let own = self.check.findings.named().map(|found| finding("here", found.revision, &found.row, &found.message));
        let server = self.server.iter().flat_map(|server| &server.findings);
        let server = server.map(|found| finding("server", revision_of(found), &found.row, &found.message));
        json!({
            "verified": self.holds(),
            "namespace": self.namespace,
            "keys": if self.pinned { "given" } else { "found there" },
            "events": self.check.events,
            "manifests": self.check.manifests.len(),
            "rows": self.server.as_ref().map(|server| server.rows),
            "head": written(head),
            "findings": own.chain(server).collect::<Vec<_>>(),
            "server_findings_digest": self.server.as_ref().map(|server| &server.findings_digest),
        })
    }

    fn text(&self) -> String {
        let mut lines = String::new();
        for found in self.check.findings.named() {
            lines.push_str(&finding_line("here", found.revision, &found.row, &found.message));
        }
        for found in self.server.iter().flat_map(|server| &server.findings) {
            lines.push_str(&finding_line("server", revision_of(found), &found.row, &found.message));
        }
        let unnamed = self.check.findings.count - self.check.findings.named().count() as u64;
        if unnamed > 0 {
            lines.push_str(&format!("here: and {unnamed} more\n"));
        }
        if let Some(server) = self.server.as_ref().filter(|server| server.findings_count > 0) {
            let digest = text::line(&server.findings_digest);
            let digest = if digest.is_empty() { String::new() } else { format!(", digest {digest}") };
            lines
                .push_str(&format!("server: {}{digest}\n", counted_noun(server.findings_count, "finding", "findings")));
        }
        let word = if self.holds() { "verified" } else { "not verified:" };
        let events = counted_noun(self.check.events, "event", "events");
        let versions = counted_noun(self.check.manifests.len(), "published version", "published versions");
        lines.push_str(&format!("{word} {}: {events}, {versions}", self.namespace));
        if let Some(server) = &self.server {
            lines.push_str(&format!(", {} by the server", counted_noun(server.rows, "row", "rows")));
        }
        lines.push_str(&format!("\nhead {}\n", written(self.check.proven())));
        if !self.pinned {
            say("note: the keys came with the log; give --jwks and --seal-jwks to trust none but yours");
        }
        lines
    }
}

fn finding_line(by: &str, revision: i64, row: &str, message: &str) -> String {
    let place = if revision > 0 { format!(" event {revision}") } else { String::new() };
    let row = if row.is_empty() { String::new() } else { format!(" {}", text::line(row)) };
    format!("{by}:{place}{row}: {}\n", text::line(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_is_written() {
        let text = format!("1:42:{}", "0f".repeat(32));
        assert_eq!(head(&text).map(written), Ok(text));
        for text in ["", "1:42", "1:42:0f", "0:42:", "x:1:00", &format!("1:-2:{}", "00".repeat(32))] {
            assert!(head(text).is_err(), "{text}");
        }
    }
}
