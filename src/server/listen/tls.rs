//! The TLS identity of the gRPC port, from its files.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::server::config::TlsConfig;

/// What a client has to offer (RFC 7301): there is nothing but HTTP/2 here.
const PROTOCOL: &[u8] = b"h2";

/// Reads the certificate chain and its key.
///
/// # Errors
/// When a file can't be read, or the two are no identity.
pub fn server_config(files: &TlsConfig) -> Result<Arc<ServerConfig>> {
    let (chain, key) = (read(&files.cert)?, read(&files.key)?);
    identity(&chain, &key).context("failed to use the TLS certificate and key")
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("failed to read the TLS file {}", path.display()))
}

fn identity(chain: &[u8], key: &[u8]) -> Result<Arc<ServerConfig>> {
    let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>()?;
    ensure!(!chain.is_empty(), "there is no certificate in tls_cert");
    let key = PrivateKeyDer::from_pem_slice(key)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Arc::new(config))
}
