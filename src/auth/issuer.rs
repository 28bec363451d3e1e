//! The built-in issuer of short-lived bearer tokens, for a server without an identity provider.
//!
//! Its key signs access tokens only. Bundles and statements have other keys, so that neither is accepted for the other.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde::Serialize;

use super::jwks::IssuerKeys;
use super::provider;
use super::rules::{IssuerRules, TokenAlgorithm};
use super::thumbprint::thumbprint;
use super::verifier::{ACCESS_TOKEN_TYP, Verifier};
use crate::domain::limits::{TOKEN_GROUPS_MAX, TOKEN_LIFETIME_MAX_SECONDS};
use crate::domain::principal::{LOCAL_ISSUER_NAME, Principal};
use crate::domain::{Error, Result};

/// `iss` of its tokens.
pub const LOCAL_ISSUER: &str = "policyhub-local";
/// `aud` of its tokens unless the config names another.
pub const DEFAULT_AUDIENCE: &str = "policyhub";

/// The claim of the caller's groups.
const GROUPS_CLAIM: &str = "groups";
const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";
const PEM_LINE_CHARS: usize = 64;
const JTI_BYTES: usize = 16;

/// Issues tokens with one Ed25519 key. `Debug` does not show the key.
#[derive(Debug)]
pub struct LocalIssuer {
    private_key: EncodingKey,
    public_key: Vec<u8>,
    kid: String,
    audience: String,
}

/// The claims of RFC 9068 §2.2 that a server without OAuth clients can state.
#[derive(Serialize)]
struct IssuedClaims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: String,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    groups: &'a [String],
}

impl LocalIssuer {
    /// Reads an Ed25519 private key: PEM of PKCS#8 v1 or v2 (RFC 5958, RFC 7468). Any other key is an error, which never contains the key.
    pub fn from_pem(pem: &str, audience: &str) -> Result<Self> {
        provider::install();
        let unreadable = |_| Error::internal("the token key is not an Ed25519 private key in PKCS#8 PEM");
        let private_key = EncodingKey::from_ed_pem(pem.as_bytes()).map_err(unreadable)?;
        let pair = provider::ed25519_key_pair(private_key.as_bytes()).map_err(unreadable)?;
        let public_key = pair.public_key().as_ref().to_vec();
        let kid = thumbprint(&DecodingKey::from_ed_der(&public_key), Algorithm::EdDSA)?;
        Ok(Self { private_key, public_key, kid, audience: audience.to_owned() })
    }

    /// Creates a private key in PEM. The caller sets mode 0600 on its file.
    pub fn generate_pem() -> Result<String> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .map_err(|_| Error::internal("the system gave no randomness for a token key"))?;
        let mut pem = format!("{PEM_BEGIN}\n");
        for (index, letter) in STANDARD.encode(document.as_ref()).chars().enumerate() {
            if index > 0 && index % PEM_LINE_CHARS == 0 {
                pem.push('\n');
            }
            pem.push(letter);
        }
        pem.push_str(&format!("\n{PEM_END}\n"));
        Ok(pem)
    }

    /// Issues a token for `subject` in no group; see [`Self::issue_in`].
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`.
    pub fn issue(&self, subject: &str, ttl_seconds: i64, now_seconds: i64) -> Result<String> {
        self.issue_in(subject, &[], ttl_seconds, now_seconds)
    }

    /// Issues a token for `subject` in `groups`, valid from `now_seconds` (Unix time) for `ttl_seconds`.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a lifetime below one second or over 366 days, or a name that a verifier would refuse.
    pub fn issue_in(&self, subject: &str, groups: &[String], ttl_seconds: i64, now_seconds: i64) -> Result<String> {
        if !Principal::is_subject(subject) {
            return Err(Error::invalid("subject", "must be 1 to 255 printable ASCII characters, no space at the ends"));
        }
        if groups.len() > TOKEN_GROUPS_MAX || !groups.iter().all(|group| Principal::is_subject(group)) {
            return Err(Error::invalid("groups", "must be at most 200, each like a subject"));
        }
        let ttl_seconds = Some(ttl_seconds).filter(|ttl| (1..=TOKEN_LIFETIME_MAX_SECONDS).contains(ttl));
        let exp = ttl_seconds.and_then(|ttl| now_seconds.checked_add(ttl));
        let exp = exp.ok_or_else(|| Error::invalid("ttl_seconds", "must be at least 1 and at most 366 days"))?;
        let claims = IssuedClaims {
            iss: LOCAL_ISSUER,
            sub: subject,
            aud: &self.audience,
            iat: now_seconds,
            nbf: now_seconds,
            exp,
            jti: random_id()?,
            groups,
        };
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(ACCESS_TOKEN_TYP.to_owned());
        header.kid = Some(self.kid.clone());
        jsonwebtoken::encode(&header, &claims, &self.private_key)
            .map_err(|error| Error::internal(format!("a token could not be signed: {error}")))
    }

    /// Creates a verifier that accepts this issuer's tokens only.
    pub fn verifier(&self) -> Result<Verifier> {
        Verifier::new(vec![self.trusted()?])
    }

    /// Returns the rules and the key for a verifier that trusts other issuers too.
    pub fn trusted(&self) -> Result<(IssuerRules, IssuerKeys)> {
        let rules = IssuerRules {
            name: LOCAL_ISSUER_NAME.to_owned(),
            issuer: LOCAL_ISSUER.to_owned(),
            audience: self.audience.clone(),
            algorithms: vec![TokenAlgorithm::EdDSA],
            allow_typ_jwt: false,
            subject_claim: "sub".to_owned(),
            groups_claim: Some(GROUPS_CLAIM.to_owned()),
        };
        Ok((rules, IssuerKeys::of_one(TokenAlgorithm::EdDSA, DecodingKey::from_ed_der(&self.public_key))?))
    }
}

/// Returns a `jti` of 128 random bits, so that a token can be revoked by it.
fn random_id() -> Result<String> {
    let mut bytes = [0; JTI_BYTES];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Error::internal("the system gave no randomness for a token id"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Reason;

    // RFC 8410 §10.3: a key in PKCS#8 v1, as OpenSSL writes them.
    const RFC_V1: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";

    fn issuer() -> LocalIssuer {
        LocalIssuer::from_pem(&LocalIssuer::generate_pem().expect("pem"), DEFAULT_AUDIENCE).expect("issuer")
    }

    fn part(token: &str, index: usize) -> serde_json::Value {
        let bytes = URL_SAFE_NO_PAD.decode(token.split('.').nth(index).expect("part")).expect("base64url");
        serde_json::from_slice(&bytes).expect("json")
    }

    #[test]
    fn a_token_has_the_claims_and_the_header_it_must() {
        let issuer = issuer();
        let token = issuer.issue("admin", 60, 1_000).expect("token");
        let again = issuer.issue("admin", 60, 1_000).expect("token");
        assert_eq!(part(&token, 0), serde_json::json!({"typ": "at+jwt", "alg": "EdDSA", "kid": issuer.kid}));
        let mut claims = part(&token, 1);
        let jti = claims.as_object_mut().and_then(|map| map.remove("jti")).expect("jti");
        assert_eq!(
            claims,
            serde_json::json!({
                "iss": "policyhub-local", "sub": "admin", "aud": "policyhub", "iat": 1_000, "nbf": 1_000, "exp": 1_060,
            })
        );
        assert_ne!(jti, part(&again, 1)["jti"], "two tokens must not share an id");
    }

    #[test]
    fn keys_of_both_pkcs8_forms_work() {
        assert!(LocalIssuer::generate_pem().expect("pem").len() > RFC_V1.len(), "ring writes the longer v2 form");
        for pem in [RFC_V1.to_owned(), LocalIssuer::generate_pem().expect("pem")] {
            let issuer = LocalIssuer::from_pem(&pem, "aud").expect("issuer");
            let header = format!("Bearer {}", issuer.issue("ci", 60, 0).expect("token"));
            let caller = issuer.verifier().expect("verifier").verify(Some(&header), 1).expect("caller");
            assert_eq!(caller.principal.actor(), "local:ci");
        }
    }

    #[test]
    fn other_keys_are_refused_and_not_repeated() {
        use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
        let ec = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).expect("key");
        let body = STANDARD.encode(ec.as_ref());
        let ec_pem = format!("{PEM_BEGIN}\n{body}\n{PEM_END}\n");
        for pem in ["", "secret", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n", &ec_pem] {
            let error = LocalIssuer::from_pem(pem, "aud").expect_err("must be refused");
            assert_eq!(error.reason, Reason::Internal);
            let shown = format!("{error:?}");
            assert!(!shown.contains(&body) && !shown.contains("c2VjcmV0"), "{shown}");
        }
    }

    #[test]
    fn a_token_that_could_not_be_used_is_not_issued() {
        let issuer = issuer();
        for (subject, ttl) in [("", 60), ("a\nb", 60), ("admin", 0), ("admin", -1), ("admin", i64::MAX)] {
            let error = issuer.issue(subject, ttl, 10).expect_err("must be refused");
            assert_eq!(error.reason, Reason::InvalidArgument, "{subject:?} for {ttl}");
        }
    }

    #[test]
    fn debug_shows_no_private_key() {
        let pem = LocalIssuer::generate_pem().expect("pem");
        let issuer = LocalIssuer::from_pem(&pem, "aud").expect("issuer");
        let shown = format!("{issuer:?}");
        assert!(shown.contains("private_key: EncodingKey { family: Ed, content: \"[redacted]\" }"), "{shown}");
    }
}
