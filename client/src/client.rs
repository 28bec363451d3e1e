//! One client: whom it asks and how, and the calls that are about no namespace.
//!
//! Boundary: [`super::connections`] keeps the connections, [`super::retry`] says what is tried again.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use super::channel::{ClientIdentity, RpcClient};
use super::connections::Connections;
use super::error::ClientError;
use super::namespace::Namespace;
use super::pages::Pages;
use super::retry::{Repeat, repeat};
use super::target::Target;
use super::tls_files::TlsFiles;
use super::token::TokenSource;
use super::trace::traced;
use policyhub_core::api::pb;
use policyhub_core::domain::name::NamespaceId;

/// How long one try of a call may take, unless the builder says otherwise. A server answers sooner, also when its database is
/// down.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

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
/// let done = shop.activate("launch", [Move::to_label("pricing", "1.5.0")]).send().await;
/// match done {
///     Ok(done) => println!("in force: {:?}", done.position),
///     Err(error) if error.is_terminal() => println!("give up: {error}"),
///     Err(error) => println!("ask again later, with the same request id: {error}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Client {
    connections: Connections,
    call_timeout: Duration,
}

impl Client {
    /// Begins a client. It needs an endpoint, or a channel.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::new()
    }

    /// The calls about one namespace.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for what is no id of a namespace.
    pub fn namespace(&self, id: &str) -> Result<Namespace, ClientError> {
        let id = NamespaceId::parse("namespace", id).map_err(|error| ClientError::invalid(&error))?;
        Ok(Namespace::new(self.clone(), id))
    }

    /// The namespaces that the caller may read, in the order of their ids.
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

    /// A connection, for calls with messages of the contract: see [`RpcClient`].
    ///
    /// # Errors
    /// UNAVAILABLE when no endpoint answers; otherwise what keeps the client from connecting.
    #[cfg(feature = "pb")]
    pub async fn rpc(&self) -> Result<RpcClient, ClientError> {
        self.connections.for_calls().await
    }

    pub(crate) fn connections(&self) -> &Connections {
        &self.connections
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

    /// Makes a call that changes something. The request carries an id.
    pub(crate) async fn change<Q: Clone, A, F>(
        &self,
        method: &'static str,
        request: Q,
        call: impl Fn(RpcClient, Request<Q>) -> F,
    ) -> Result<A, ClientError>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        self.call(method, Repeat::Mutation, self.call_timeout, request, call).await
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
        let may_renew_token = self.connections.may_renew_token();
        let one_try = || async {
            let rpc = self.connections.for_calls().await?;
            let mut timed = Request::new(request.clone());
            timed.set_timeout(timeout);
            let answer = call(rpc.clone(), timed).await.map_err(ClientError::from);
            if answer.as_ref().is_err_and(ClientError::is_of_connection) {
                self.connections.drop_connection(&rpc);
            }
            Ok(answer?.into_inner())
        };
        traced(method, async {
            match repeat(kind, one_try).await {
                // The token may have ended since the connection was made. It was refused before anything was done.
                Err(error) if error.code == Code::Unauthenticated && may_renew_token => repeat(kind, one_try).await,
                answer => answer,
            }
        })
        .await
    }

    /// How long one try of a call may take.
    pub(crate) fn call_timeout(&self) -> Duration {
        self.call_timeout
    }
}

/// What a client is made of.
#[derive(Debug)]
#[must_use]
pub struct ClientBuilder {
    endpoints: Vec<String>,
    target: Target,
    tls_ca_file: Option<PathBuf>,
    tls_identity_files: Option<(PathBuf, PathBuf)>,
    call_timeout: Duration,
}

impl ClientBuilder {
    fn new() -> Self {
        Self {
            endpoints: Vec::new(),
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
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoints.push(endpoint.into());
        self
    }

    /// Uses this channel in place of endpoints, for what the builder has no words for. Its TLS and its timeouts are the caller's.
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

    /// How long one endpoint may take to connect: 5 s unless said. Longer: one that is gone keeps the next from being tried.
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        self.with(|target| target.with_connect_timeout(timeout))
    }

    /// How long one try of a call may take: 30 s unless said. Shorter: a server that is busy does work that nobody waits for.
    pub fn call_timeout(self, timeout: Duration) -> Self {
        Self { call_timeout: timeout, ..self }
    }

    /// Makes the client. It connects when it is first used: a server that is away keeps no program from starting.
    ///
    /// # Errors
    /// INVALID_ARGUMENT without an endpoint or a channel.
    pub fn build(self) -> Result<Client, ClientError> {
        let endpoints = self.endpoints;
        let target = self.target.with_more_endpoints(endpoints);
        if !target.has_endpoint() {
            return Err(ClientError::local(Code::InvalidArgument, "a client needs an endpoint, or a channel"));
        }
        let target = target.with_tls_files(TlsFiles::new(self.tls_ca_file, self.tls_identity_files));
        Ok(Client { connections: Connections::new(target), call_timeout: self.call_timeout })
    }

    /// Makes the client, and connects it.
    ///
    /// # Errors
    /// As [`Self::build`], UNAVAILABLE when no endpoint answers, FAILED_PRECONDITION for a token or a file that can't be got, and
    /// INVALID_ARGUMENT for an endpoint, a token or a certificate that can't be used.
    pub async fn connect(self) -> Result<Client, ClientError> {
        let client = self.build()?;
        client.connections.for_calls().await?;
        Ok(client)
    }
}
