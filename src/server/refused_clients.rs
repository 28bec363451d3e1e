//! Logs the client certificates that the TLS handshake refuses. The client itself sees only a broken connection.
//!
//! Boundary: decides nothing; the wrapped verifier does. Invariant: clients without a credential can't fill the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::clock;
use crate::signing::CertificateFacts;

/// Minimum time between two lines about refused certificates. Shorter: a client that reconnects all the time fills the log.
const LOG_INTERVAL_SECONDS: i64 = 1;

/// A verifier of client certificates that logs its refusals.
#[derive(Debug)]
pub(super) struct LoggingVerifier {
    verifier: Arc<dyn ClientCertVerifier>,
    logged_at_seconds: AtomicI64,
    not_logged: AtomicU64,
}

impl LoggingVerifier {
    /// Wraps `verifier`.
    pub fn wrap(verifier: Arc<dyn ClientCertVerifier>) -> Arc<dyn ClientCertVerifier> {
        Arc::new(Self { verifier, logged_at_seconds: AtomicI64::new(0), not_logged: AtomicU64::new(0) })
    }

    fn log(&self, certificate: &CertificateDer<'_>, error: &Error) {
        let now = clock::now().seconds();
        let last = self.logged_at_seconds.swap(now, Ordering::Relaxed);
        if (last..last.saturating_add(LOG_INTERVAL_SECONDS)).contains(&now) {
            self.not_logged.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let others = self.not_logged.swap(0, Ordering::Relaxed);
        match CertificateFacts::from_der(certificate) {
            Some(CertificateFacts { serial, subject, uris, .. }) => {
                tracing::warn!(serial, subject, ?uris, %error, others, "refused a client certificate");
            }
            None => tracing::warn!(%error, others, "refused a client certificate that can't be read"),
        }
    }
}

impl ClientCertVerifier for LoggingVerifier {
    fn offer_client_auth(&self) -> bool {
        self.verifier.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.verifier.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.verifier.verify_client_cert(end_entity, intermediates, now);
        verified.inspect_err(|error| self.log(end_entity, error))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
