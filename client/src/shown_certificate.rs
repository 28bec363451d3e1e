//! The certificate that a client shows, and what is said of it when a connection fails.
//!
//! TLS 1.3 lets a client speak before the server has looked at its certificate (RFC 8446 §4.4.2.4), so a refusal shows as a
//! connection that breaks at the first call. Invariant: nothing of the private key is kept here.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::clock::now_seconds;
use super::identity::ClientIdentity;
use policyhub_core::domain::causes::causes;
use policyhub_core::signing::CertificateFacts;

/// What the system, TLS, HTTP/2 and the channel say of a connection that came to an end. A call that meets the end says "channel closed"
/// or "operation was canceled", without the cause.
const ENDS: [&str; 10] = [
    "connection closed",
    "connection reset",
    "connection aborted",
    "broken pipe",
    "not connected",
    "unexpected end of file",
    "handshake eof",
    "close_notify",
    "channel closed",
    "operation was canceled",
];

/// Holds what is known of the client certificate that is presented; nothing when there is none. Clones belong to one connection.
#[derive(Debug, Clone, Default)]
pub(super) struct PresentedCertificate(Option<Arc<LeafCertificate>>);

#[derive(Debug)]
struct LeafCertificate {
    facts: CertificateFacts,
    /// Says whether the server ever answered: then it has taken the certificate.
    answered: AtomicBool,
}

impl PresentedCertificate {
    /// Returns the certificate of an identity.
    pub fn of(identity: Option<&ClientIdentity>) -> Self {
        let leaf = identity.and_then(|identity| CertificateFacts::all_from_pem(&identity.cert).into_iter().next());
        Self(leaf.map(|facts| Arc::new(LeafCertificate { facts, answered: AtomicBool::new(false) })))
    }

    /// Notes that the server answered.
    pub fn answered(&self) {
        if let Some(leaf) = &self.0 {
            leaf.answered.store(true, Ordering::Relaxed);
        }
    }

    /// Returns which certificate was shown and why it may have been refused, to be put after the error of a connection; none when
    /// nothing says that the certificate is to blame.
    pub fn why_refused(&self, error: &(dyn Error + 'static)) -> Option<String> {
        let LeafCertificate { facts, answered } = self.0.as_deref()?;
        let causes = causes(error);
        let alert = alert_in(&causes);
        let why = match (alert, facts.why_not_valid(now_seconds())) {
            (Some(alert), Some(why)) => format!("was refused: {why} (the server says {alert})"),
            (Some(alert), None) => format!("was refused: the server says {alert}"),
            (None, Some(why)) => format!("was refused: {why}"),
            // The alert may be lost between the connection and the call that it broke.
            (None, None) if !answered.load(Ordering::Relaxed) && has_ended(&causes) => {
                "may have been refused: the server ended the connection without an answer".to_owned()
            }
            (None, None) => return None,
        };
        Some(format!("; the client certificate {why}; it has {facts}"))
    }
}

/// Returns whether a connection that was there came to an end: anything else, such as a name that leads nowhere, has other causes.
fn has_ended(causes: &str) -> bool {
    let causes = causes.to_ascii_lowercase();
    ENDS.iter().any(|end| causes.contains(end))
}

/// Returns what TLS said of a certificate: the description of an alert (RFC 8446 §6.2).
fn alert_in(causes: &str) -> Option<&str> {
    const SAID: &str = "received fatal alert: ";
    let (_, alert) = causes.split_once(SAID)?;
    Some(alert.split(|each: char| !each.is_ascii_alphanumeric()).next().unwrap_or(alert))
}

/// The error of a transport, with what is known of the certificate.
#[derive(Debug)]
pub struct TransportError {
    note: String,
    source: tonic::transport::Error,
}

impl TransportError {
    pub(super) fn new(source: tonic::transport::Error, shown: &PresentedCertificate) -> Self {
        Self { note: shown.why_refused(&source).unwrap_or_default(), source }
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.source, self.note)
    }
}

impl Error for TransportError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_connection_is_told_from_other_failures() {
        for end in [
            "transport error: Connection reset by peer (os error 104)",
            "transport error: channel closed",
            "transport error: operation was canceled",
            "transport error: tls handshake eof",
            "transport error: Transport endpoint is not connected (os error 107)",
        ] {
            assert!(has_ended(end), "{end}");
        }
        for other in ["dns error: no such name", "Connection refused (os error 111)", "frame with invalid size"] {
            assert!(!has_ended(other), "{other}");
        }
    }
}
