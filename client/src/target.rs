//! Where a server is and who asks it: what is needed to connect again and again.
//!
//! Boundary: makes connections; [`super::connections`] shares them. Invariant: token and certificates are read for each
//! connection, so that they may be renewed under a running process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tonic::Code;
use tonic::transport::Channel;

use super::channel::{CONNECT_TIMEOUT, RpcClient, check_token_stays_secret, describe_endpoint};
use super::error::ClientError;
use super::identity::ClientIdentity;
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
    /// The endpoint that is tried first: the one that answered last. Clones share it.
    first: Arc<AtomicUsize>,
}

impl Target {
    /// Returns a server at `http://host:port` or `https://host:port`, asked without a token.
    #[must_use]
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self::with_endpoints(vec![endpoint.into()])
    }

    /// Returns a server at these endpoints: each connection goes to the first that answers, beginning with the one that did last, or after a
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
            first: Arc::default(),
        }
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

    /// Returns whether a token may be sent over `http` to a host that is not this machine: only where something else keeps the
    /// network secret.
    #[must_use]
    pub fn with_insecure_plaintext(self, insecure_plaintext: bool) -> Self {
        Self { insecure_plaintext, ..self }
    }

    /// Adds an endpoint, to be tried after those that are there.
    pub(super) fn with_endpoint(mut self, endpoint: String) -> Self {
        self.endpoints.push(endpoint);
        self
    }

    /// Says which of the endpoints, certificates and authorities given can't be used.
    ///
    /// # Errors
    /// INVALID_ARGUMENT.
    pub(super) fn check(&self) -> Result<(), ClientError> {
        let invalid = |message: &str| ClientError::local(Code::InvalidArgument, message);
        if self.channel.is_none() && self.endpoints.is_empty() {
            return Err(invalid("a client needs an endpoint, or a channel"));
        }
        if !self.tls_files.is_empty() && (self.tls_ca.is_some() || self.identity.is_some()) {
            return Err(invalid("certificates are given as PEM and as files: give all of them in one way"));
        }
        let checked = self.endpoints.iter().map(|url| {
            let (ca, identity) = (self.tls_ca.clone(), self.identity.clone());
            let endpoint = describe_endpoint(url, ca, identity)?;
            if matches!(self.token, TokenSource::None) || self.insecure_plaintext {
                return Ok(());
            }
            check_token_stays_secret(url, &endpoint)
        });
        checked.collect()
    }

    /// Returns how long one endpoint may take to connect.
    pub(super) fn with_connect_timeout(self, connect_timeout: Duration) -> Self {
        Self { connect_timeout, ..self }
    }

    /// Uses this channel in place of an endpoint.
    pub(super) fn with_channel(self, channel: Channel) -> Self {
        Self { channel: Some(channel), ..self }
    }

    /// Returns whether another token may be got than the one of the last connection.
    pub(super) fn may_renew_token(&self) -> bool {
        self.token.may_change()
    }

    /// Returns a connection of its own.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for an endpoint, a token or a certificate that can't be used, FAILED_PRECONDITION for a token or a
    /// file that can't be got, UNAVAILABLE when no endpoint answers: the error of the last one that was tried.
    pub async fn connect(&self) -> Result<RpcClient, ClientError> {
        let token = self.token.token().await?;
        if let Some(channel) = &self.channel {
            return RpcClient::over_channel(channel.clone(), token);
        }
        let first = self.first.load(Ordering::Relaxed);
        let mut failed = None;
        for at in (0..self.endpoints.len()).map(|next| (first + next) % self.endpoints.len()) {
            let Some(endpoint) = self.endpoints.get(at) else { continue };
            // A caller that is cancelled here continues with the next endpoint.
            self.first.store((at + 1) % self.endpoints.len(), Ordering::Relaxed);
            match self.connect_to(endpoint, token.clone()).await {
                Ok(client) => {
                    self.first.store(at, Ordering::Relaxed);
                    return Ok(client.at_endpoint(at));
                }
                // An endpoint that can't be used is an error, even when another one could be.
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
        let (identity, timeout) = (identity.as_ref(), self.connect_timeout);
        RpcClient::connect_to(url, endpoint, token, identity, self.insecure_plaintext, timeout).await
    }

    /// Lets the next connection begin with the endpoint after that of a connection which broke. An ended token is no reason to leave a
    /// server.
    pub(super) fn pass_over_endpoint(&self, lost: &RpcClient, error: &ClientError) {
        if let Some(at) = lost.endpoint().filter(|_| error.code != Code::Unauthenticated)
            && let Some(next) = (at + 1).checked_rem(self.endpoints.len())
        {
            // Count an endpoint once, however many of its connections broke.
            let _ = self.first.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
        }
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

    #[tokio::test(start_paused = true)]
    async fn a_handshake_that_is_never_answered_ends_with_its_time() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let silent = format!("https://{}", listener.local_addr().expect("an address"));
        let error = Target::new(silent).connect().await.expect_err("nobody answers");
        assert!(error.code == Code::Unavailable && error.message.contains("did not answer within 5s"), "{error}");
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
