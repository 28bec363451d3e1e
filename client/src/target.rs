//! Where a server is and who asks it: what is needed to connect again and again.
//!
//! Boundary: makes connections; [`super::connections`] shares them. Invariant: token and certificates are read for each
//! connection, so that they may be renewed under a running process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tonic::Code;
use tonic::transport::Channel;

use super::channel::{CONNECT_TIMEOUT, ClientIdentity, RpcClient, describe_endpoint};
use super::connections::Connections;
use super::error::ClientError;
use super::tls_files::TlsFiles;
use super::token::TokenSource;

/// A server, which may be reached at several endpoints, and who asks it.
#[derive(Debug, Clone)]
pub struct Target {
    endpoints: Vec<String>,
    token: TokenSource,
    tls_ca: Option<Vec<u8>>,
    identity: Option<ClientIdentity>,
    tls_files: TlsFiles,
    insecure_plaintext: bool,
    connect_timeout: Duration,
    /// Used in place of an endpoint.
    channel: Option<Channel>,
    /// Used in place of a connection of its own.
    shared: Option<Connections>,
    /// The endpoint that is tried first: the one that answered last. Clones share it.
    first: Arc<AtomicUsize>,
}

impl Target {
    /// A server at `http://host:port` or `https://host:port`, asked without a token.
    #[must_use]
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self::with_endpoints(vec![endpoint.into()])
    }

    /// A server at these endpoints: each connection goes to the first that answers, beginning with the one that did last, or after a
    /// connection that broke with the next.
    #[must_use]
    pub fn with_endpoints(endpoints: Vec<String>) -> Self {
        Self {
            endpoints,
            token: TokenSource::None,
            tls_ca: None,
            identity: None,
            tls_files: TlsFiles::default(),
            insecure_plaintext: false,
            connect_timeout: CONNECT_TIMEOUT,
            channel: None,
            shared: None,
            first: Arc::default(),
        }
    }

    /// The server of these connections, which are shared with others.
    pub(super) fn shared(connections: Connections) -> Self {
        Self { shared: Some(connections), ..Self::with_endpoints(Vec::new()) }
    }

    /// Sends this token.
    #[must_use]
    pub fn with_token(self, token: TokenSource) -> Self {
        Self { token, ..self }
    }

    /// Trusts the certificate authorities of this PEM alone; without them, those of the platform.
    #[must_use]
    pub fn with_tls_ca(self, pem: Vec<u8>) -> Self {
        Self { tls_ca: Some(pem), ..self }
    }

    /// Shows this client certificate, to `https` endpoints alone.
    #[must_use]
    pub fn with_identity(self, identity: ClientIdentity) -> Self {
        Self { identity: Some(identity), ..self }
    }

    /// Takes authorities and client certificate from files, in place of those given.
    #[must_use]
    pub fn with_tls_files(self, tls_files: TlsFiles) -> Self {
        Self { tls_files, ..self }
    }

    /// Whether a token may be sent over `http` to a host that is not this machine: only where something else keeps the
    /// network secret.
    #[must_use]
    pub fn with_insecure_plaintext(self, insecure_plaintext: bool) -> Self {
        Self { insecure_plaintext, ..self }
    }

    /// Adds endpoints, to be tried after those that are there.
    pub(super) fn with_more_endpoints(mut self, endpoints: Vec<String>) -> Self {
        self.endpoints.extend(endpoints);
        self
    }

    /// How long one endpoint may take to connect.
    pub(super) fn with_connect_timeout(self, connect_timeout: Duration) -> Self {
        Self { connect_timeout, ..self }
    }

    /// Uses this channel in place of an endpoint.
    pub(super) fn with_channel(self, channel: Channel) -> Self {
        Self { channel: Some(channel), ..self }
    }

    pub(super) fn has_endpoint(&self) -> bool {
        self.channel.is_some() || !self.endpoints.is_empty()
    }

    /// Whether another token may be got than the one of the last connection.
    pub(super) fn may_renew_token(&self) -> bool {
        self.token.may_change()
    }

    /// A connection: one of its own, unless it is shared.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for an endpoint, a token or a certificate that can't be used, FAILED_PRECONDITION for a token or a
    /// file that can't be got, UNAVAILABLE when no endpoint answers: the error of the last one that was tried.
    pub async fn connect(&self) -> Result<RpcClient, ClientError> {
        match &self.shared {
            Some(connections) => connections.for_stream().await,
            None => self.connect_anew().await,
        }
    }

    /// A connection of its own.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub(super) async fn connect_anew(&self) -> Result<RpcClient, ClientError> {
        let token = self.token.token().await?;
        if let Some(channel) = &self.channel {
            return RpcClient::over_channel(channel.clone(), token);
        }
        let first = self.first.load(Ordering::Relaxed);
        let mut failed = None;
        for at in (0..self.endpoints.len()).map(|next| (first + next) % self.endpoints.len()) {
            let Some(endpoint) = self.endpoints.get(at) else { continue };
            match self.connect_to(endpoint, token.clone()).await {
                Ok(client) => {
                    self.first.store(at, Ordering::Relaxed);
                    return Ok(client);
                }
                // What can't be used says so, also when another endpoint could.
                Err(error) if error.code != Code::Unavailable => return Err(error),
                Err(error) => failed = Some(error),
            }
        }
        let nowhere = || ClientError::local(Code::InvalidArgument, "no endpoint is given");
        Err(failed.unwrap_or_else(nowhere))
    }

    async fn connect_to(&self, url: &str, token: Option<String>) -> Result<RpcClient, ClientError> {
        let (endpoint, identity) = if self.tls_files.is_empty() {
            let described = describe_endpoint(url, self.tls_ca.clone(), self.identity.clone())?;
            (described, self.identity.clone())
        } else {
            self.tls_files.endpoint(url).await?
        };
        let endpoint = endpoint.connect_timeout(self.connect_timeout);
        RpcClient::connect_to(url, endpoint, token, identity.as_ref(), self.insecure_plaintext).await
    }

    /// Says that a connection is of no use any more: the next one begins with the next endpoint, and where connections are shared
    /// this one is handed out to nobody.
    pub(super) fn drop_connection(&self, lost: &RpcClient) {
        match &self.shared {
            Some(connections) => connections.drop_connection(lost),
            None => self.pass_over_endpoint(),
        }
    }

    /// Lets the next connection begin with the endpoint after the one that answered last.
    pub(super) fn pass_over_endpoint(&self) {
        let next = self.first.load(Ordering::Relaxed).wrapping_add(1).checked_rem(self.endpoints.len());
        self.first.store(next.unwrap_or(0), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_missing_is_said_before_a_server_is_asked() {
        let absent = TokenSource::File("no/such.token".into());
        let error = Target::new("http://127.0.0.1:1").with_token(absent).connect().await.expect_err("there is no file");
        assert_eq!(error.code, Code::FailedPrecondition);
        let target = Target::new("http://127.0.0.1:1").with_token(TokenSource::Text("secret".to_owned()));
        assert!(!format!("{target:?}").contains("secret"));
        assert_eq!(target.connect().await.expect_err("there is no server").code, Code::Unavailable);
        let nowhere = Target::with_endpoints(Vec::new()).connect().await.expect_err("there is no endpoint");
        assert_eq!(nowhere.code, Code::InvalidArgument);
    }

    #[tokio::test]
    async fn the_first_endpoint_that_answers_is_taken_and_remembered() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let there = format!("http://{}", listener.local_addr().expect("an address"));
        let target = Target::with_endpoints(vec!["http://127.0.0.1:1".to_owned(), there.clone()]);
        target.connect().await.expect("the second one answers");
        assert_eq!(target.clone().first.load(Ordering::Relaxed), 1, "and is the first one of the next try");
        let bad = Target::with_endpoints(vec!["ftp://a".to_owned(), there]);
        assert_eq!(bad.connect().await.expect_err("it is no endpoint").code, Code::InvalidArgument);
    }
}
