//! Adopts one version of a folder, from its files to published.
//!
//! The server is asked first: a version that it has is left as it is. A draft of the same label, content and adoption is the
//! existing one, so that a run that was killed can be repeated.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cli::commands::adopt::provenance::Provenance;
use crate::cli::content::read_at_most;
use crate::cli::content_folder;
use crate::cli::release::label_order::LabelOrder;
use crate::cli::release::{
    Definition, Fault, Files, FolderResult, FolderVersion, METADATA, PlannedVersion, VersionOutcome, is_unreached,
    label_order, live_version,
};
use crate::cli::session::Session;
use crate::client::{CONTENT_MAX_BYTES, ClientError, new_request_id, pb};
use crate::domain::limits::RELEASE_METADATA_MAX_BYTES;

/// The change note; the other details are in the adoption.
const NOTE: &str = "adopted";

/// Adopts versions.
#[derive(Debug)]
pub struct Adopter<'a> {
    session: &'a Session,
    folder: &'a Path,
    /// The folder, as messages name it.
    top: &'a str,
    provenance: &'a Provenance,
    dry_run: bool,
    /// Set when the server is unreachable, so that the remaining versions are not tried in turn.
    is_gone: AtomicBool,
}

/// The content of a valid version folder.
struct AdoptedVersion {
    content: Vec<u8>,
    definition: Definition,
    adopted: pb::Adopted,
}

/// The outcome of a version, and its number.
type AdoptEnd = (VersionOutcome, i64);

impl<'a> Adopter<'a> {
    /// Returns the adopter of one run.
    pub fn new(
        session: &'a Session,
        folder: &'a Path,
        top: &'a str,
        provenance: &'a Provenance,
        dry_run: bool,
    ) -> Self {
        Self { session, folder, top, provenance, dry_run, is_gone: AtomicBool::new(false) }
    }

    /// Adopts one version; returns the result, and a warning about metadata that is not kept.
    pub async fn adopt(&self, planned: PlannedVersion) -> (FolderResult, Option<String>) {
        let PlannedVersion { key, files, .. } = planned;
        let source = files.and_then(|files| self.read(&key, &files).map(|source| (source, files)));
        let (source, files) = match source {
            Ok(read) => read,
            Err(fault) => return (FolderResult::at_fault(self.top, &key, &fault), None),
        };
        if self.is_gone.load(Ordering::Relaxed) {
            return (FolderResult::held(&key, "the server can't be reached"), None);
        }
        let left_out = source.definition.left_out_of(&key);
        let (outcome, version) = self.send(&key, source).await.unwrap_or_else(|error| {
            self.is_gone.fetch_or(is_unreached(&error), Ordering::Relaxed);
            (VersionOutcome::refused(&error), 0)
        });
        let left_out = left_out.filter(|_| outcome.is_sent());
        (FolderResult { version, ..FolderResult::of(&key, outcome) }.in_file(files.path(self.top, &key)), left_out)
    }

    fn read(&self, key: &FolderVersion, files: &Files) -> Result<AdoptedVersion, Fault> {
        let path = |name: &str| -> PathBuf { self.folder.join(key.path(".")).join(name) };
        let read = |name: &str, limit| read_at_most(&path(name), limit, name).map_err(|error| format!("{error:#}"));
        let metadata = read(METADATA, RELEASE_METADATA_MAX_BYTES)?;
        let content = match files.are_several() {
            true => content_folder::read(&path(&files.definition_name)).map_err(|error| format!("{error:#}"))?,
            false => read(&files.definition_name, CONTENT_MAX_BYTES)?,
        };
        let definition = files.read(key, &metadata, &content)?;
        let adopted = self.provenance.of(key, &path(&files.definition_name), &definition.annotations)?;
        Ok(AdoptedVersion { content, definition, adopted })
    }

    async fn send(&self, key: &FolderVersion, source: AdoptedVersion) -> Result<AdoptEnd, ClientError> {
        let Session { client, namespace, .. } = self.session;
        let digest = source.definition.digest.as_str().to_owned();
        if let Some(ended) = self.published(key, &digest).await? {
            return Ok(ended);
        }
        // Check before a number is used up.
        if let LabelOrder::Lower(highest) = label_order::ask(client, namespace, key).await {
            let (why, command) = (label_order::too_low(key, &highest), label_order::allow_command(&key.policy));
            return Ok((VersionOutcome::failed(format!("{why}: allow it with {command}, and adopt again")), 0));
        }
        let request = pb::DraftRequest {
            change_note: NOTE.to_owned(),
            adopted: Some(source.adopted),
            request_id: new_request_id(),
            validate_only: self.dry_run,
            ..source.definition.draft(namespace, key, source.content)
        };
        let version = client.draft(request).await?.version.unwrap_or_default();
        if self.dry_run {
            return Ok((VersionOutcome::Rehearsed, 0));
        }
        match self.publish(key, &version).await {
            // Another adoption may have been faster.
            Err(error) if !is_unreached(&error) => {
                Ok(self.published(key, &digest).await?.unwrap_or((VersionOutcome::refused(&error), 0)))
            }
            ended => ended,
        }
    }

    /// Returns the outcome for a label that is already published.
    async fn published(&self, key: &FolderVersion, digest: &str) -> Result<Option<AdoptEnd>, ClientError> {
        let found = live_version(&self.session.client, &self.session.namespace, key).await?.filter(is_published);
        Ok(found.map(|there| {
            let number = there.version;
            let other = || VersionOutcome::failed(format!("version {number} has this label and other content"));
            (if there.digest == digest { VersionOutcome::Present } else { other() }, number)
        }))
    }

    async fn publish(&self, key: &FolderVersion, version: &pb::Version) -> Result<AdoptEnd, ClientError> {
        let client = &self.session.client;
        let (name, etag, number) = (version.name.clone(), version.etag.clone(), version.version);
        let request = pb::PublishRequest {
            name: name.clone(),
            etag: etag.clone(),
            request_id: new_request_id(),
            ..Default::default()
        };
        let error = match client.publish(request).await {
            Ok(_) => return Ok((VersionOutcome::Published, number)),
            Err(error) => error,
        };
        match error.reason() {
            "APPROVALS_MISSING" => {
                // Only a staged version can be approved.
                client.stage(pb::StageRequest { name, request_id: new_request_id(), ..Default::default() }).await?;
                Ok((VersionOutcome::awaiting(&error, version, key, "adopt"), number))
            }
            "VALIDATION_FAILED" => {
                // An open draft would hold its label; the folder can be adopted again.
                let reason = "it fails its checks".to_owned();
                let request_id = new_request_id();
                let _ = client
                    .abandon_draft(pb::AbandonDraftRequest { name, etag, reason, request_id, validate_only: false })
                    .await;
                Ok((VersionOutcome::refused(&error), number))
            }
            _ => Err(error),
        }
    }
}

fn is_published(version: &pb::Version) -> bool {
    version.state() == pb::VersionState::Published
}
