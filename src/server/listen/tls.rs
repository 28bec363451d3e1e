//! The TLS of the gRPC port: its identity and whose clients it takes, from files that may change.
//!
//! Invariant: what is in force is whole and was usable when it was read. New files replace it for connections to come;
//! open ones go on with what they began with. Files that are no use change nothing.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use anyhow::{Context as _, Result, ensure};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{RootCertStore, ServerConfig};

use crate::auth::Authorities;
use crate::server::config::{ClientCa, TlsConfig};

/// What a client has to offer (RFC 7301): there is nothing but HTTP/2 here.
const PROTOCOL: &[u8] = b"h2";

/// The TLS of the port.
pub struct Tls {
    files: TlsConfig,
    client_cas: Vec<ClientCa>,
    current: RwLock<Arc<ServerConfig>>,
    hasher: RandomState,
    /// Of what the files held at the last look, usable or not.
    seen: Mutex<u64>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).field("client_cas", &self.client_cas).finish_non_exhaustive()
    }
}

/// What the files hold.
#[derive(Hash)]
struct Contents {
    chain: Vec<u8>,
    key: Vec<u8>,
    authorities: Vec<(String, Vec<u8>)>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When one can't be read, or together they are no use.
    pub fn load(files: &TlsConfig, client_cas: &[ClientCa]) -> Result<(Self, Authorities)> {
        let contents = read_all(files, client_cas)?;
        let (config, authorities) = contents.build()?;
        let hasher = RandomState::new();
        let seen = Mutex::new(hasher.hash_one(Ok::<_, String>(contents)));
        let (files, client_cas, current) = (files.clone(), client_cas.to_vec(), RwLock::new(config));
        Ok((Self { files, client_cas, current, hasher, seen }, authorities))
    }

    /// What a connection that begins now is served with.
    #[must_use]
    pub fn current(&self) -> Arc<ServerConfig> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the files again. Nothing when they are as they were at the last look.
    ///
    /// # Errors
    /// As `load`, once for each state of the files; what was in force stays.
    pub fn reload(&self) -> Result<Option<Authorities>> {
        let contents = read_all(&self.files, &self.client_cas);
        let now = self.hasher.hash_one(contents.as_ref().map_err(ToString::to_string));
        let before = std::mem::replace(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner), now);
        if before == now {
            return Ok(None);
        }
        let (config, authorities) = contents?.build()?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(Some(authorities))
    }
}

fn read_all(files: &TlsConfig, client_cas: &[ClientCa]) -> Result<Contents> {
    let authorities = client_cas.iter().map(|ca| Ok((ca.trust_domain.clone(), read(&ca.file)?)));
    Ok(Contents { chain: read(&files.cert)?, key: read(&files.key)?, authorities: authorities.collect::<Result<_>>()? })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("failed to read the TLS file {}", path.display()))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
    ensure!(!certificates.is_empty(), "there is no certificate in it");
    Ok(certificates)
}

impl Contents {
    fn build(&self) -> Result<(Arc<ServerConfig>, Authorities)> {
        let mut by_domain = Vec::with_capacity(self.authorities.len());
        for (trust_domain, pem) in &self.authorities {
            let read = certificates(pem);
            let read =
                read.with_context(|| format!("failed to use the TLS authority of {trust_domain} in tls_client_ca"))?;
            by_domain.push((trust_domain.clone(), read));
        }
        let authorities = Authorities::new(&by_domain)?;
        let config = self.server_config(&by_domain).context("failed to use the TLS certificate and key")?;
        Ok((config, authorities))
    }

    fn server_config(&self, authorities: &[(String, Vec<CertificateDer<'static>>)]) -> Result<Arc<ServerConfig>> {
        let chain = certificates(&self.chain).context("tls_cert")?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[&TLS13])?;
        let builder = if authorities.is_empty() {
            builder.with_no_client_auth()
        } else {
            let mut roots = RootCertStore::empty();
            for certificate in authorities.iter().flat_map(|(_, certificates)| certificates) {
                roots.add(certificate.clone())?;
            }
            // Any of the authorities may sign here; whether it was that of the trust domain is `auth`'s to say.
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.allow_unauthenticated().build()?)
        };
        let mut config = builder.with_single_cert(chain, key)?;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Arc::new(config))
    }
}
