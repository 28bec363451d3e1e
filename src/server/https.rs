//! Makes one request over HTTP/1.1, with or without TLS, for small answers of a server whose address is configured.
//!
//! Invariant: bounded in time and bytes, follows no redirect, and a GET sends no credentials.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::body::Body;

/// From the name lookup to the last byte.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns the TLS configuration with the trusted CAs. It reads the files of the system's CAs, so it should be made once.
///
/// # Errors
/// There is no CA.
pub(super) fn trust(ca_cert: Option<&[u8]>) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    match ca_cert {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                roots.add(certificate?)?;
            }
        }
        None => {
            // Some certificates of the system can't be parsed by the library; the others are enough.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    ensure!(!roots.is_empty(), "there is no certificate authority to trust");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// Returns the body of a 200 answer of `url` of at most `max_bytes`. Without `trust`, in plaintext.
///
/// # Errors
/// Everything else, after 5 s at the latest.
pub(super) async fn get(url: &Uri, trust: Option<&Arc<ClientConfig>>, max_bytes: usize) -> Result<Vec<u8>> {
    let request = Request::get(path_of(url)).header(header::ACCEPT, "application/json").body(Body::empty())?;
    let (status, body) = send(url, trust, request, max_bytes).await?;
    ensure!(status == StatusCode::OK, "the answer is {status}");
    Ok(body)
}

/// Sends an empty POST with a bearer token, and returns the status and the body of the answer, of at most `max_bytes`. Without `trust`,
/// in plaintext.
///
/// # Errors
/// There is no answer, or a larger one, after 5 s at the latest.
pub(super) async fn post_with_token(
    url: &Uri,
    trust: Option<&Arc<ClientConfig>>,
    token: &str,
    max_bytes: usize,
) -> Result<(StatusCode, Vec<u8>)> {
    let request = Request::post(path_of(url)).header(header::AUTHORIZATION, format!("Bearer {token}"));
    let request =
        request.header(header::CONTENT_LENGTH, 0).body(Body::empty()).context("the token is not text of one line")?;
    send(url, trust, request, max_bytes).await
}

/// Sends a form, with Basic credentials if there are any, and returns the status and the body of the answer, of at most `max_bytes`.
/// Without `trust`, in plaintext.
///
/// # Errors
/// There is no answer, or a larger one, after 5 s at the latest.
pub(super) async fn post_form(
    url: &Uri,
    trust: Option<&Arc<ClientConfig>>,
    (form, basic): (String, Option<String>),
    max_bytes: usize,
) -> Result<(StatusCode, Vec<u8>)> {
    let mut request = Request::post(path_of(url))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::CONTENT_LENGTH, form.len())
        .header(header::ACCEPT, "application/json");
    if let Some(basic) = basic {
        request = request.header(header::AUTHORIZATION, format!("Basic {basic}"));
    }
    send(url, trust, request.body(Body::new(axum::body::Body::from(form)))?, max_bytes).await
}

fn path_of(url: &Uri) -> &str {
    url.path_and_query().map_or("/", |path| path.as_str())
}

async fn send(
    url: &Uri,
    trust: Option<&Arc<ClientConfig>>,
    request: Request<Body>,
    max_bytes: usize,
) -> Result<(StatusCode, Vec<u8>)> {
    let asked = tokio::time::timeout(REQUEST_TIMEOUT, connect_and_send(url, trust, request, max_bytes)).await;
    asked.context("no answer within 5 s")?
}

async fn connect_and_send(
    url: &Uri,
    trust: Option<&Arc<ClientConfig>>,
    request: Request<Body>,
    max_bytes: usize,
) -> Result<(StatusCode, Vec<u8>)> {
    let host = url.host().context("the URL has no host")?.trim_matches(['[', ']']);
    let port = url.port_u16().unwrap_or(if trust.is_some() { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await.context("failed to connect")?;
    match trust {
        None => exchange(stream, url, request, max_bytes).await,
        Some(trust) => {
            let name = ServerName::try_from(host.to_owned())?;
            let stream = TlsConnector::from(trust.clone()).connect(name, stream).await.context("failed in TLS")?;
            exchange(stream, url, request, max_bytes).await
        }
    }
}

async fn exchange<S>(
    stream: S,
    url: &Uri,
    mut request: Request<Body>,
    max_bytes: usize,
) -> Result<(StatusCode, Vec<u8>)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) = http1::handshake::<_, Body>(TokioIo::new(stream)).await?;
    let authority = url.authority().context("the URL has no host")?.as_str();
    request.headers_mut().insert(header::HOST, HeaderValue::from_str(authority)?);
    request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    let mut answered = pin!(async move {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        Ok((status, body(answer.into_body(), max_bytes).await?))
    });
    tokio::select! {
        biased;
        done = &mut answered => done,
        // The connection may end before all that was received is read.
        _ = connection => answered.await,
    }
}

async fn body(mut incoming: Incoming, max_bytes: usize) -> Result<Vec<u8>> {
    let mut whole = Vec::new();
    while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut incoming).poll_frame(context)).await {
        if let Ok(data) = frame?.into_data() {
            ensure!(whole.len() + data.len() <= max_bytes, "the answer is over {max_bytes} bytes");
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole)
}
