//! What an X.509 certificate says of itself (RFC 5280), for people: which one it is, and when it is valid.
//!
//! Boundary: describes, and decides nothing about trust: that is for TLS and `auth`. Invariant: every text is one line without
//! control characters, for it may come from a stranger.

use std::fmt;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer as _;

/// Longest text of a name. A certificate may have any length, and a line of a log should not.
const NAME_MAX_CHARS: usize = 256;
/// Most names of a certificate that are shown.
const NAMES_MAX: usize = 4;

/// A certificate, described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Serial number, hexadecimal.
    pub serial: String,
    /// Distinguished name of its subject; may be empty.
    pub subject: String,
    /// Its URIs among the alternative names, the first few.
    pub uris: Vec<String>,
    /// Valid from here on, in seconds since the Unix epoch.
    pub not_before_seconds: i64,
    /// Valid up to here.
    pub not_after_seconds: i64,
}

impl CertificateFacts {
    /// Reads a certificate in DER; none when it is not one.
    #[must_use]
    pub fn from_der(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.map_or(&[][..], |names| names.value.general_names.as_slice());
        let uris = names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Some(line(uri)),
            _ => None,
        });
        Some(Self {
            serial: line(&certificate.raw_serial_as_string()),
            subject: line(&certificate.subject().to_string()),
            uris: uris.take(NAMES_MAX).collect(),
            not_before_seconds: certificate.validity().not_before.timestamp(),
            not_after_seconds: certificate.validity().not_after.timestamp(),
        })
    }

    /// Returns every certificate of a PEM file, in its order. One that can't be read is left out.
    #[must_use]
    pub fn all_from_pem(pem: &[u8]) -> Vec<Self> {
        let blocks = Pem::iter_from_buffer(pem).map_while(Result::ok);
        blocks
            .filter(|block| block.label == "CERTIFICATE")
            .filter_map(|block| Self::from_der(&block.contents))
            .collect()
    }

    /// Returns why it is not valid at this time; none: it is.
    #[must_use]
    pub fn why_not_valid(&self, now_seconds: i64) -> Option<&'static str> {
        if now_seconds < self.not_before_seconds {
            Some("it is not valid yet")
        } else if now_seconds > self.not_after_seconds {
            Some("it has expired")
        } else {
            None
        }
    }
}

impl fmt::Display for CertificateFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { serial, subject, uris, not_before_seconds, not_after_seconds } = self;
        write!(f, "serial {serial}, subject \"{subject}\"")?;
        for uri in uris {
            write!(f, ", URI {uri}")?;
        }
        write!(f, ", valid from {} to {}", in_words(*not_before_seconds), in_words(*not_after_seconds))
    }
}

fn in_words(seconds: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(seconds).ok().and_then(|time| time.format(&Rfc3339).ok());
    time.unwrap_or_else(|| format!("{seconds} s"))
}

fn line(text: &str) -> String {
    text.chars().take(NAME_MAX_CHARS).map(|each| if each.is_control() { ' ' } else { each }).collect()
}
