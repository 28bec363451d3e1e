//! `policyhub import`: imports an archive of another store as a namespace.
//!
//! The whole archive is verified before anything is sent. A run that was killed is resumed by the next one; nothing imported is in force.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use crate::cli::commands::verify_log::{head, written};
use crate::cli::commands::{keys, releases};
use crate::cli::output::document::{Format, print_text, say};
use crate::cli::output::progress::ProgressDisplay;
use crate::cli::output::text;
use crate::cli::output::text::Release;
use crate::cli::session::Session;
use crate::client::durable::replace_file;
use crate::client::name::{NamespaceId, PolicyId};
use crate::client::signing::digest_of;
use crate::client::{ArchiveCheck, ArchivePart, Code, Head, ImportParts, label_of_item, pb, verify_archive};
use crate::domain::counted_noun::counted_noun;

/// Bring an exported namespace of another store into a namespace without policies
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub import team-a.jsonl --into team-a --create --jwks keys.json \\\n    \
                        --seal-jwks seals.json --save-active active.json")]
pub struct ImportArguments {
    /// The archive that `policyhub export` wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The namespace to import into [default: what it is called in the archive]
    #[arg(long, value_name = "NAMESPACE", value_parser = |text: &str| NamespaceId::parse("namespace", text))]
    into: Option<NamespaceId>,
    /// Make the namespace first, unless it is there
    #[arg(long)]
    create: bool,
    /// The keys to trust for its bundles and statements, as a JWK Set
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// The keys to trust for its seals of events, as a JWK Set
    #[arg(long, value_name = "FILE")]
    seal_jwks: Option<PathBuf>,
    /// An event that it must have, as the last verdict printed its head
    #[arg(long, value_name = "EPOCH:REVISION:HASH", value_parser = head)]
    expect_head: Option<Head>,
    /// Where to write what was in force at its head, as a file for `policyhub activate --from`
    #[arg(long, value_name = "FILE")]
    save_active: Option<PathBuf>,
    /// Verify it and ask the server whether it would take it; change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Runs the command.
pub async fn run(session: &Session, arguments: ImportArguments) -> anyhow::Result<()> {
    let archive = verified(&arguments)?;
    let target = arguments.into.clone().unwrap_or_else(|| archive.header.namespace.clone());
    let active = in_force(&arguments.file, &archive)?;
    if let Some(path) = &arguments.save_active {
        let done = replace_file(path, releases::write(&active).as_bytes());
        done.with_context(|| format!("failed to write {}", path.display()))?;
    }
    if arguments.create && !arguments.dry_run {
        create(session, &target).await?;
    }
    let done = send(session, &arguments, &archive, &target).await;
    let done = done.with_context(|| format!("failed to import into {target}"))?;
    print(session.output, &arguments, &archive, (&target, done), &active)
}

/// Reads the archive and checks that all of it is valid.
fn verified(arguments: &ImportArguments) -> anyhow::Result<ArchiveCheck> {
    let file = &arguments.file;
    let read = |path: &Option<PathBuf>| path.as_deref().map(keys::read_jwks).transpose();
    let pins = (read(&arguments.jwks)?, read(&arguments.seal_jwks)?);
    if pins.0.is_none() || pins.1.is_none() {
        say("note: the keys came with the archive; give --jwks and --seal-jwks to trust none but those you know");
    }
    let archive = verify_archive(BufReader::new(open(file)?), pins, arguments.expect_head);
    let archive = archive.with_context(|| format!("failed to verify {}", file.display()))?;
    if let Some(first) = archive.check.findings.kept.first() {
        let (row, message) = (text::line(&first.row), text::line(&first.message));
        let place = if first.revision > 0 { format!("event {} ", first.revision) } else { String::new() };
        anyhow::bail!(
            "{} does not hold, nothing was sent: {place}{row} {message}; {} in all",
            file.display(),
            counted_noun(archive.check.findings.count, "finding", "findings")
        );
    }
    anyhow::ensure!(archive.check.events > 0, "{} has no events: there is nothing to import", file.display());
    Ok(archive)
}

fn open(path: &Path) -> anyhow::Result<File> {
    File::open(path).with_context(|| format!("failed to open {}", path.display()))
}

/// Returns what the source had in force.
fn in_force(file: &Path, archive: &ArchiveCheck) -> anyhow::Result<BTreeMap<PolicyId, Release>> {
    let pointers = archive.check.pointers.iter().filter(|(_, pointer)| pointer.version > 0);
    let mut active: BTreeMap<PolicyId, Release> = pointers
        .map(|(policy, pointer)| (policy.clone(), Release { version: pointer.version, label: String::new() }))
        .collect();
    let mut parts = ImportParts::new(BufReader::new(open(file)?))?;
    while let Some(part) = parts.next(archive.check.events)? {
        for item in part.items {
            let Some((policy, number, label)) = label_of_item(&item) else { continue };
            if let Some(release) = active.get_mut(&policy).filter(|release| release.version == number) {
                release.label = label;
            }
        }
    }
    Ok(active)
}

async fn create(session: &Session, target: &NamespaceId) -> anyhow::Result<()> {
    let request = pb::CreateNamespaceRequest { namespace_id: target.to_string(), ..Default::default() };
    match session.client.create_namespace(request).await {
        Err(error) if error.code() == Code::AlreadyExists => Ok(()),
        done => done.map(drop).with_context(|| format!("failed to make namespace {target}")),
    }
}

/// Sends what the server does not have yet, part by part.
async fn send(
    session: &Session,
    arguments: &ImportArguments,
    archive: &ArchiveCheck,
    target: &NamespaceId,
) -> anyhow::Result<pb::ImportNamespaceResponse> {
    let source = source(archive);
    let name = digest_of(&serde_json::to_vec(&(target, &source.store, &source.head_hash.to_vec()))?);
    let name: String = name.as_str().chars().skip("sha256:".len()).take(ID_CHARS).collect();
    let request = |part: ArchivePart, request_id: String| pb::ImportNamespaceRequest {
        name: target.name(),
        source: Some(source.clone()),
        offset: part.offset,
        items: part.items,
        last: part.is_last,
        request_id,
        validate_only: arguments.dry_run,
    };
    // No request id: a stored answer would give the progress of the first request, not the current one.
    let begun = session.client.import_namespace(request(ArchivePart::default(), String::new())).await;
    if arguments.dry_run {
        return match begun {
            // A dry run does not create the namespace.
            Err(error) if arguments.create && error.code() == Code::NotFound => Ok(Default::default()),
            asked => Ok(asked?),
        };
    }
    let mut state = begun?;
    let progress = ProgressDisplay::of(archive.lines.saturating_sub(archive.contents), "items");
    let mut parts = ImportParts::new(BufReader::new(open(&arguments.file)?))?;
    while !state.finished {
        let Some(part) = parts.next(state.items)? else { anyhow::bail!("the server wants more than the archive has") };
        let id = format!("import-{name}-{}", part.offset);
        let is_last = part.is_last;
        state = session.client.import_namespace(request(part, id)).await?;
        progress.set(state.items.unsigned_abs());
        anyhow::ensure!(state.finished || !is_last, "the server took the last part, and wants more");
    }
    Ok(state)
}

/// Hex digits in a request id that identify the import.
const ID_CHARS: usize = 32;

fn source(archive: &ArchiveCheck) -> pb::ImportSource {
    let head = archive.check.head();
    pb::ImportSource {
        store: archive.trust.store.clone(),
        namespace: archive.header.namespace.name(),
        head: Some(pb::Cursor { epoch: head.cursor.epoch, revision: head.cursor.revision, ..Default::default() }),
        head_hash: head.hash.to_vec().into(),
        jwks: archive.trust.keys.to_jwks().to_string(),
        seal_jwks: archive.trust.seal_keys.to_jwks().to_string(),
    }
}

fn print(
    output: Format,
    arguments: &ImportArguments,
    archive: &ArchiveCheck,
    (target, done): (&NamespaceId, pb::ImportNamespaceResponse),
    active: &BTreeMap<PolicyId, Release>,
) -> anyhow::Result<()> {
    let head = written(archive.check.head());
    let (events, versions) = (archive.check.events, archive.check.carried_rows("versions"));
    if output.is_document() {
        return output.print_document(&json!({
            "namespace": target,
            "source": {"store": archive.header.store, "namespace": archive.header.namespace, "head": head},
            "events": events, "versions": versions, "histories": archive.imported + 1,
            "items": done.items, "finished": done.finished, "revision": done.cursor.map_or(0, |cursor| cursor.revision),
            "dry_run": arguments.dry_run, "active_at_source": releases::json(active),
        }));
    }
    let word = if arguments.dry_run { "would import" } else { "imported" };
    let from = format!("{} of store {}", archive.header.namespace, text::line(&archive.header.store));
    let (versions, events) = (counted_noun(versions, "version", "versions"), counted_noun(events, "event", "events"));
    let mut lines = format!("{word} {from} into {target}: {versions}, {events}, head {head}\n");
    if active.is_empty() {
        lines.push_str("nothing was in force there\n");
    }
    for (policy, release) in active {
        lines.push_str(&format!("in force there: {policy}@{}\n", text::release(release)));
    }
    print_text(&lines)?;
    if !arguments.dry_run && !active.is_empty() {
        let file = arguments.save_active.as_ref().map_or("FILE".to_owned(), |path| path.display().to_string());
        say(&format!(
            "next: nothing is in force here; decide on it with `policyhub --namespace {target} activate --from {file}`"
        ));
    }
    Ok(())
}
