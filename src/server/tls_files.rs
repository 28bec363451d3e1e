//! The TLS files of the gRPC port: its certificate and key, and the CAs of its clients. The files may change while it serves.
//!
//! Invariant: the configuration in force is complete and was usable when it was read. New files replace it for new connections;
//! open connections keep theirs. Unusable files change nothing.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::clock;
use super::config::{ClientCa, TlsConfig};
use super::refused_clients::LoggingVerifier;
use crate::auth::Authorities;
use crate::signing::CertificateFacts;
use crate::transport::{ReloadableTls, tls_config};

/// The TLS files of the port, and the configuration that was made of them.
pub struct PortTls {
    files: TlsConfig,
    client_cas: Vec<ClientCa>,
    current: Arc<ReloadableTls>,
    hasher: RandomState,
    /// The hash of the files when they were read last, usable or not.
    last_hash: Mutex<u64>,
    /// The certificates that are served now, the server's own first.
    chain: Mutex<Vec<CertificateFacts>>,
    /// The last warning about the validity of each certificate.
    warned: Mutex<Vec<&'static str>>,
}

impl fmt::Debug for PortTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortTls")
            .field("files", &self.files)
            .field("client_cas", &self.client_cas)
            .finish_non_exhaustive()
    }
}

/// Validity of the certificates of this server, in seconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The latest start of validity in the chain.
    pub not_before_seconds: i64,
    /// The earliest end of validity in the chain.
    pub not_after_seconds: i64,
}

/// The contents of the files.
#[derive(Hash)]
struct TlsFileContents {
    chain: Vec<u8>,
    key: Vec<u8>,
    authorities: Vec<(String, Vec<u8>)>,
}

impl PortTls {
    /// Reads the files.
    ///
    /// # Errors
    /// A file can't be read, or the files can't be used together.
    pub fn load(files: &TlsConfig, client_cas: &[ClientCa]) -> Result<(Self, Authorities)> {
        let contents = read_all(files, client_cas)?;
        let (config, authorities) = contents.build()?;
        let facts = CertificateFacts::all_from_pem(&contents.chain);
        // Only the server's own certificate is checked. Each client decides which of the others it needs.
        let own = facts.first().and_then(|own| Some((own.why_not_valid(clock::now().seconds())?, own)));
        if let Some((why, facts)) = own {
            let advice = "give tls_cert a valid one, or set tls_allow_invalid_time to serve with it all the same";
            ensure!(files.allow_invalid_time, "the TLS certificate can't be used: {why}; it has {facts}; {advice}");
        }
        let hasher = RandomState::new();
        let last_hash = Mutex::new(hasher.hash_one(Ok::<_, String>(contents)));
        let tls = Self {
            files: files.clone(),
            client_cas: client_cas.to_vec(),
            current: Arc::new(ReloadableTls::new(config)),
            hasher,
            last_hash,
            chain: Mutex::new(facts),
            warned: Mutex::default(),
        };
        tls.warn_of_time();
        Ok((tls, authorities))
    }

    /// Returns when the certificates that are served now are valid; `None` when they can't be parsed.
    #[must_use]
    pub fn validity(&self) -> Option<Validity> {
        validity_of(&self.chain.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Warns about certificates outside of their validity, once for each state of the chain. Clients refuse them.
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

    /// Returns the configuration that new connections use; `reload` replaces it in place.
    #[must_use]
    pub fn config(&self) -> Arc<ReloadableTls> {
        self.current.clone()
    }

    /// Reads the files again, and replaces the configuration. Returns `None` when the files did not change.
    ///
    /// # Errors
    /// As `load`, once for each state of the files; the configuration stays as it was.
    pub fn reload(&self) -> Result<Option<Authorities>> {
        let contents = read_all(&self.files, &self.client_cas);
        let now = self.hasher.hash_one(contents.as_ref().map_err(ToString::to_string));
        let before = std::mem::replace(&mut *self.last_hash.lock().unwrap_or_else(PoisonError::into_inner), now);
        if before == now {
            return Ok(None);
        }
        let contents = contents?;
        let (config, authorities) = contents.build()?;
        let chain = contents.chain;
        self.current.replace(config);
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

fn read_all(files: &TlsConfig, client_cas: &[ClientCa]) -> Result<TlsFileContents> {
    let authorities = client_cas.iter().map(|ca| Ok((ca.trust_domain.clone(), read(&ca.file)?)));
    Ok(TlsFileContents {
        chain: read(&files.cert)?,
        key: read(&files.key)?,
        authorities: authorities.collect::<Result<_>>()?,
    })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("failed to read the TLS file {}", path.display()))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
    ensure!(!certificates.is_empty(), "there is no certificate in it");
    Ok(certificates)
}

impl TlsFileContents {
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
        let authorities: Vec<_> = authorities.iter().flat_map(|(_, certificates)| certificates).cloned().collect();
        tls_config(chain, key, &authorities, |verifier| LoggingVerifier::wrap(verifier))
    }
}
