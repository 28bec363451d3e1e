//! What a version folder holds, and whether the server has it: before anything is published.
//!
//! Boundary: reads alone. A question that fails stops nothing: drafting the same content under the same label again
//! answers what is there.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::stream::{self, StreamExt as _};

use super::folder::{Definition, Files, Key};
use super::git::Git;
use super::plan::Candidate;
use crate::cli::names::version_name;
use crate::cli::progress::Progress;
use crate::client::name::{NamespaceId, VersionRef};
use crate::client::{Client, ClientError, Code, pb};

/// A version that the repository holds in order.
#[derive(Debug)]
pub struct Sound {
    pub key: Key,
    pub tree: String,
    pub files: Files,
    pub definition: Definition,
    /// The live version of its label, when the server could be asked.
    pub found: Found,
}

/// What the server said of a label: its live version, none, or nothing.
#[derive(Debug)]
pub enum Found {
    Version(Box<pb::Version>),
    Nothing,
    Unknown,
}

/// Looks at versions, and asks.
#[derive(Debug)]
pub struct Inspector<'a> {
    pub git: &'a Git,
    pub client: &'a Client,
    pub namespace: &'a NamespaceId,
    /// A server that does not answer is not asked by every version in turn.
    pub is_silent: AtomicBool,
}

/// Whether an error is that of a server that is not there. It has no reason, and Unknown when the connection broke under the call.
pub fn is_unreached(error: &ClientError) -> bool {
    error.reason.is_empty() && matches!(error.code, Code::Unavailable | Code::DeadlineExceeded | Code::Unknown)
}

impl Inspector<'_> {
    /// All of a lane, in its order: what is sound, or what is wrong.
    pub async fn lanes(
        &self,
        lanes: Vec<Vec<Candidate>>,
        jobs: usize,
        progress: &Progress,
    ) -> Vec<Vec<(Key, Result<Sound, String>)>> {
        let inspected = stream::iter(lanes).map(async |lane| {
            let mut sound = Vec::with_capacity(lane.len());
            for candidate in lane {
                sound.push((candidate.key.clone(), self.inspect(candidate).await));
                progress.advance(1);
            }
            sound
        });
        // In order, so that what is said does not depend on who was faster.
        inspected.buffered(jobs).collect().await
    }

    async fn inspect(&self, candidate: Candidate) -> Result<Sound, String> {
        let Candidate { key, tree, files } = candidate;
        let files = files?;
        let (git, reading) = (self.git.clone(), files.clone());
        let read = tokio::task::spawn_blocking(move || git.blobs(reading.ids())).await;
        let read = read.map_err(|error| error.to_string())?;
        let [metadata, content] = read.map_err(|error| format!("{error:#}"))?;
        let definition = files.read(&key, &metadata, &content)?;
        let found = if self.is_silent.load(Ordering::Relaxed) { Found::Unknown } else { self.look(&key).await };
        Ok(Sound { key, tree, files, definition, found })
    }

    /// Asks for the live version of a label.
    pub async fn look(&self, key: &Key) -> Found {
        let name = version_name(self.namespace, &key.policy, &VersionRef::Label(key.label.clone()));
        let request = pb::GetVersionRequest { name, view: pb::VersionView::Basic.into() };
        match self.client.get_version(request).await {
            Ok(response) => response.version.map_or(Found::Unknown, |version| Found::Version(Box::new(version))),
            Err(error) if matches!(error.reason.as_str(), "VERSION_NOT_FOUND" | "POLICY_NOT_FOUND") => Found::Nothing,
            Err(error) => {
                self.is_silent.fetch_or(is_unreached(&error), Ordering::Relaxed);
                Found::Unknown
            }
        }
    }
}
