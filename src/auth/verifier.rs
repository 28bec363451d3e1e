//! Bearer tokens: from an `authorization` header to a principal.
//!
//! Order is the point: size, shape, protected header, signature, claims, time. No claim is read before the signature
//! holds. A key serves one algorithm and one issuer (RFC 8725 §3.1, §3.9); it is found by `kid` among the keys
//! given at the start, never fetched and never taken from the token.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::error::Category;

use super::issuer::thumbprint;
use super::provider;
use super::verified::Verified;
use crate::domain::principal::{Caller, Credential, Principal};
use crate::domain::{Error, Reason, Result};

/// `typ` of an access token (RFC 9068 §2.1). Bundles and statements have others, so none passes for another.
pub const ACCESS_TOKEN_TYP: &str = "at+jwt";
/// Largest token.
pub const TOKEN_MAX_BYTES: usize = 8 * 1024;
/// How far the issuer's clock and ours may differ. Longer: an expired token lives that much longer. Shorter: a token
/// used at once on a host whose clock is behind is refused.
pub const CLOCK_LEEWAY_SECONDS: i64 = 5;

/// A public key, whose tokens it verifies and for whom they must be.
#[derive(Debug)]
pub struct TrustedKey {
    issuer_name: String,
    issuer: String,
    algorithm: Algorithm,
    public_key: DecodingKey,
    validation: Validation,
}

/// The protected header, whole: any other member (`crit`, `jku`, `jwk`, `x5u`, `x5c`, `b64`, `zip`, …) is refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProtectedHeader {
    alg: String,
    typ: String,
    kid: String,
}

/// What is used of the claims. Members beyond these are ignored (RFC 7519 §4); one of these twice is an error. `aud` is
/// checked by the library.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    exp: i64,
    nbf: Option<i64>,
    iat: Option<i64>,
    jti: Option<String>,
}

impl TrustedKey {
    /// An Ed25519 key of 32 bytes. `issuer_name` becomes the principal's issuer, `issuer` is the `iss` and `audience` the
    /// `aud` that tokens must have.
    pub fn ed25519(issuer_name: &str, issuer: &str, audience: &str, public_key: &[u8]) -> Result<Self> {
        Self::new(issuer_name, issuer, audience, Algorithm::EdDSA, DecodingKey::from_ed_der(public_key))
    }

    pub(super) fn new(
        issuer_name: &str,
        issuer: &str,
        audience: &str,
        algorithm: Algorithm,
        public_key: DecodingKey,
    ) -> Result<Self> {
        if issuer_name.is_empty() || issuer_name.contains(':') || issuer.is_empty() || audience.is_empty() {
            return Err(Error::internal("an issuer needs a name without a colon, an iss and an audience"));
        }
        let mut validation = Validation::new(algorithm);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_audience(&[audience]);
        // The library reads a clock of its own; ours is a parameter.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        Ok(Self { issuer_name: issuer_name.to_owned(), issuer: issuer.to_owned(), algorithm, public_key, validation })
    }
}

/// Verifies bearer tokens against a fixed set of keys.
#[derive(Debug)]
pub struct Verifier {
    keys: BTreeMap<String, TrustedKey>,
    verified: Verified,
}

impl Verifier {
    /// Trusts these keys, each by its RFC 7638 thumbprint. One key under two issuers is an error: a token of one would
    /// be a token of the other.
    pub fn new(trusted: Vec<TrustedKey>) -> Result<Self> {
        provider::install();
        let mut keys = BTreeMap::new();
        for key in trusted {
            let kid = thumbprint(&key.public_key, key.algorithm)?;
            if keys.insert(kid, key).is_some() {
                return Err(Error::internal("one token key is trusted twice"));
            }
        }
        Ok(Self { keys, verified: Verified::default() })
    }

    /// Who sent this `authorization` header, at `now_seconds` (Unix time).
    ///
    /// TOKEN_MISSING: no header. TOKEN_MALFORMED: not `Bearer` and a compact JWS of at most 8 KiB. TOKEN_AUDIENCE: meant
    /// for someone else. TOKEN_EXPIRED: was good once. TOKEN_INVALID: everything else.
    pub fn verify(&self, authorization_header: Option<&str>, now_seconds: i64) -> Result<Caller> {
        let token = bearer_token(authorization_header)?;
        if let Some(caller) = self.verified.get(token, now_seconds) {
            return Ok(caller);
        }
        let header = protected_header(token)?;
        let key = self.key_for(&header)?;
        let claims = jsonwebtoken::decode::<Claims>(token, &key.public_key, &key.validation)
            .map_err(|error| refusal_of(error.kind()))?
            .claims;
        // Compared here, because the library would take a list of issuers too.
        if claims.iss != key.issuer {
            return Err(invalid("token is from another issuer"));
        }
        if !Principal::is_subject(&claims.sub) {
            return Err(invalid("token subject is not 1 to 255 printable ASCII characters"));
        }
        check_times(&claims, now_seconds)?;
        let credential = Credential::Token {
            id: claims.jti.unwrap_or_default(),
            issued_at_seconds: claims.iat.unwrap_or(0),
            expires_at_seconds: claims.exp,
        };
        let caller = Caller { principal: Principal::new(&key.issuer_name, &claims.sub), credential };
        self.verified.insert(token, &caller, now_seconds, claims.exp.saturating_add(CLOCK_LEEWAY_SECONDS));
        Ok(caller)
    }

    /// Whether a caller's credential is still good at `now_seconds`: for what goes on after the call that showed it.
    ///
    /// # Errors
    /// TOKEN_EXPIRED.
    pub fn recheck(&self, caller: &Caller, now_seconds: i64) -> Result<()> {
        let (Credential::Token { expires_at_seconds, .. } | Credential::Certificate { expires_at_seconds }) =
            caller.credential;
        if now_seconds.saturating_sub(CLOCK_LEEWAY_SECONDS) >= expires_at_seconds {
            return Err(expired(expires_at_seconds));
        }
        Ok(())
    }

    fn key_for(&self, header: &ProtectedHeader) -> Result<&TrustedKey> {
        if header.typ != ACCESS_TOKEN_TYP {
            return Err(invalid("token is not an access token (typ at+jwt)"));
        }
        let key = self.keys.get(&header.kid).ok_or_else(|| invalid("token is signed by an unknown key"))?;
        if header.alg.parse::<Algorithm>().ok() != Some(key.algorithm) {
            return Err(invalid("token algorithm is not its key's"));
        }
        Ok(key)
    }
}

fn invalid(message: &'static str) -> Error {
    Error::new(Reason::TokenInvalid, message)
}

fn expired(at_seconds: i64) -> Error {
    Error::new(Reason::TokenExpired, "token is expired").with("expired_at_seconds", at_seconds)
}

fn malformed(message: &'static str) -> Error {
    Error::new(Reason::TokenMalformed, message)
}

/// The token of `Bearer <token>`; the scheme in any case (RFC 9110 §11.1), one space, nothing after.
fn bearer_token(authorization_header: Option<&str>) -> Result<&str> {
    let header = authorization_header
        .ok_or_else(|| Error::new(Reason::TokenMissing, "the request has no authorization: Bearer header"))?;
    let (scheme, token) = header.split_once(' ').unwrap_or((header, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(malformed("authorization header is not of the form Bearer <token>"));
    }
    if token.len() > TOKEN_MAX_BYTES {
        return Err(malformed("token is over 8 KiB"));
    }
    Ok(token)
}

/// Takes a compact JWS apart (RFC 7515 §7.1) and reads its header strictly.
fn protected_header(token: &str) -> Result<ProtectedHeader> {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts.as_slice() else {
        return Err(malformed("token is not three parts joined by dots"));
    };
    let decode =
        |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed("token is not base64url without padding"));
    let (header, _, _) = (decode(header)?, decode(payload)?, decode(signature)?);
    serde_json::from_slice(&header).map_err(|error| match error.classify() {
        Category::Data => invalid("token header must have alg, typ and kid, once each, and nothing else"),
        Category::Syntax | Category::Eof | Category::Io => malformed("token header is not JSON"),
    })
}

fn refusal_of(kind: &ErrorKind) -> Error {
    match kind {
        ErrorKind::InvalidAudience => Error::new(Reason::TokenAudience, "token is for another audience"),
        ErrorKind::InvalidSignature => invalid("token signature does not verify"),
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::Json(_) => {
            invalid("token must have iss, aud and sub as text and exp as a whole number, once each")
        }
        _ => invalid("token can't be verified"),
    }
}

/// RFC 7519 §4.1.4 to §4.1.6, with leeway.
fn check_times(claims: &Claims, now_seconds: i64) -> Result<()> {
    if now_seconds.saturating_sub(CLOCK_LEEWAY_SECONDS) >= claims.exp {
        return Err(expired(claims.exp));
    }
    let latest = now_seconds.saturating_add(CLOCK_LEEWAY_SECONDS);
    if claims.nbf.is_some_and(|nbf| nbf > latest) || claims.iat.is_some_and(|iat| iat > latest) {
        return Err(invalid("token is not valid yet: its nbf or iat is in the future"));
    }
    Ok(())
}
