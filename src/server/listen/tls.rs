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

use super::refused_clients::RefusedClients;
use crate::auth::Authorities;
use crate::server::clock;
use crate::server::config::{ClientCa, TlsConfig};
use crate::signing::CertificateFacts;

/// What a client may offer (RFC 7301), what is preferred first. HTTP/1.1 is taken to say in words that it is not served here; an
/// alert would say nothing.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The TLS of the port.
pub struct Tls {
    files: TlsConfig,
    client_cas: Vec<ClientCa>,
    current: RwLock<Arc<ServerConfig>>,
    hasher: RandomState,
    /// Of what the files held at the last look, usable or not.
    seen: Mutex<u64>,
    /// What is served now, the server's own certificate first.
    chain: Mutex<Vec<CertificateFacts>>,
    /// What was said of the time of the certificates last.
    warned: Mutex<Vec<&'static str>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).field("client_cas", &self.client_cas).finish_non_exhaustive()
    }
}

/// When the certificates of this server are valid, in seconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// From here on: the latest beginning of the chain.
    pub not_before_seconds: i64,
    /// Up to here: the earliest end of the chain.
    pub not_after_seconds: i64,
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
        let facts = CertificateFacts::all_from_pem(&contents.chain);
        // Those above it may be one of several ways to an authority: whether they do is for whoever trusts it.
        let own = facts.first().and_then(|own| Some((own.why_not_valid(clock::now().seconds())?, own)));
        if let Some((why, facts)) = own {
            let advice = "give tls_cert a valid one, or set tls_allow_invalid_time to serve with it all the same";
            ensure!(files.allow_invalid_time, "the TLS certificate can't be used: {why}; it has {facts}; {advice}");
        }
        let hasher = RandomState::new();
        let seen = Mutex::new(hasher.hash_one(Ok::<_, String>(contents)));
        let (files, client_cas, current) = (files.clone(), client_cas.to_vec(), RwLock::new(config));
        let chain = Mutex::new(facts);
        let tls = Self { files, client_cas, current, hasher, seen, chain, warned: Mutex::default() };
        tls.warn_of_time();
        Ok((tls, authorities))
    }

    /// When the certificates are valid that are served now; none when they don't say.
    #[must_use]
    pub fn validity(&self) -> Option<Validity> {
        validity_of(&self.chain.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Warns once for each state of the certificates: no client that looks at the time takes a certificate outside of its
    /// validity, or goes by one to an authority.
    pub fn warn_of_time(&self) {
        let now = clock::now().seconds();
        let chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let whys: Vec<&str> = chain.iter().map(|facts| facts.why_not_valid(now).unwrap_or_default()).collect();
        let warned = std::mem::replace(&mut *self.warned.lock().unwrap_or_else(PoisonError::into_inner), whys.clone());
        if warned == whys {
            return;
        }
        let file = self.files.cert.display();
        for (depth, (facts, why)) in chain.iter().zip(whys).enumerate().filter(|(_, (_, why))| !why.is_empty()) {
            match depth {
                0 => tracing::warn!(%file, why, %facts, "clients refuse the TLS certificate of this server"),
                _ => tracing::warn!(
                    %file, why, %facts,
                    "clients that need it refuse a certificate above the TLS certificate of this server"
                ),
            }
        }
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
        let contents = contents?;
        let (config, authorities) = contents.build()?;
        let chain = contents.chain;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
        let facts = CertificateFacts::all_from_pem(&chain);
        *self.chain.lock().unwrap_or_else(PoisonError::into_inner) = facts;
        Ok(Some(authorities))
    }
}

fn validity_of(chain: &[CertificateFacts]) -> Option<Validity> {
    let not_before_seconds = chain.iter().map(|facts| facts.not_before_seconds).max()?;
    let not_after_seconds = chain.iter().map(|facts| facts.not_after_seconds).min()?;
    Some(Validity { not_before_seconds, not_after_seconds })
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
            builder.with_client_cert_verifier(RefusedClients::logged(verifier.allow_unauthenticated().build()?))
        };
        let mut config = builder.with_single_cert(chain, key)?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(Arc::new(config))
    }
}
