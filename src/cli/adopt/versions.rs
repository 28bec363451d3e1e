//! One version of a folder, from its files to published.
//!
//! The server is asked first: a version that it has is left as it is. A draft of the same label, content and adoption is the one that
//! is there, so a run that was killed is done again.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::folders;
use super::past::Past;
use crate::cli::names::policy_name;
use crate::cli::release::{Candidate, Definition, Fault, Files, Key, METADATA, Outcome, Told, is_unreached, look};
use crate::cli::session::Session;
use crate::cli::text;
use crate::client::{CONTENT_MAX_BYTES, ClientError, new_request_id, pb};
use crate::domain::limits::RELEASE_METADATA_MAX_BYTES;

/// What a version's change note says: the rest stands in what is adopted.
const NOTE: &str = "adopted";

/// Publishes versions that existed before.
#[derive(Debug)]
pub struct Adopter<'a> {
    session: &'a Session,
    folder: &'a Path,
    /// The folder, as messages name it.
    top: &'a str,
    past: &'a Past,
    dry_run: bool,
    /// A server that is gone is not tried with every version in turn.
    is_gone: AtomicBool,
}

/// A version folder that is in order.
struct Source {
    content: Vec<u8>,
    definition: Definition,
    adopted: pb::Adopted,
}

/// What became of a version, and its number.
type Ended = (Outcome, i64);

impl<'a> Adopter<'a> {
    /// Of one run.
    pub fn new(session: &'a Session, folder: &'a Path, top: &'a str, past: &'a Past, dry_run: bool) -> Self {
        Self { session, folder, top, past, dry_run, is_gone: AtomicBool::new(false) }
    }

    /// Adopts one version, and tells of it.
    pub async fn adopt(&self, candidate: Candidate) -> Told {
        let Candidate { key, files, .. } = candidate;
        let source = files.and_then(|files| self.read(&key, &files).map(|source| (source, files)));
        let (source, files) = match source {
            Ok(read) => read,
            Err(fault) => return Told::at_fault(self.top, &key, &fault),
        };
        if self.is_gone.load(Ordering::Relaxed) {
            return Told::held(&key, "the server can't be reached");
        }
        let (outcome, version) = self.send(&key, source).await.unwrap_or_else(|error| {
            self.is_gone.fetch_or(is_unreached(&error), Ordering::Relaxed);
            (failed(&error), 0)
        });
        Told { version, ..Told::of(&key, outcome) }.in_file(files.path(self.top, &key))
    }

    fn read(&self, key: &Key, files: &Files) -> Result<Source, Fault> {
        let path = |name: &str| -> PathBuf { self.folder.join(key.path(".")).join(name) };
        let read = |name: &str, limit| folders::read(&path(name), limit).map_err(|error| format!("{error:#}"));
        let metadata = read(METADATA, RELEASE_METADATA_MAX_BYTES)?;
        let content = read(&files.definition_name, CONTENT_MAX_BYTES)?;
        let definition = files.read(key, &metadata, &content)?;
        let adopted = self.past.of(key, &path(&files.definition_name))?;
        Ok(Source { content, definition, adopted })
    }

    async fn send(&self, key: &Key, source: Source) -> Result<Ended, ClientError> {
        let Session { client, namespace, .. } = self.session;
        if let Some(there) = look(client, namespace, key).await?.filter(is_published) {
            let (number, is_same) = (there.version, there.digest == source.definition.digest.as_str());
            let other = || Outcome::failed(format!("version {number} has this label and other content"));
            return Ok((if is_same { Outcome::Present } else { other() }, number));
        }
        let request = pb::DraftRequest {
            parent: policy_name(namespace, &key.policy),
            content: source.content.into(),
            content_type: source.definition.content_type.to_owned(),
            label: key.label.to_string(),
            change_note: NOTE.to_owned(),
            annotations: source
                .definition
                .annotations
                .iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            adopted: Some(source.adopted),
            request_id: new_request_id(),
            allow_missing: true,
            validate_only: self.dry_run,
            ..Default::default()
        };
        let version = client.draft(request).await?.version.unwrap_or_default();
        if self.dry_run { Ok((Outcome::Rehearsed, 0)) } else { self.publish(key, &version).await }
    }

    async fn publish(&self, key: &Key, version: &pb::Version) -> Result<Ended, ClientError> {
        let client = &self.session.client;
        let (name, etag, number) = (version.name.clone(), version.etag.clone(), version.version);
        let request = pb::PublishRequest { name, etag, request_id: new_request_id(), ..Default::default() };
        let error = match client.publish(request).await {
            Ok(_) => return Ok((Outcome::Published, number)),
            Err(error) if is_unreached(&error) || !error.is_terminal() => return Err(error),
            Err(error) => error,
        };
        if error.reason == "APPROVALS_MISSING" {
            // Only what is staged can be approved.
            let name = version.name.clone();
            client.stage(pb::StageRequest { name, request_id: new_request_id(), ..Default::default() }).await?;
            let next =
                format!("`policyhub approve {}@{number} --digest {}`, then adopt again", key.policy, version.digest);
            return Ok((and(failed(&error), &next), number));
        }
        // What fails again here would hold its label; the folder is there, and can be adopted again.
        let request = pb::AbandonDraftRequest {
            name: version.name.clone(),
            etag: version.etag.clone(),
            reason: format!("it can't be published: {}", error.reason),
            request_id: new_request_id(),
            validate_only: false,
        };
        let _ = client.abandon_draft(request).await;
        Ok((failed(&error), number))
    }
}

fn is_published(version: &pb::Version) -> bool {
    version.state() == pb::VersionState::Published
}

fn failed(error: &ClientError) -> Outcome {
    Outcome::Failed { reason: error.reason.clone(), error: text::line(&error.to_string()) }
}

fn and(outcome: Outcome, next: &str) -> Outcome {
    match outcome {
        Outcome::Failed { reason, error } => Outcome::Failed { reason, error: format!("{error}; {next}") },
        other => other,
    }
}
