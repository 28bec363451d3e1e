//! The TLS configuration of the gRPC port, which can be replaced while the port serves.
//!
//! Boundary: certificates and keys are passed as values; the caller reads them from files, and again when those change.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Result;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::TLS13;
use rustls::{RootCertStore, ServerConfig};

/// The protocols that a client may offer (RFC 7301), the preferred one first. HTTP/1.1 is accepted so that the port can answer in
/// plain text that it does not serve HTTP/1.1; a TLS alert would not say why.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Replaces the verifier of client certificates, or wraps it.
pub type WrapVerifier = fn(Arc<dyn ClientCertVerifier>) -> Arc<dyn ClientCertVerifier>;

/// A TLS configuration that can be replaced. Open connections keep the one with which they began.
pub struct ReloadableTls(RwLock<Arc<ServerConfig>>);

impl fmt::Debug for ReloadableTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReloadableTls").finish_non_exhaustive()
    }
}

impl ReloadableTls {
    /// Serves with `config` until it is replaced.
    #[must_use]
    pub fn new(config: Arc<ServerConfig>) -> Self {
        Self(RwLock::new(config))
    }

    /// Returns the configuration for a connection that begins now.
    #[must_use]
    pub fn current(&self) -> Arc<ServerConfig> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the configuration for connections that begin from now on.
    pub fn replace(&self, config: Arc<ServerConfig>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = config;
    }
}

/// Creates the TLS configuration of the port: TLS 1.3 only. With `authorities`, clients may present a certificate signed by one of them.
///
/// # Errors
/// An error when the certificate and the key do not match, or an authority can't be used.
pub fn tls_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    authorities: &[CertificateDer<'static>],
    wrap_verifier: WrapVerifier,
) -> Result<Arc<ServerConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[&TLS13])?;
    let builder = if authorities.is_empty() {
        builder.with_no_client_auth()
    } else {
        let mut roots = RootCertStore::empty();
        for certificate in authorities {
            roots.add(certificate.clone())?;
        }
        // The handshake accepts any of the authorities. `auth` checks that it is the one of the caller's trust domain.
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_client_cert_verifier(wrap_verifier(verifier.allow_unauthenticated().build()?))
    };
    let mut config = builder.with_single_cert(chain, key)?;
    // No session is resumed, so that every handshake verifies the certificate of the client. What that costs: `cargo bench --bench
    // tls_handshakes`.
    config.send_tls13_tickets = 0;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(Arc::new(config))
}
