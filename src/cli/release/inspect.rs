//! Finds out what the server has of a version and what its folder holds, before anything is published.
//!
//! Boundary: only reads. The server is asked first, so that a version which it has is recognised whatever its folder holds today. A
//! failed request stops nothing: drafting the same content under the same label again returns the existing version.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::stream::{self, StreamExt as _};

use crate::cli::names::version_name;
use crate::cli::release::fault::Fault;
use crate::cli::release::files::Files;
use crate::cli::release::folder::{Definition, FolderVersion};
use crate::cli::release::git::Git;
use crate::cli::release::plan::PlannedVersion;
use crate::client::name::{NamespaceId, VersionRef};
use crate::client::{Client, ClientError, Code, pb};

/// A version folder that was inspected.
#[derive(Debug)]
pub struct Inspected {
    pub key: FolderVersion,
    /// Git's id of the folder.
    pub tree: String,
    /// The live version of the label, when the server could be asked.
    pub found: FoundVersion,
    /// The version to deliver, or what is wrong with the folder.
    pub validated: Result<ValidatedVersion, Fault>,
}

/// A version whose folder is valid.
#[derive(Debug)]
pub struct ValidatedVersion {
    pub files: Files,
    pub definition: Definition,
}

/// The server's answer for a label: its live version, none, or no answer.
#[derive(Debug)]
pub enum FoundVersion {
    Version(Box<pb::Version>),
    Nothing,
    Unknown,
}

/// Inspects version folders and asks the server for their versions.
#[derive(Debug)]
pub struct Inspector<'a> {
    pub git: &'a Git,
    pub client: &'a Client,
    pub namespace: &'a NamespaceId,
    /// Set when the server does not answer, so that it is not asked again for each version.
    pub is_silent: AtomicBool,
}

/// Returns whether an error means that the server was not reached. It has no reason, and code Unknown when the connection broke
/// during the call.
pub fn is_unreached(error: &ClientError) -> bool {
    error.reason().is_empty() && matches!(error.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Unknown)
}

/// Returns the live version of a label, if there is one.
pub async fn live_version(
    client: &Client,
    namespace: &NamespaceId,
    key: &FolderVersion,
) -> Result<Option<pb::Version>, ClientError> {
    let name = version_name(namespace, &key.policy, &VersionRef::Label(key.label.clone()));
    let request = pb::GetVersionRequest { name, view: pb::VersionView::Basic.into() };
    match client.get_version(request).await {
        Ok(response) => Ok(response.version),
        Err(error) if matches!(error.reason(), "VERSION_NOT_FOUND" | "POLICY_NOT_FOUND") => Ok(None),
        Err(error) => Err(error),
    }
}

impl FoundVersion {
    /// Returns the version when it is published.
    pub fn published(&self) -> Option<&pb::Version> {
        match self {
            Self::Version(version) if version.state() == pb::VersionState::Published => Some(version),
            _ => None,
        }
    }
}

impl Inspector<'_> {
    /// Inspects all queues, each in its order. `looked` is called after each version.
    pub async fn queues(
        &self,
        queues: Vec<Vec<PlannedVersion>>,
        jobs: usize,
        looked: impl Fn(),
    ) -> Vec<Vec<Inspected>> {
        let looked = &looked;
        let inspected = stream::iter(queues).map(async |queue| {
            let mut all = Vec::with_capacity(queue.len());
            for planned in queue {
                all.push(self.inspect(planned).await);
                looked();
            }
            all
        });
        // In order, so that the report does not depend on which request was faster.
        inspected.buffered(jobs).collect().await
    }

    async fn inspect(&self, planned: PlannedVersion) -> Inspected {
        let PlannedVersion { key, tree, files } = planned;
        let found = if self.is_silent.load(Ordering::Relaxed) { FoundVersion::Unknown } else { self.look(&key).await };
        let validated = match files {
            Ok(files) => self.read(&key, files).await,
            Err(error) => Err(error),
        };
        Inspected { key, tree, found, validated }
    }

    async fn read(&self, key: &FolderVersion, files: Files) -> Result<ValidatedVersion, Fault> {
        let (git, reading) = (self.git.clone(), files.clone());
        let read = tokio::task::spawn_blocking(move || git.blobs(&reading.ids())).await;
        let read = read.map_err(|error| error.to_string())?;
        let mut objects = read.map_err(|error| format!("{error:#}"))?.into_iter();
        let metadata = objects.next().unwrap_or_default();
        let content = files.content(objects.collect())?;
        let definition = files.read(key, &metadata, &content)?;
        Ok(ValidatedVersion { files, definition })
    }

    /// Reads the content of a version from git.
    ///
    /// # Errors
    /// Git fails, or the files can't be a content.
    pub async fn content(&self, files: &Files) -> Result<Vec<u8>, Fault> {
        let (git, reading) = (self.git.clone(), files.clone());
        let read = tokio::task::spawn_blocking(move || git.blobs(&reading.content_ids())).await;
        let read = read.map_err(|error| error.to_string())?;
        files.content(read.map_err(|error| format!("{error:#}"))?)
    }

    /// Asks the server for the live version of a label.
    pub async fn look(&self, key: &FolderVersion) -> FoundVersion {
        match live_version(self.client, self.namespace, key).await {
            Ok(version) => version.map_or(FoundVersion::Nothing, |version| FoundVersion::Version(Box::new(version))),
            Err(error) => {
                self.is_silent.fetch_or(is_unreached(&error), Ordering::Relaxed);
                FoundVersion::Unknown
            }
        }
    }
}
