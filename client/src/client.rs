//! One client: whom it asks and how, and the calls that are about no namespace.
//!
//! Boundary: [`super::connections`] keeps the connections, [`super::retry`] says what is tried again.

use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use super::calls::{CALL_TIMEOUT, timed};
use super::channel::RpcClient;
use super::connections::ConnectionPool;
use super::error::ClientError;
use super::identity::ClientIdentity;
use super::pages::Pages;
use super::retry::{Repeat, repeat};
use super::target::Target;
use super::tls_files::TlsFiles;
use super::token::TokenSource;
use super::trace::traced;
use policyhub_core::api::pb;
use policyhub_core::domain::name::NamespaceId;

/// Longest that one try of a call may take, whatever the builder says: no RPC takes longer.
const CALL_TIMEOUT_MAX: Duration = Duration::from_secs(3600);

/// A client of a hub. It is cheap to clone; clones share connections, and so do the watchers that it opens.
///
/// A call is made again, at most three times and with growing pauses, while the server is UNAVAILABLE or asks the caller to
/// come again: each change carries a request id of its own, so it is carried out once. A connection that breaks is made anew,
/// to the next endpoint when there are several, with the token as it is then.
///
/// ```no_run
/// use policyhub_client::{Client, ClientError, Move, TokenSource};
///
/// # async fn release() -> Result<(), ClientError> {
/// let client = Client::builder()
///     .endpoint("https://hub-0:7070")
///     .endpoint("https://hub-1:7070")
///     .token(TokenSource::File("/var/run/secrets/hub.token".into()))
///     .build()?;
/// let shop = client.namespace("shop")?;
/// let draft = shop.draft("pricing", "application/yaml", "max: 1").label("1.5.0").send().await?;
/// shop.stage("pricing", draft.version.number).send().await?;
/// shop.publish("pricing", draft.version.number).send().await?;
/// let launch = shop.activate([Move::to_label("pricing", "1.5.0")], "launch");
/// match launch.send().await {
///     Ok(done) => println!("in force: {:?}", done.position),
///     Err(error) if error.is_terminal() => println!("give up: {error}"),
///     // The same change again, with the same request id, has one effect.
///     Err(error) => println!("{error}; now {:?}", launch.send().await),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Client {
    pool: ConnectionPool,
    call_timeout: Duration,
}

impl Client {
    /// Begins a client. It needs an endpoint, or a channel.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::new()
    }

    /// Lists the namespaces that the caller may read, in the order of their ids.
    pub fn namespaces(&self) -> Pages<NamespaceId> {
        let client = self.clone();
        Pages::new(move |page_token| {
            let client = client.clone();
            async move {
                let request = pb::ListNamespacesRequest { page_token, ..Default::default() };
                let answer = client
                    .read("ListNamespaces", request, |mut rpc, request| async move {
                        rpc.admin.list_namespaces(request).await
                    })
                    .await?;
                let ids = answer.namespaces.iter().map(|namespace| {
                    NamespaceId::parse_name("name", &namespace.name).map_err(|error| ClientError::unreadable(&error))
                });
                Ok((ids.collect::<Result<_, _>>()?, answer.next_page_token))
            }
        })
    }

    /// Makes a connection of its own, for calls with messages of the contract: see [`RpcClient`]. It has the token of now: ask for
    /// another one after UNAUTHENTICATED.
    ///
    /// # Errors
    /// UNAVAILABLE when no endpoint answers; otherwise what keeps the client from connecting.
    #[cfg(feature = "pb")]
    pub async fn rpc(&self) -> Result<RpcClient, ClientError> {
        self.pool.target().connect().await
    }

    pub(crate) fn pool(&self) -> &ConnectionPool {
        &self.pool
    }

    /// Makes a call that changes nothing.
    pub(crate) async fn read<Q: Clone, A, F>(
        &self,
        method: &'static str,
        request: Q,
        call: impl Fn(RpcClient, Request<Q>) -> F,
    ) -> Result<A, ClientError>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        self.call(method, Repeat::Read, self.call_timeout, request, call).await
    }

    /// Makes a call, each try within `timeout`.
    pub(crate) async fn call<Q: Clone, A, F>(
        &self,
        method: &'static str,
        kind: Repeat,
        timeout: Duration,
        request: Q,
        call: impl Fn(RpcClient, Request<Q>) -> F,
    ) -> Result<A, ClientError>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let timeout = timeout.min(CALL_TIMEOUT_MAX);
        let late = || ClientError::local(Code::DeadlineExceeded, "the server did not answer in time");
        let one_try = || async {
            // The wait for a connection is part of a try.
            let end = Instant::now() + timeout;
            let rpc = timeout_at(end, self.pool.for_calls()).await.unwrap_or_else(|_| Err(late()))?;
            let timed = timed(request.clone(), end.saturating_duration_since(Instant::now()));
            let answers = rpc.answers();
            let answer = call(rpc.clone(), timed).await.map_err(ClientError::from);
            if let Err(error) = &answer {
                // A server that answers others in time is slow, not gone.
                let is_slow = error.code == Code::DeadlineExceeded && rpc.answers() > answers;
                if !is_slow {
                    self.pool.drop_connection(&rpc, error);
                }
            }
            answer.map(Response::into_inner)
        };
        // Once: the token may have ended since the connection was made. It was refused before anything was done.
        let may_renew = AtomicBool::new(self.pool.target().may_renew_token());
        let with_token = || async {
            match one_try().await {
                Err(error) if error.code == Code::Unauthenticated && may_renew.swap(false, Ordering::Relaxed) => {
                    one_try().await
                }
                answer => answer,
            }
        };
        traced(method, repeat(kind, with_token)).await
    }

    /// Returns how long one try of a call may take.
    pub(crate) fn call_timeout(&self) -> Duration {
        self.call_timeout
    }
}

/// Holds what a client is made of.
#[derive(Debug)]
#[must_use]
pub struct ClientBuilder {
    target: Target,
    tls_ca_file: Option<PathBuf>,
    tls_identity_files: Option<(PathBuf, PathBuf)>,
    call_timeout: Duration,
}

impl ClientBuilder {
    fn new() -> Self {
        Self {
            target: Target::with_endpoints(Vec::new()),
            tls_ca_file: None,
            tls_identity_files: None,
            call_timeout: CALL_TIMEOUT,
        }
    }

    fn with(self, change: impl FnOnce(Target) -> Target) -> Self {
        Self { target: change(self.target), ..self }
    }

    /// Adds an endpoint, `http://host:port` or `https://host:port`. Each connection goes to the first that answers, beginning
    /// with the one that did last, or the one after it when its connection broke: a client stays with one replica as long as it can.
    /// To answer is to take the connection, and with `https` to finish the handshake: one that takes it and then says nothing is left after
    /// the first call that it does not answer.
    pub fn endpoint(self, endpoint: impl Into<String>) -> Self {
        self.with(|target| target.with_endpoint(endpoint.into()))
    }

    /// Uses this channel in place of endpoints, for settings that this builder lacks. Its TLS and its timeouts are the
    /// caller's, and all calls and watches share it: a server takes 100 streams on it, and what is over that waits without an error.
    pub fn channel(self, channel: Channel) -> Self {
        self.with(|target| target.with_channel(channel))
    }

    /// Sends a bearer token. It is asked for when a connection is made, and again when a server does not take it any more.
    pub fn token(self, token: TokenSource) -> Self {
        self.with(|target| target.with_token(token))
    }

    /// Trusts the certificate authorities of this PEM alone. Without them, those of the platform are trusted.
    pub fn tls_ca(self, pem: impl Into<Vec<u8>>) -> Self {
        self.with(|target| target.with_tls_ca(pem.into()))
    }

    /// Trusts the certificate authorities of a file alone, which is read for each connection.
    pub fn tls_ca_file(self, path: impl Into<PathBuf>) -> Self {
        Self { tls_ca_file: Some(path.into()), ..self }
    }

    /// Shows a client certificate.
    pub fn tls_identity(self, identity: ClientIdentity) -> Self {
        self.with(|target| target.with_identity(identity))
    }

    /// Shows the client certificate of these files (its chain and its key, PEM), which are read for each connection.
    pub fn tls_identity_files(self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { tls_identity_files: Some((cert.into(), key.into())), ..self }
    }

    /// Lets a token cross a network in clear text: only where something else keeps the network secret.
    pub fn insecure_plaintext(self) -> Self {
        self.with(|target| target.with_insecure_plaintext(true))
    }

    /// Sets how long one endpoint may take to connect; 5 s by default. Longer: one that is gone keeps the next from being tried.
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        self.with(|target| target.with_connect_timeout(timeout))
    }

    /// Sets how long one try of a call may take, its wait for a connection included; 30 s by default, an hour at most. Shorter: a server that is busy does work that nobody waits for.
    pub fn call_timeout(self, timeout: Duration) -> Self {
        Self { call_timeout: timeout, ..self }
    }

    /// Makes the client. It connects when it is first used: a server that is away keeps no program from starting.
    ///
    /// # Errors
    /// INVALID_ARGUMENT without an endpoint or a channel, for an endpoint or a certificate that can't be used, and for certificates that are
    /// given both as PEM and as files.
    pub fn build(self) -> Result<Client, ClientError> {
        let files = TlsFiles::new(self.tls_ca_file, self.tls_identity_files);
        let target = self.target.with_tls_files(files);
        target.check()?;
        Ok(Client { pool: ConnectionPool::new(target), call_timeout: self.call_timeout })
    }

    /// Makes the client, and connects it.
    ///
    /// # Errors
    /// Those of [`Self::build`], UNAVAILABLE when no endpoint answers, FAILED_PRECONDITION for a token or a file that can't be got, and
    /// INVALID_ARGUMENT for an endpoint, a token or a certificate that can't be used.
    pub async fn connect(self) -> Result<Client, ClientError> {
        let client = self.build()?;
        client.pool.for_calls().await?;
        Ok(client)
    }
}
