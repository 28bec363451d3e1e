//! Certificates of a client in files: read for each connection, so that they may be renewed under a running process.
//!
//! Invariant: what is used was whole and usable when it was read. Files that are half written, do not belong together or are
//! gone change nothing: those read before are used, and a warning says so.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncReadExt as _;
use tonic::Code;
use tonic::transport::Endpoint;

use super::channel::describe_endpoint;
use super::error::ClientError;
use super::identity::ClientIdentity;

/// Longest file that is read: a bundle of a few hundred authorities.
const TLS_FILE_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// The files of one client.
#[derive(Clone, Default)]
pub struct TlsFiles {
    /// PEM of the certificate authorities of the server.
    pub ca: Option<PathBuf>,
    /// PEM of a client certificate with its chain, and of its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Holds what was usable last. Shared by clones: all of them are one client.
    usable: Arc<Mutex<Option<TlsContents>>>,
}

/// Holds what the files held.
#[derive(Clone, PartialEq, Eq)]
struct TlsContents {
    ca: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl fmt::Debug for TlsFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsFiles").field("ca", &self.ca).field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl TlsFiles {
    /// Names the files. Nothing is read yet.
    #[must_use]
    pub fn new(ca: Option<PathBuf>, identity: Option<(PathBuf, PathBuf)>) -> Self {
        Self { ca, identity, ..Self::default() }
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ca.is_none() && self.identity.is_none()
    }

    /// Describes a connection with what the files hold by now, or held when they were usable last.
    ///
    /// # Errors
    /// Fails when they never were.
    pub(super) async fn endpoint(&self, url: &str) -> Result<(Endpoint, Option<ClientIdentity>), ClientError> {
        let read = self.read().await;
        let newest = read.and_then(|contents| Ok((describe(url, &contents)?, contents)));
        let before = self.usable.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match (newest, before) {
            (Ok((endpoint, contents)), before) => {
                if before.is_some_and(|before| before != contents) {
                    tracing::info!(ca = ?self.ca, identity = ?self.identity, "the certificate files changed");
                }
                let identity = contents.identity();
                *self.usable.lock().unwrap_or_else(PoisonError::into_inner) = Some(contents);
                Ok((endpoint, identity))
            }
            (Err(error), Some(before)) => {
                tracing::warn!(%error, "the certificate files are not used; those read before stand");
                Ok((describe(url, &before)?, before.identity()))
            }
            (Err(error), None) => Err(error),
        }
    }

    async fn read(&self) -> Result<TlsContents, ClientError> {
        let ca = match &self.ca {
            Some(path) => Some(read(path).await?),
            None => None,
        };
        let identity = match &self.identity {
            Some((cert, key)) => Some((read(cert).await?, read(key).await?)),
            None => None,
        };
        Ok(TlsContents { ca, identity })
    }
}

impl TlsContents {
    fn identity(&self) -> Option<ClientIdentity> {
        self.identity.clone().map(|(cert, key)| ClientIdentity { cert, key })
    }
}

fn describe(url: &str, contents: &TlsContents) -> Result<Endpoint, ClientError> {
    describe_endpoint(url, contents.ca.clone(), contents.identity())
}

async fn read(path: &Path) -> Result<Vec<u8>, ClientError> {
    let bounded = async {
        let mut bytes = Vec::new();
        tokio::fs::File::open(path).await?.take(TLS_FILE_MAX_BYTES + 1).read_to_end(&mut bytes).await?;
        if bytes.len() as u64 > TLS_FILE_MAX_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too large"));
        }
        Ok(bytes)
    };
    bounded.await.map_err(|error| {
        ClientError::local(Code::FailedPrecondition, format!("failed to read {}: {error}", path.display()))
    })
}
