//! Parses a token: scheme, size, three parts, and the protected header, read strictly.
//!
//! Boundary: nothing is trusted here. The one claim that is read, `iss`, only selects one of the pinned issuers.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::error::Category;

use super::jwks::KID_MAX_CHARS;
use crate::domain::{Error, Reason, Result};

/// Largest token.
pub const TOKEN_MAX_BYTES: usize = 8 * 1024;

/// A compact JWS (RFC 7515 §7.1), not verified.
pub(super) struct TokenParts<'a> {
    /// The signed part: header, dot, payload.
    pub(super) message: &'a str,
    /// The signature as sent, encoded.
    pub(super) signature: &'a str,
    pub(super) header: ProtectedHeader,
    pub(super) payload: Vec<u8>,
}

/// The complete protected header: any other member (`crit`, `jku`, `jwk`, `x5u`, `x5c`, `b64`, `zip`, `enc`, `cty`, …) is refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProtectedHeader {
    pub(super) alg: String,
    pub(super) typ: String,
    pub(super) kid: String,
    // Many identity providers also name the certificate of their key; it is ignored.
    x5t: Option<String>,
    #[serde(rename = "x5t#S256")]
    x5t_s256: Option<String>,
}

impl ProtectedHeader {
    pub(super) fn names_a_certificate(&self) -> bool {
        self.x5t.is_some() || self.x5t_s256.is_some()
    }
}

pub(super) fn invalid(message: &'static str) -> Error {
    Error::new(Reason::TokenInvalid, message)
}

fn malformed(message: &'static str) -> Error {
    Error::new(Reason::TokenMalformed, message)
}

/// Returns the token of `Bearer <token>`; the scheme in any case (RFC 9110 §11.1), one space, nothing after.
pub(super) fn bearer(authorization_header: &str) -> Result<&str> {
    let (scheme, token) = authorization_header.split_once(' ').unwrap_or((authorization_header, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(malformed("authorization header is not of the form Bearer <token>"));
    }
    if token.len() > TOKEN_MAX_BYTES {
        return Err(malformed("token is over 8 KiB"));
    }
    Ok(token)
}

/// Parses a token.
pub(super) fn parts(token: &str) -> Result<TokenParts<'_>> {
    let split: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = split.as_slice() else {
        return Err(malformed("token is not three parts joined by dots"));
    };
    let decode =
        |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed("token is not base64url without padding"));
    let (header_bytes, payload, _) = (decode(header)?, decode(payload)?, decode(signature)?);
    let header: ProtectedHeader = serde_json::from_slice(&header_bytes).map_err(|error| match error.classify() {
        Category::Data => invalid("token header must have alg, typ and kid, once each, and nothing that asks for more"),
        Category::Syntax | Category::Eof | Category::Io => malformed("token header is not JSON"),
    })?;
    // serde would also accept a list of the values.
    if header_bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(invalid("token header is not a JSON object"));
    }
    if header.kid.len() > KID_MAX_CHARS {
        return Err(invalid("token kid is over 256 characters"));
    }
    let message = token.rsplit_once('.').map_or("", |(message, _)| message);
    Ok(TokenParts { message, signature, header, payload })
}

/// Returns the issuer that the token claims: only to select a pinned issuer, before the signature is verified.
pub(super) fn claimed_issuer(payload: &[u8]) -> Result<String> {
    #[derive(Deserialize)]
    struct Claimed {
        iss: String,
    }
    let claimed: Claimed = serde_json::from_slice(payload).map_err(|_| invalid("token must have one iss, as text"))?;
    Ok(claimed.iss)
}
