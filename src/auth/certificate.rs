//! Authenticates client certificates: from a verified chain to a SPIFFE ID (X509-SVID §5).
//!
//! The handshake proves that the caller has the key and that some trusted CA signed; here that CA must belong to the trust domain
//! in the certificate. Exactly one URI is allowed; the subject's name is ignored.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{Context, SHA256, digest};
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use crate::domain::principal::{Caller, Credential, Principal, SPIFFE_ISSUER_NAME};
use crate::domain::spiffe::SpiffeId;
use crate::domain::{Error, Reason, Result};

/// The CAs of each trust domain.
#[derive(Debug, Default)]
pub struct Authorities(BTreeMap<String, Vec<Authority>>);

#[derive(Debug)]
struct Authority {
    /// Hash of its name and key: a renewed certificate of the same CA has the same id.
    id: String,
    anchor: TrustAnchor<'static>,
}

/// The certificate of one connection. The caller is determined once, at the first call for which the certificate is valid.
#[derive(Debug)]
pub struct PeerCertificate {
    chain: Vec<CertificateDer<'static>>,
    caller: OnceLock<Caller>,
}

pub(super) fn refused(message: impl Into<String>) -> Error {
    Error::new(Reason::CertificateInvalid, message)
}

impl Authorities {
    /// Reads certificates of CAs, by trust domain.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for one that can't be read.
    pub fn new(certificates: &[(String, Vec<CertificateDer<'static>>)]) -> Result<Self> {
        let mut domains: BTreeMap<String, Vec<Authority>> = BTreeMap::new();
        for (trust_domain, certificates) in certificates {
            for certificate in certificates {
                let anchor = anchor_from_trusted_cert(certificate)
                    .map_err(|error| Error::invalid("tls_client_ca", format!("is no authority: {error}")))?;
                let authority = Authority { id: id_of(&anchor), anchor: anchor.to_owned() };
                domains.entry(trust_domain.clone()).or_default().push(authority);
            }
        }
        Ok(Self(domains))
    }

    fn of(&self, trust_domain: &str) -> &[Authority] {
        self.0.get(trust_domain).map_or(&[], Vec::as_slice)
    }

    /// Returns the caller that a chain names.
    fn identify(&self, chain: &[CertificateDer<'static>], now_seconds: i64) -> Result<Caller> {
        let (leaf, intermediates) = chain.split_first().ok_or_else(|| refused("there is no client certificate"))?;
        let parsed = parse(leaf)?;
        let uri = only_uri(&parsed)?;
        let id = SpiffeId::parse(uri)
            .ok_or_else(|| refused("the client certificate's URI is no SPIFFE ID of a workload"))?;
        if let Ok(Some(usage)) = parsed.key_usage()
            && (usage.value.key_cert_sign() || usage.value.crl_sign())
        {
            return Err(refused("the client certificate is one that may sign others"));
        }
        let anchors: Vec<TrustAnchor<'_>> =
            self.of(id.trust_domain).iter().map(|authority| authority.anchor.clone()).collect();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now_seconds).unwrap_or(0)));
        let leaf = EndEntityCert::try_from(leaf).map_err(unreadable)?;
        let usage = KeyUsage::client_auth();
        let path = leaf
            .verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, intermediates, now, usage, None, None)
            .map_err(|error| refused(format!("the client certificate is not one of its trust domain: {error}")))?;
        let mut expires_at_seconds = parsed.validity().not_after.timestamp();
        for above in path.intermediate_certificates() {
            let above = above.der();
            expires_at_seconds = expires_at_seconds.min(parse(&above)?.validity().not_after.timestamp());
        }
        let credential = Credential::Certificate {
            authority: id_of(path.anchor()),
            issued_at_seconds: parsed.validity().not_before.timestamp(),
            expires_at_seconds,
        };
        Ok(Caller { principal: Principal::new(SPIFFE_ISSUER_NAME, id.subject), credential })
    }

    /// Checks that the CA of a caller is still trusted for the caller's trust domain.
    pub(super) fn recheck(&self, principal: &Principal, authority: &str) -> Result<()> {
        let uri = principal.actor();
        let trusted =
            SpiffeId::parse(&uri).is_some_and(|id| self.of(id.trust_domain).iter().any(|one| one.id == authority));
        if trusted { Ok(()) } else { Err(refused("the authority of the client certificate is trusted no more")) }
    }
}

impl PeerCertificate {
    /// Keeps the chain that a client sent, leaf first; the handshake has verified it.
    #[must_use]
    pub fn new(chain: Vec<CertificateDer<'static>>) -> Self {
        Self { chain, caller: OnceLock::new() }
    }

    /// Returns the identity that the certificate proves.
    pub(super) fn caller(&self, authorities: &Authorities, now_seconds: i64) -> Result<Caller> {
        if let Some(known) = self.caller.get() {
            return Ok(known.clone());
        }
        // A refusal is not cached: the CA may become trusted later.
        let caller = authorities.identify(&self.chain, now_seconds)?;
        Ok(self.caller.get_or_init(|| caller).clone())
    }

    /// Returns whether a token's `cnf` names this certificate (RFC 8705 §3.1).
    pub(super) fn has_digest(&self, base64url: &str) -> bool {
        self.chain.first().is_some_and(|leaf| URL_SAFE_NO_PAD.encode(digest(&SHA256, leaf)) == base64url)
    }
}

fn id_of(anchor: &TrustAnchor<'_>) -> String {
    let mut both = Context::new(&SHA256);
    both.update(&anchor.subject);
    both.update(&anchor.subject_public_key_info);
    URL_SAFE_NO_PAD.encode(both.finish())
}

fn unreadable(_: impl std::fmt::Debug) -> Error {
    refused("the client certificate can't be read")
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>> {
    let (rest, parsed) = X509Certificate::from_der(certificate).map_err(unreadable)?;
    if rest.is_empty() { Ok(parsed) } else { Err(unreadable(())) }
}

fn only_uri<'a>(certificate: &'a X509Certificate<'_>) -> Result<&'a str> {
    let names = certificate.subject_alternative_name().map_err(unreadable)?;
    let names = names.map_or(&[][..], |names| names.value.general_names.as_slice());
    let mut uris = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(Some(*uri)),
        // It may be a second URI.
        GeneralName::Invalid(..) => Some(None),
        _ => None,
    });
    match (uris.next(), uris.next()) {
        (Some(Some(uri)), None) => Ok(uri),
        _ => Err(refused("the client certificate must have exactly one URI among its alternative names")),
    }
}

#[cfg(test)]
#[path = "tests/certificate.rs"]
mod tests;
