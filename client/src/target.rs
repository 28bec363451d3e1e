//! Where a server is and who asks it: what is needed to connect again and again.
//!
//! Invariant: a token is never shown. A token file is read for each connection, so that it may be renewed under a running
//! process.

use std::fmt;
use std::path::PathBuf;

use tonic::Code;

use super::channel::{Client, ClientIdentity, describe_endpoint};
use super::error::ClientError;
use super::tls_files::TlsFiles;

/// Longest token file that is read.
const TOKEN_FILE_MAX_BYTES: u64 = 64 * 1024;

/// Where the bearer token comes from.
#[derive(Clone, Default)]
pub enum TokenSource {
    /// No token: a client certificate, or a server without authentication.
    #[default]
    None,
    /// This one.
    Text(String),
    /// The file, as it is when a connection is made.
    File(PathBuf),
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Text(_) => f.write_str("Text(…)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// A server, and who asks it.
#[derive(Debug, Clone, Default)]
pub struct Target {
    /// `http://host:port` or `https://host:port`.
    pub endpoint: String,
    /// The bearer token.
    pub token: TokenSource,
    /// PEM of the certificate authority of the server; none: those of the platform.
    pub tls_ca: Option<Vec<u8>>,
    /// Client certificate, for `https` alone.
    pub identity: Option<ClientIdentity>,
    /// Files in place of these two. They are read for each connection, so that they may be renewed under a running process.
    pub tls_files: TlsFiles,
    /// Whether a token may be sent over `http` to a host that is not this machine: only where something else keeps the
    /// network secret.
    pub insecure_plaintext: bool,
}

impl Target {
    /// A server without TLS, on this machine.
    #[must_use]
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self { endpoint: endpoint.into(), ..Self::default() }
    }

    /// The same, asked with this token.
    #[must_use]
    pub fn with_token(self, token: TokenSource) -> Self {
        Self { token, ..self }
    }

    /// A connection of its own.
    ///
    /// # Errors
    /// As [`Client::connect`], and FAILED_PRECONDITION for a file that can't be read.
    pub async fn connect(&self) -> Result<Client, ClientError> {
        let token = match &self.token {
            TokenSource::None => None,
            TokenSource::Text(token) => Some(token.clone()),
            TokenSource::File(path) => Some(read_token(path).await.map_err(|error| {
                let message = format!("failed to read token file {}: {error}", path.display());
                ClientError::local(Code::FailedPrecondition, message)
            })?),
        };
        let (endpoint, identity) = if self.tls_files.is_empty() {
            let described = describe_endpoint(&self.endpoint, self.tls_ca.clone(), self.identity.clone())?;
            (described, self.identity.clone())
        } else {
            self.tls_files.endpoint(&self.endpoint).await?
        };
        Client::connect_to(&self.endpoint, endpoint, token, identity.as_ref(), self.insecure_plaintext).await
    }
}

async fn read_token(path: &PathBuf) -> std::io::Result<String> {
    use tokio::io::AsyncReadExt as _;
    let mut text = String::new();
    tokio::fs::File::open(path).await?.take(TOKEN_FILE_MAX_BYTES).read_to_string(&mut text).await?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_is_never_shown_and_its_file_is_read_when_it_is_needed() {
        let target = Target::new("http://127.0.0.1:1").with_token(TokenSource::Text("secret".to_owned()));
        assert!(!format!("{target:?}").contains("secret"));
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("a.token");
        let target = target.with_token(TokenSource::File(file.clone()));
        let error = target.connect().await.expect_err("there is no file");
        assert_eq!(error.code, Code::FailedPrecondition);
        std::fs::write(&file, "secret\n").expect("written");
        assert_eq!(read_token(&file).await.expect("a token"), "secret");
        assert_eq!(target.connect().await.expect_err("there is no server").code, Code::Unavailable);
    }
}
