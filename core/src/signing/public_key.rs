//! Public keys, and JWKs as their written form (RFC 7517, RFC 8037).
//!
//! Invariant: a key has exactly one algorithm, fixed by its type, and its id is always its own thumbprint (RFC 7638):
//! nobody chooses an id, so an id can't be made to point at another key.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::VerifyError;
use super::hash::sha256;

/// Names a signature algorithm. There are only two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Ed25519 (RFC 8032), `EdDSA` in JOSE (RFC 8037).
    EdDsa,
    /// ECDSA over P-256 with SHA-256, `ES256` in JOSE (RFC 7518 §3.4).
    Es256,
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: Algorithm,
    /// 32 bytes for Ed25519; 0x04, x and y (SEC 1 §2.3.3) for P-256.
    bytes: Vec<u8>,
    key_id: String,
}

/// The members of a JWK that matter. Others are ignored (RFC 7517 §4), except private ones.
#[derive(Deserialize)]
pub(super) struct Jwk {
    kty: String,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    alg: Option<String>,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    /// The private key of OKP and EC.
    d: Option<serde::de::IgnoredAny>,
}

const COORDINATE_BYTES: usize = 32;
const SEC1_UNCOMPRESSED: u8 = 0x04;

impl Algorithm {
    /// Returns the name in JOSE.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
        }
    }

    /// Takes the name in JOSE, letter for letter; anything else is `AlgorithmUnsupported`.
    pub fn parse(name: &str) -> Result<Self, VerifyError> {
        match name {
            "EdDSA" => Ok(Self::EdDsa),
            "ES256" => Ok(Self::Es256),
            _ => Err(VerifyError::AlgorithmUnsupported),
        }
    }
}

impl PublicKey {
    /// Returns the key's own algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the SHA-256 thumbprint (RFC 7638) as 43 characters of base64url.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Returns whether `signature`, 64 bytes, is of `message` and by this key.
    ///
    /// An ES256 signature has a twin that verifies too: a signature is never an identity.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = match self.algorithm {
            Algorithm::EdDsa => UnparsedPublicKey::new(&ED25519, &self.bytes).verify(message, signature),
            Algorithm::Es256 => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.bytes).verify(message, signature)
            }
        };
        verified.is_ok()
    }

    /// Returns the JWK: `kty`, `crv`, `x`, (`y`), `kid`, `alg` and `use`.
    #[must_use]
    pub fn to_jwk(&self) -> Value {
        let (kid, alg) = (&self.key_id, self.algorithm.as_str());
        let mut jwk = match (self.algorithm, self.coordinates()) {
            (Algorithm::EdDsa, (x, _)) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid, "alg": alg, "use": "sig"})
            }
            (Algorithm::Es256, (x, y)) => {
                json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": kid, "alg": alg, "use": "sig"})
            }
        };
        // Its text is signed in key statements, and must not depend on the features of the JSON library.
        jwk.sort_all_objects();
        jwk
    }

    /// Takes a JWK: OKP with Ed25519 or EC with P-256, never with a private member. `alg`, `kid` and `use` may be left
    /// out; when present they must be the key's algorithm, its thumbprint, and `sig`.
    pub fn from_jwk(jwk: &Value) -> Result<Self, VerifyError> {
        if !jwk.is_object() {
            return Err(VerifyError::KeyMalformed);
        }
        Jwk::deserialize(jwk).map_err(|_| VerifyError::KeyMalformed)?.into_key()
    }

    /// Returns a key from its raw bytes: 32 for Ed25519, 65 (SEC 1, uncompressed) for P-256.
    pub(super) fn from_raw(algorithm: Algorithm, bytes: Vec<u8>) -> Self {
        let mut key = Self { algorithm, bytes, key_id: String::new() };
        let (x, y) = key.coordinates();
        // RFC 7638 §3: the required members alone, in this order, without white space.
        let members = match algorithm {
            Algorithm::EdDsa => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#),
            Algorithm::Es256 => format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#),
        };
        key.key_id = URL_SAFE_NO_PAD.encode(sha256(&[members.as_bytes()]));
        key
    }

    /// Returns x and y as a JWK writes them; y is empty for Ed25519.
    fn coordinates(&self) -> (String, String) {
        let bytes = match self.algorithm {
            Algorithm::EdDsa => self.bytes.as_slice(),
            Algorithm::Es256 => self.bytes.get(1..).unwrap_or_default(),
        };
        let (x, y) = bytes.split_at_checked(COORDINATE_BYTES).unwrap_or((bytes, &[]));
        (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y))
    }
}

impl Jwk {
    pub(super) fn into_key(self) -> Result<PublicKey, VerifyError> {
        let algorithm = match (self.kty.as_str(), self.crv.as_deref()) {
            ("OKP", Some("Ed25519")) => Algorithm::EdDsa,
            ("EC", Some("P-256")) => Algorithm::Es256,
            _ => return Err(VerifyError::KeyUnsupported),
        };
        if self.d.is_some() {
            return Err(VerifyError::KeyNotPublic);
        }
        if self.purpose.is_some_and(|purpose| purpose != "sig") {
            return Err(VerifyError::KeyUnsupported);
        }
        if self.alg.is_some_and(|alg| alg != algorithm.as_str()) {
            return Err(VerifyError::KeyAlgorithmMismatch);
        }
        let x = coordinate(self.x.as_deref())?;
        let bytes = match algorithm {
            Algorithm::EdDsa => x,
            Algorithm::Es256 => [vec![SEC1_UNCOMPRESSED], x, coordinate(self.y.as_deref())?].concat(),
        };
        let key = PublicKey::from_raw(algorithm, bytes);
        if self.kid.is_some_and(|kid| kid != key.key_id) {
            return Err(VerifyError::KeyIdMismatch);
        }
        Ok(key)
    }
}

fn coordinate(text: Option<&str>) -> Result<Vec<u8>, VerifyError> {
    let bytes = text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).ok_or(VerifyError::KeyMalformed)?;
    if bytes.len() == COORDINATE_BYTES { Ok(bytes) } else { Err(VerifyError::KeyMalformed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the key of RFC 8037 appendix A.2.
    fn rfc8037() -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
    }

    /// Returns the key of RFC 7515 appendix A.3.
    fn rfc7515() -> Value {
        json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
               "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"})
    }

    fn changed(mut jwk: Value, member: &str, value: Value) -> Result<PublicKey, VerifyError> {
        jwk[member] = value;
        PublicKey::from_jwk(&jwk)
    }

    #[test]
    fn the_thumbprint_is_that_of_rfc_8037() {
        let key = PublicKey::from_jwk(&rfc8037()).expect("a key");
        assert_eq!(key.key_id(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert_eq!(key.algorithm(), Algorithm::EdDsa);
    }

    #[test]
    fn the_es256_example_of_rfc_7515_verifies() {
        let key = PublicKey::from_jwk(&rfc7515()).expect("a key");
        let message = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let signature = URL_SAFE_NO_PAD
            .decode("DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q")
            .expect("base64url");
        assert!(key.verify(message.as_bytes(), &signature));
        assert!(!key.verify(b"another message", &signature));
        assert!(!key.verify(message.as_bytes(), &signature[..63]));
    }

    #[test]
    fn jwks_survive_writing_and_reading() {
        for jwk in [rfc8037(), rfc7515()] {
            let key = PublicKey::from_jwk(&jwk).expect("a key");
            let written = key.to_jwk();
            assert_eq!(PublicKey::from_jwk(&written), Ok(key));
            assert_eq!(written["use"], "sig");
            assert_eq!(written["x"], jwk["x"]);
            assert_eq!(written.get("y"), jwk.get("y"));
        }
    }

    #[test]
    fn foreign_and_inconsistent_keys_are_refused() {
        use VerifyError as E;
        let cases = [
            (changed(rfc8037(), "kty", json!("oct")), E::KeyUnsupported),
            (changed(rfc8037(), "kty", json!("EC")), E::KeyUnsupported),
            (changed(rfc8037(), "crv", json!("X25519")), E::KeyUnsupported),
            (changed(rfc7515(), "crv", json!("P-384")), E::KeyUnsupported),
            (changed(rfc8037(), "use", json!("enc")), E::KeyUnsupported),
            (changed(rfc8037(), "d", json!("AAAA")), E::KeyNotPublic),
            (changed(rfc7515(), "d", json!("AAAA")), E::KeyNotPublic),
            (changed(rfc8037(), "alg", json!("ES256")), E::KeyAlgorithmMismatch),
            (changed(rfc7515(), "alg", json!("HS256")), E::KeyAlgorithmMismatch),
            (changed(rfc8037(), "kid", json!("mine")), E::KeyIdMismatch),
            (changed(rfc8037(), "x", json!("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo=")), E::KeyMalformed),
            // The last character carries two bits that no byte holds.
            (changed(rfc8037(), "x", json!("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURp")), E::KeyMalformed),
            (changed(rfc8037(), "x", json!("AAAA")), E::KeyMalformed),
            (changed(rfc8037(), "x", json!(1)), E::KeyMalformed),
            (changed(rfc7515(), "y", Value::Null), E::KeyMalformed),
            (PublicKey::from_jwk(&json!(["OKP"])), E::KeyMalformed),
        ];
        for (index, (result, error)) in cases.into_iter().enumerate() {
            assert_eq!(result, Err(error), "case {index}");
        }
    }

    #[test]
    fn algorithms_are_named_letter_for_letter() {
        for algorithm in [Algorithm::EdDsa, Algorithm::Es256] {
            assert_eq!(Algorithm::parse(algorithm.as_str()), Ok(algorithm));
        }
        for name in ["", "none", "None", "eddsa", "Ed25519", "HS256", "RS256", "ES384"] {
            assert_eq!(Algorithm::parse(name), Err(VerifyError::AlgorithmUnsupported), "{name}");
        }
    }
}
