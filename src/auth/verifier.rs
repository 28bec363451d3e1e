//! Verifies the credentials of a call, an `authorization` header and a client certificate, and returns its caller.
//!
//! The order matters: size, shape, protected header, issuer, key, signature, claims, time. Before the signature is verified only
//! the claim `iss` is read, to select a pinned issuer. A key has one algorithm and is found by `kid` among the keys of that issuer,
//! which the caller of this module provides: they are never fetched here, never taken from the token.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::certificate::{Authorities, PeerCertificate, refused};
use super::claims::{self, Believed, CLOCK_LEEWAY, ClockLeeway, expired};
use super::jwks::{IssuerKey, IssuerKeys};
use super::provider;
use super::rules::{IssuerRules, TokenAlgorithm};
use super::token::{self, ProtectedHeader, invalid};
use super::verified::VerifiedTokens;
use crate::domain::principal::{Caller, Credential};
use crate::domain::revoked_credentials::RevokedCredentials;
use crate::domain::{Error, Reason, Result};

/// `typ` of an access token (RFC 9068 §2.1). Bundles and statements have others, so none is accepted for another.
pub const ACCESS_TOKEN_TYP: &str = "at+jwt";
/// `typ` of issuers that do not know RFC 9068, where the config allows it.
const PLAIN_TYP: &str = "JWT";

/// A value that every call reads, and that is sometimes replaced as a whole.
#[derive(Debug, Default)]
struct Current<T>(RwLock<Arc<T>>);

impl<T> Current<T> {
    fn get(&self) -> Arc<T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, value: T) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
    }
}

#[derive(Debug)]
struct Issuer {
    rules: IssuerRules,
    keys: Current<IssuerKeys>,
    /// Set when a token named an unknown key, which may be new.
    unknown_key_seen: AtomicBool,
}

/// Verifies credentials against pinned issuers and trust domains.
#[derive(Debug)]
pub struct Verifier {
    issuers: Vec<Issuer>,
    leeway: ClockLeeway,
    authorities: Current<Authorities>,
    revoked: Current<RevokedCredentials>,
    verified: VerifiedTokens,
}

impl Verifier {
    /// Creates a verifier that trusts these issuers, each with its present keys.
    ///
    /// # Errors
    /// Two of them have the same name or issuer.
    pub fn new(issuers: Vec<(IssuerRules, IssuerKeys)>) -> Result<Self> {
        provider::install();
        let mut pinned: Vec<Issuer> = Vec::with_capacity(issuers.len());
        for (rules, keys) in issuers {
            if pinned.iter().any(|other| other.rules.name == rules.name || other.rules.issuer == rules.issuer) {
                return Err(Error::invalid("issuers", "has two of one name or one issuer"));
            }
            let (keys, unknown_key_seen) = (Current(RwLock::new(Arc::new(keys))), AtomicBool::new(false));
            pinned.push(Issuer { rules, keys, unknown_key_seen });
        }
        let (authorities, revoked, verified) = Default::default();
        Ok(Self { issuers: pinned, leeway: CLOCK_LEEWAY, authorities, revoked, verified })
    }

    /// Sets how far clocks may differ.
    #[must_use]
    pub fn with_leeway(self, leeway: ClockLeeway) -> Self {
        Self { leeway, ..self }
    }

    /// Authenticates the caller at `now_seconds` (Unix time). A token identifies the caller, with or without a certificate; but a
    /// certificate that identifies no caller refuses the call in any case, and so does a token that is bound to another one.
    ///
    /// # Errors
    /// As [`Self::verify`], and CERTIFICATE_INVALID.
    pub fn authenticate(
        &self,
        authorization_header: Option<&str>,
        certificate: Option<&PeerCertificate>,
        now_seconds: i64,
    ) -> Result<Caller> {
        let by_certificate = match certificate {
            None => None,
            Some(certificate) => {
                let caller = certificate.caller(&self.authorities.get(), now_seconds)?;
                // The caller was identified at the first call of the connection, which may be long ago.
                self.recheck(&caller, now_seconds)?;
                Some(caller)
            }
        };
        match (authorization_header, by_certificate) {
            (None, Some(caller)) => Ok(caller),
            _ => self.verify_with(authorization_header, certificate, now_seconds),
        }
    }

    /// Authenticates an `authorization` header at `now_seconds` (Unix time).
    ///
    /// TOKEN_MISSING: no header. TOKEN_MALFORMED: not `Bearer` and a compact JWS of at most 8 KiB. TOKEN_AUDIENCE: for another
    /// audience. TOKEN_EXPIRED: valid before. TOKEN_REVOKED: revoked. TOKEN_INVALID: everything else.
    pub fn verify(&self, authorization_header: Option<&str>, now_seconds: i64) -> Result<Caller> {
        self.verify_with(authorization_header, None, now_seconds)
    }

    fn verify_with(
        &self,
        authorization_header: Option<&str>,
        certificate: Option<&PeerCertificate>,
        now_seconds: i64,
    ) -> Result<Caller> {
        let header = authorization_header.ok_or_else(|| {
            Error::new(
                Reason::TokenMissing,
                "the request has neither an authorization: Bearer header nor a client certificate",
            )
        })?;
        let token = token::bearer(header)?;
        let (caller, bound_to) = match self.verified.get(token, now_seconds) {
            Some(known) => known,
            None => self.verify_anew(token, now_seconds)?,
        };
        if let Some(digest) = bound_to
            && !certificate.is_some_and(|certificate| certificate.has_digest(&digest))
        {
            return Err(invalid("token is bound to a client certificate that the caller has not shown"));
        }
        // A cached token or its key may have been revoked since.
        self.recheck(&caller, now_seconds)?;
        Ok(caller)
    }

    fn verify_anew(&self, token: &str, now_seconds: i64) -> Result<(Caller, Option<String>)> {
        let parts = token::parts(token)?;
        let claimed = token::claimed_issuer(&parts.payload)?;
        let issuer = self.issuers.iter().find(|issuer| issuer.rules.issuer == claimed);
        let issuer = issuer.ok_or_else(|| invalid("token is from another issuer"))?;
        let keys = issuer.keys.get();
        let key = issuer.key_for(&keys, &parts.header)?;
        let message = parts.message.as_bytes();
        match jsonwebtoken::crypto::verify(parts.signature, message, &key.public, key.algorithm.library()) {
            Ok(true) => {}
            Ok(false) | Err(_) => return Err(invalid("token signature does not verify")),
        }
        let believed = claims::believe(&parts.payload, &issuer.rules, now_seconds, self.leeway)?;
        let Believed { principal, id, issued_at_seconds, expires_at_seconds, bound_to } = believed;
        let key_id = key.thumbprint.clone();
        let credential = Credential::Token { id, key_id, issued_at_seconds, expires_at_seconds };
        let caller = Caller { principal, credential };
        let good_until_seconds = self.leeway.latest_end(expires_at_seconds);
        self.verified.insert(token, (&caller, bound_to.as_ref()), now_seconds, good_until_seconds);
        Ok((caller, bound_to))
    }

    /// Checks that a caller's credential is still valid at `now_seconds`, for streams that outlive their first check.
    ///
    /// # Errors
    /// TOKEN_EXPIRED, TOKEN_REVOKED; TOKEN_INVALID when its issuer or key is no longer trusted; CERTIFICATE_INVALID when the
    /// certificate is expired or its CA is no longer trusted.
    pub fn recheck(&self, caller: &Caller, now_seconds: i64) -> Result<()> {
        match &caller.credential {
            Credential::Token { expires_at_seconds, key_id, .. } => {
                if self.leeway.is_over(*expires_at_seconds, now_seconds) {
                    return Err(expired(*expires_at_seconds));
                }
                let issuer = self.issuers.iter().find(|issuer| issuer.rules.name == caller.principal.issuer);
                if !issuer.is_some_and(|issuer| issuer.keys.get().has_thumbprint(key_id)) {
                    return Err(invalid("token is signed by a key that is trusted no more"));
                }
            }
            Credential::Certificate { authority, expires_at_seconds, .. } => {
                if caller.principal.issuer != crate::domain::principal::SPIFFE_ISSUER_NAME {
                    return Err(refused("a client certificate names callers of spiffe alone"));
                }
                let authorities = self.authorities.get();
                if self.leeway.is_over(*expires_at_seconds, now_seconds) {
                    return Err(
                        refused("the client certificate is expired").with("expired_at_seconds", expires_at_seconds)
                    );
                }
                authorities.recheck(&caller.principal, authority)?;
            }
        }
        self.revoked.get().check(&caller.principal, &caller.credential)
    }

    /// Verifies a signature by the keys of one issuer, and returns its `iss`.
    ///
    /// # Errors
    /// `TOKEN_INVALID`.
    pub(super) fn check_signature(
        &self,
        issuer_name: &str,
        (alg, kid): (&str, &str),
        message: &str,
        signature: &str,
    ) -> Result<&str> {
        let issuer = self.issuers.iter().find(|issuer| issuer.rules.name == issuer_name);
        let issuer = issuer.ok_or_else(|| invalid("token is from another issuer"))?;
        let keys = issuer.keys.get();
        let Some(key) = keys.get(kid) else {
            issuer.unknown_key_seen.store(true, Ordering::Relaxed);
            return Err(invalid("token is signed by an unknown key"));
        };
        if TokenAlgorithm::of(alg) != Some(key.algorithm) {
            return Err(invalid("token algorithm is not its key's"));
        }
        match jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key.public, key.algorithm.library()) {
            Ok(true) => Ok(&issuer.rules.issuer),
            Ok(false) | Err(_) => Err(invalid("token signature does not verify")),
        }
    }

    /// Returns whether an expiry time has passed, with leeway.
    pub(super) fn is_over(&self, expires_at_seconds: i64, now_seconds: i64) -> bool {
        self.leeway.is_over(expires_at_seconds, now_seconds)
    }

    /// Replaces the keys of an issuer. Tokens of removed keys are no longer valid.
    pub fn replace_keys(&self, issuer_name: &str, keys: IssuerKeys) {
        if let Some(issuer) = self.issuers.iter().find(|issuer| issuer.rules.name == issuer_name) {
            issuer.keys.set(keys);
        }
    }

    /// Returns how many keys an issuer has.
    #[must_use]
    pub fn key_count(&self, issuer_name: &str) -> usize {
        let issuer = self.issuers.iter().find(|issuer| issuer.rules.name == issuer_name);
        issuer.map_or(0, |issuer| issuer.keys.get().len())
    }

    /// Returns whether a token named a key that its issuer does not have, since the last call of this function.
    pub fn take_unknown_key(&self, issuer_name: &str) -> bool {
        let issuer = self.issuers.iter().find(|issuer| issuer.rules.name == issuer_name);
        issuer.is_some_and(|issuer| issuer.unknown_key_seen.swap(false, Ordering::Relaxed))
    }

    /// Trusts these CAs and no others.
    pub fn trust(&self, authorities: Authorities) {
        self.authorities.set(authorities);
    }

    /// Returns the revoked credentials.
    #[must_use]
    pub fn revoked(&self) -> Arc<RevokedCredentials> {
        self.revoked.get()
    }

    /// Replaces the set of revoked credentials.
    pub fn revoke(&self, revoked: RevokedCredentials) {
        self.revoked.set(revoked);
    }
}

impl Issuer {
    fn key_for<'a>(&self, keys: &'a IssuerKeys, header: &ProtectedHeader) -> Result<&'a IssuerKey> {
        let plain = self.rules.allow_typ_jwt && header.typ == PLAIN_TYP;
        if !plain && header.typ != ACCESS_TOKEN_TYP {
            return Err(invalid("token is not an access token (typ at+jwt)"));
        }
        if self.rules.is_local() && header.names_a_certificate() {
            return Err(invalid("token header must have alg, typ and kid and nothing else"));
        }
        let Some(key) = keys.get(&header.kid) else {
            self.unknown_key_seen.store(true, Ordering::Relaxed);
            return Err(invalid("token is signed by an unknown key"));
        };
        if TokenAlgorithm::of(&header.alg) != Some(key.algorithm) {
            return Err(invalid("token algorithm is not its key's"));
        }
        Ok(key)
    }
}
