//! Makes tokens for tests: two issuers with all their private keys, and tokens from raw text.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding,
    RsaKeyPair,
};
use serde_json::{Value, json};

use crate::auth::issuer::{DEFAULT_AUDIENCE, LOCAL_ISSUER, LocalIssuer};
use crate::auth::jwks::IssuerKeys;
use crate::auth::rules::{IssuerRules, TokenAlgorithm};
use crate::auth::verifier::Verifier;
use crate::domain::Reason;

pub(super) const NOW: i64 = 1_800_000_000;
/// `iss` of the identity provider `corp`, and its keys.
pub(super) const CORP_ISSUER: &str = "https://id.example";
pub(super) const EC_KID: &str = "ec-1";
pub(super) const RSA_KID: &str = "rsa-1";
pub(super) const PSS_KID: &str = "pss-1";

pub(super) struct Bench {
    pub(super) private: EncodingKey,
    pub(super) stranger: EncodingKey,
    pub(super) ec_private: EncodingKey,
    pub(super) rsa_private: RsaKeyPair,
    /// Ed25519 public key, 32 bytes.
    pub(super) public: Vec<u8>,
    /// P-256 public key, 65 bytes.
    pub(super) ec_public: Vec<u8>,
    pub(super) rsa_public: PublicKeyComponents<Vec<u8>>,
    pub(super) issuer: LocalIssuer,
    pub(super) verifier: Verifier,
    pub(super) kid: String,
}

fn pem_key() -> (String, EncodingKey) {
    let pem = LocalIssuer::generate_pem().expect("pem");
    let key = EncodingKey::from_ed_pem(pem.as_bytes()).expect("key");
    (pem, key)
}

/// Uses openssl, because ring makes no RSA keys.
fn rsa_key(bits: u32) -> RsaKeyPair {
    let bits = format!("rsa_keygen_bits:{bits}");
    let arguments = ["genpkey", "-algorithm", "RSA", "-pkeyopt", &bits, "-outform", "PEM"];
    let made = std::process::Command::new("openssl").args(arguments).output().expect("openssl runs");
    let pem = String::from_utf8(made.stdout).expect("PEM");
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    RsaKeyPair::from_pkcs8(&STANDARD.decode(body).expect("base64")).expect("an RSA key")
}

fn part(token: &str, index: usize) -> Value {
    let bytes = URL_SAFE_NO_PAD.decode(token.split('.').nth(index).expect("a part")).expect("base64url");
    serde_json::from_slice(&bytes).expect("json")
}

pub(super) fn corp_rules() -> IssuerRules {
    IssuerRules {
        name: "corp".to_owned(),
        issuer: CORP_ISSUER.to_owned(),
        audience: "hub".to_owned(),
        algorithms: TokenAlgorithm::ALL.to_vec(),
        allow_typ_jwt: true,
        subject_claim: "uid".to_owned(),
        groups_claim: Some("roles".to_owned()),
    }
}

impl Bench {
    pub(super) fn new() -> Self {
        let (pem, private) = pem_key();
        let issuer = LocalIssuer::from_pem(&pem, DEFAULT_AUDIENCE).expect("issuer");
        let pair = crate::auth::provider::ed25519_key_pair(private.as_bytes()).expect("pair");
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("p-256");
        let ec =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).expect("own key");
        let rsa_private = rsa_key(2048);
        let rsa_public = PublicKeyComponents::from(rsa_private.public_key());
        let kid = part(&issuer.issue("admin", 60, NOW).expect("token"), 0)["kid"].as_str().expect("kid").to_owned();
        let mut bench = Self {
            private,
            stranger: pem_key().1,
            ec_private: EncodingKey::from_ec_der(document.as_ref()),
            rsa_private,
            public: pair.public_key().as_ref().to_vec(),
            ec_public: ec.public_key().as_ref().to_vec(),
            rsa_public,
            verifier: issuer.verifier().expect("verifier"),
            issuer,
            kid,
        };
        let jwks = json!({"keys": [bench.ec_jwk(), bench.rsa_jwk(RSA_KID, "RS256"), bench.rsa_jwk(PSS_KID, "PS256")]});
        let corp = (corp_rules(), IssuerKeys::parse(jwks.to_string().as_bytes(), &TokenAlgorithm::ALL).expect("keys"));
        bench.verifier = Verifier::new(vec![bench.issuer.trusted().expect("rules"), corp]).expect("verifier");
        bench
    }

    pub(super) fn only_rsa(&self) -> IssuerKeys {
        let jwks = json!({"keys": [self.rsa_jwk(RSA_KID, "RS256")]});
        IssuerKeys::parse(jwks.to_string().as_bytes(), &TokenAlgorithm::ALL).expect("keys")
    }

    fn ec_jwk(&self) -> Value {
        let (x, y) = self.ec_public[1..].split_at(32);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": EC_KID, "use": "sig"})
    }

    fn rsa_jwk(&self, kid: &str, alg: &str) -> Value {
        let (n, e) = (URL_SAFE_NO_PAD.encode(&self.rsa_public.n), URL_SAFE_NO_PAD.encode(&self.rsa_public.e));
        json!({"kty": "RSA", "n": n, "e": e, "kid": kid, "alg": alg})
    }

    pub(super) fn header(&self) -> String {
        format!(r#"{{"alg":"EdDSA","typ":"at+jwt","kid":"{}"}}"#, self.kid)
    }

    /// Returns a valid header with further members.
    pub(super) fn header_and(&self, members: &str) -> String {
        format!(r#"{{"alg":"EdDSA","typ":"at+jwt","kid":"{}",{members}}}"#, self.kid)
    }

    pub(super) fn corp_header(&self) -> String {
        format!(r#"{{"alg":"ES256","typ":"at+jwt","kid":"{EC_KID}"}}"#)
    }

    pub(super) fn signed(&self, header: &str, claims: &str) -> String {
        forge(header, claims, &self.private, Algorithm::EdDSA)
    }

    pub(super) fn claims(&self, claims: &str) -> String {
        self.signed(&self.header(), claims)
    }

    pub(super) fn good(&self) -> String {
        self.claims(&claims_with("exp", json!(NOW + 60)))
    }

    /// Returns a token signed by the P-256 key of the identity provider.
    pub(super) fn corp(&self, header: &str, claims: &str) -> String {
        forge(header, claims, &self.ec_private, Algorithm::ES256)
    }

    /// Returns a token signed by the RSA key of the identity provider, as RS256 or PS256.
    pub(super) fn rsa(&self, header: &str, claims: &str, alg: &str) -> String {
        let encoding: &dyn RsaEncoding = if alg == "PS256" { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
        let message = message(header, claims);
        let mut signature = vec![0; self.rsa_private.public().modulus_len()];
        self.rsa_private.sign(encoding, &SystemRandom::new(), message.as_bytes(), &mut signature).expect("signature");
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Returns a token with an HMAC whose secret is some form of a public key.
    pub(super) fn hmac(&self, header: &str, claims: &str, secret: &[u8]) -> String {
        let message = message(header, claims);
        let tag = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret), message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    pub(super) fn verdict(&self, header: Option<&str>) -> Result<String, Reason> {
        self.verifier.verify(header, NOW).map(|caller| caller.principal.actor()).map_err(|error| {
            let shown = format!("{error:?} {error}");
            let token = header.unwrap_or_default();
            for part in token.split(['.', ' ']).filter(|part| part.len() > 12) {
                assert!(!shown.contains(part), "{shown} repeats the token");
            }
            error.reason
        })
    }
}

pub(super) fn message(header: &str, claims: &str) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
}

pub(super) fn forge(header: &str, claims: &str, key: &EncodingKey, algorithm: Algorithm) -> String {
    let message = message(header, claims);
    let signature = crypto::sign(message.as_bytes(), key, algorithm).expect("signature");
    format!("{message}.{signature}")
}

/// Returns valid claims of the local issuer with one of them replaced.
pub(super) fn claims_with(name: &str, value: Value) -> String {
    let mut claims = json!({"iss": LOCAL_ISSUER, "sub": "admin", "aud": "policyhub", "exp": NOW + 60});
    claims[name] = value;
    claims.to_string()
}

pub(super) fn claims_without(name: &str) -> String {
    let mut claims: Value = serde_json::from_str(&claims_with("iat", json!(NOW))).expect("json");
    claims.as_object_mut().expect("object").remove(name).expect("a claim to take away");
    claims.to_string()
}

/// Returns valid claims as text, with further members, which may repeat one.
pub(super) fn claims_and(members: &str) -> String {
    let good = claims_with("iat", json!(NOW));
    format!("{},{members}}}", good.trim_end_matches('}'))
}

/// Returns valid claims of the identity provider.
pub(super) fn corp_claims() -> String {
    corp_claims_with("iat", json!(NOW))
}

pub(super) fn corp_claims_with(name: &str, value: Value) -> String {
    let mut claims = json!({"iss": CORP_ISSUER, "sub": "u-17", "uid": "ann", "aud": "hub", "exp": NOW + 60});
    claims[name] = value;
    claims.to_string()
}

pub(super) fn bearer(token: &str) -> Option<String> {
    Some(format!("Bearer {token}"))
}
