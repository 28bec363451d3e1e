//! One connection, three services, one bearer token.
//!
//! Boundary: makes one connection as described, and its calls; [`super::target`] says to which endpoint and with which token. The
//! channel reconnects by itself.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tonic::codegen::InterceptedService;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};

use super::error::{ClientError, UNTRUSTED};
use super::guarded::GuardedChannel;
use super::identity::ClientIdentity;
use super::shown_certificate::PresentedCertificate;
use super::trace::trace_parent;
use policyhub_core::api::pb::admin_service_client::AdminServiceClient;
use policyhub_core::api::pb::policy_service_client::PolicyServiceClient;
use policyhub_core::api::pb::sync_service_client::SyncServiceClient;
use policyhub_core::domain::causes::causes;
use policyhub_core::signing::CertificateFacts;

/// Sets how long a connection may take to be established.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Sets how often a connection is pinged. Longer: a dead one goes unnoticed longer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// Sets how long a ping may stay unanswered before the connection counts as dead.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Largest message taken, of a call or of a stream. No server sends more than 2 MiB; more would be for a hostile one to use.
const ANSWER_MAX_BYTES: usize = 8 * 1024 * 1024;

/// Puts `authorization: Bearer …` on every call, and the trace that it belongs to.
#[derive(Debug, Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

/// The channel under every service.
pub type Transport = InterceptedService<GuardedChannel, Bearer>;

/// Every call of the contract, with its messages, over one connection. It is cheap to clone; clones share the connection.
///
/// A call that changes something is tried again while the server is away when its `request_id` is set
/// ([`crate::new_request_id`]); one that only reads is tried once.
#[derive(Debug, Clone)]
pub struct RpcClient {
    pub(crate) policy: PolicyServiceClient<Transport>,
    pub(crate) sync: SyncServiceClient<Transport>,
    pub(crate) admin: AdminServiceClient<Transport>,
    /// Is shared by the clones of one connection.
    connection: Arc<ConnectionState>,
    /// The watch that this was given out for: as long as it is held, the connection carries that watch.
    _watch: Option<Arc<()>>,
}

/// Holds what is known of a connection.
#[derive(Debug)]
struct ConnectionState {
    endpoint: Option<usize>,
    /// Says how many calls the server began to answer.
    answers: Arc<AtomicU64>,
}

impl RpcClient {
    /// Connects to `endpoint` (`http://host:port` or `https://host:port`), with a bearer token and the PEM of a
    /// certificate authority when given; without one, `https` trusts the platform's authorities.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for an endpoint, token or certificate that can't be used, UNAVAILABLE without a server.
    pub async fn connect(endpoint: &str, token: Option<String>, tls_ca: Option<Vec<u8>>) -> Result<Self, ClientError> {
        Self::connect_as(endpoint, token, tls_ca, None).await
    }

    /// Returns the same with a client certificate, for `https` alone.
    ///
    /// # Errors
    /// Those of [`Self::connect`].
    pub async fn connect_as(
        endpoint: &str,
        token: Option<String>,
        tls_ca: Option<Vec<u8>>,
        identity: Option<ClientIdentity>,
    ) -> Result<Self, ClientError> {
        let described = describe_endpoint(endpoint, tls_ca, identity.clone())?;
        Self::connect_to(endpoint, described, token, identity.as_ref(), false, CONNECT_TIMEOUT).await
    }

    /// Connects as described, within `timeout`. `insecure_plaintext`: a token may cross a network in clear text.
    pub(super) async fn connect_to(
        url: &str,
        endpoint: Endpoint,
        token: Option<String>,
        identity: Option<&ClientIdentity>,
        insecure_plaintext: bool,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        if token.is_some() && !insecure_plaintext {
            check_token_stays_secret(url, &endpoint)?;
        }
        let bearer = Bearer::new(token)?;
        let shown = PresentedCertificate::of(identity);
        // The timeout covers the TLS handshake too: a peer may accept the connection and never answer it.
        let connecting = tokio::time::timeout(timeout, endpoint.connect()).await.map_err(|_| {
            let message = format!("no server at {url}: it did not answer within {timeout:?}");
            ClientError::local(Code::Unavailable, message)
        })?;
        let channel = connecting.map_err(|error| {
            let note = shown.why_refused(&error).unwrap_or_default();
            let causes = causes(&error);
            let what = if causes.contains(UNTRUSTED) { "the server is not trusted at" } else { "no server at" };
            let message = format!("{what} {url}: {causes}{note}");
            ClientError { source: Some(Arc::new(error)), ..ClientError::local(Code::Unavailable, message) }
        })?;
        Ok(Self::over(channel, shown, bearer))
    }

    fn over(channel: Channel, shown: PresentedCertificate, bearer: Bearer) -> Self {
        let answers = Arc::default();
        let transport = InterceptedService::new(GuardedChannel::new(channel, shown, Arc::clone(&answers)), bearer);
        Self {
            policy: PolicyServiceClient::new(transport.clone()).max_decoding_message_size(ANSWER_MAX_BYTES),
            sync: SyncServiceClient::new(transport.clone()).max_decoding_message_size(ANSWER_MAX_BYTES),
            admin: AdminServiceClient::new(transport.clone()).max_decoding_message_size(ANSWER_MAX_BYTES),
            connection: Arc::new(ConnectionState { endpoint: None, answers }),
            _watch: None,
        }
    }

    /// Calls over a channel that somebody else made, with a bearer token when given.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a token that can't be used.
    pub(super) fn over_channel(channel: Channel, token: Option<String>) -> Result<Self, ClientError> {
        Ok(Self::over(channel, PresentedCertificate::default(), Bearer::new(token)?))
    }

    /// Notes at which of several endpoints the connection is.
    pub(super) fn at_endpoint(mut self, endpoint: usize) -> Self {
        let answers = Arc::clone(&self.connection.answers);
        self.connection = Arc::new(ConnectionState { endpoint: Some(endpoint), answers });
        self
    }

    /// Returns the index of the endpoint that the connection leads to; none for one that was made over a given channel.
    pub(super) fn endpoint(&self) -> Option<usize> {
        self.connection.endpoint
    }

    /// Returns how many calls the server began to answer over this connection.
    pub(super) fn answers(&self) -> u64 {
        self.connection.answers.load(Ordering::Relaxed)
    }

    pub(super) fn held_by(self, watch: Arc<()>) -> Self {
        Self { _watch: Some(watch), ..self }
    }

    pub(super) fn is_same_connection(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.connection, &other.connection)
    }
}

/// Refuses to send a token where anybody on the way can read it.
pub(super) fn check_token_stays_secret(url: &str, endpoint: &Endpoint) -> Result<(), ClientError> {
    let uri = endpoint.uri();
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
    if uri.scheme_str() != Some("http") || is_loopback {
        return Ok(());
    }
    let message = format!(
        "{url} is not https:// and not on this machine: a token would cross the network in clear text; give \
         --insecure-plaintext (in the SDK: insecure_plaintext) where something else keeps it secret"
    );
    Err(ClientError::local(Code::InvalidArgument, message))
}

pub(super) fn describe_endpoint(
    text: &str,
    tls_ca: Option<Vec<u8>>,
    identity: Option<ClientIdentity>,
) -> Result<Endpoint, ClientError> {
    let invalid = |message: String| ClientError::local(Code::InvalidArgument, message);
    let secure = text.starts_with("https://");
    if !secure && !text.starts_with("http://") {
        return Err(invalid(format!("endpoint {text} must start with http:// or https://")));
    }
    if !secure && tls_ca.is_some() {
        return Err(invalid(format!("a certificate authority is given, but {text} is not https://")));
    }
    if !secure && identity.is_some() {
        return Err(invalid(format!("a client certificate is given, but {text} is not https://")));
    }
    let mut endpoint = Endpoint::from_shared(text.to_owned())
        .map_err(|error| invalid(format!("endpoint {text} can't be used: {}", causes(&error))))?
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    if secure {
        let tls = match tls_ca {
            Some(pem) if CertificateFacts::all_from_pem(&pem).is_empty() => {
                // Without any authority every server would be refused, and no message would say why.
                return Err(invalid("the file of the certificate authority holds no certificate".to_owned()));
            }
            Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        let tls = match identity {
            Some(ClientIdentity { cert, key }) => tls.identity(Identity::from_pem(cert, key)),
            None => tls,
        };
        endpoint = endpoint
            .tls_config(tls)
            .map_err(|error| invalid(format!("certificates can't be used: {}", causes(&error))))?;
    }
    Ok(endpoint)
}

impl Bearer {
    fn new(token: Option<String>) -> Result<Self, ClientError> {
        let Some(token) = token else { return Ok(Self(None)) };
        // The token itself is never part of an error.
        let mut value: MetadataValue<Ascii> = format!("Bearer {}", token.trim())
            .parse()
            .map_err(|_| ClientError::local(Code::InvalidArgument, "token has characters that no token has"))?;
        value.set_sensitive(true);
        Ok(Self(Some(value)))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        if let Some(parent) = trace_parent() {
            request.metadata_mut().insert("traceparent", parent);
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_that_can_not_be_used_are_named() {
        for (endpoint, ca) in [("127.0.0.1:7070", None), ("ftp://a", None), ("http://a:1", Some(b"pem".to_vec()))] {
            let error = describe_endpoint(endpoint, ca, None).map(|_| ()).unwrap_err();
            assert_eq!(error.code, Code::InvalidArgument, "{endpoint}");
            assert!(error.message.contains(endpoint), "{}", error.message);
        }
        assert!(describe_endpoint("http://127.0.0.1:7070", None, None).is_ok());
    }

    #[test]
    fn a_token_does_not_cross_a_network_in_clear_text() {
        for (url, is_secret) in [
            ("http://127.0.0.1:1", true),
            ("http://127.8.0.1:1", true),
            ("http://localhost:1", true),
            ("http://[::1]:1", true),
            ("http://[::ffff:127.0.0.1]:1", true),
            ("https://hub.example:1", true),
            ("http://hub.example:1", false),
            ("http://10.0.0.1:1", false),
            ("http://0.0.0.0:1", false),
            ("http://[::]:1", false),
            ("http://localhost.example:1", false),
            ("http://127.0.0.1.example:1", false),
        ] {
            let endpoint = Endpoint::from_shared(url.to_owned()).unwrap();
            assert_eq!(check_token_stays_secret(url, &endpoint).is_ok(), is_secret, "{url}");
        }
    }

    #[test]
    fn an_authority_without_a_certificate_is_refused() {
        for pem in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let error = describe_endpoint("https://a:1", Some(pem.as_bytes().to_vec()), None).map(|_| ()).unwrap_err();
            assert!(error.message.contains("holds no certificate"), "{}", error.message);
        }
    }

    #[test]
    fn a_token_is_sent_and_never_shown() {
        let mut bearer = Bearer::new(Some(" secret\n".to_owned())).unwrap();
        let request = bearer.call(Request::new(())).unwrap();
        assert_eq!(request.metadata().get("authorization").unwrap().to_str().unwrap(), "Bearer secret");
        assert!(!format!("{bearer:?}").contains("secret"));
        let error = Bearer::new(Some("se\u{7}cret".to_owned())).unwrap_err();
        assert!(!error.to_string().contains("cret"));
    }
}
