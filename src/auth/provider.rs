//! The cryptography of `jsonwebtoken`, by ring: EdDSA (Ed25519) and ES256, and RS256 and PS256 for verification only.
//!
//! Every other algorithm is an error, never a panic: the library requests a verifier by the name in the token. A key of one family
//! is refused for the others, and an RSA key below 2048 bits is refused.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result, new_error};
use jsonwebtoken::jwk::{EllipticCurve, ThumbprintHash};
use jsonwebtoken::signature::{Error as SignatureError, Signer, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
    VerificationAlgorithm,
};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: new_signer,
    verifier_factory: new_verifier,
    key_utils: KeyUtils {
        rsa_pub_components_from_private_key: |_| Err(unsupported()),
        rsa_pub_components_from_public_key: |_| Err(unsupported()),
        ec_pub_components_from_private_key: ec_public_components,
        ed_pub_components_from_private_key: ed_public_component,
        compute_digest,
    },
};

/// Makes ring the cryptography of `jsonwebtoken` in this process. Safe to call any number of times; the first call must come before
/// any other use of that library, which otherwise selects a provider that panics.
pub fn install() {
    // Err means that a provider is installed already, and only this module installs any.
    let _ = PROVIDER.install_default();
}

fn unsupported() -> jsonwebtoken::errors::Error {
    new_error(ErrorKind::UnsupportedAlgorithm)
}

/// Reads an Ed25519 key from PKCS#8, v2 as ring writes it or v1 as OpenSSL does (RFC 5958, RFC 8410).
pub(super) fn ed25519_key_pair(pkcs8: &[u8]) -> Result<Ed25519KeyPair> {
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).map_err(|_| new_error(ErrorKind::InvalidEddsaKey))
}

fn ecdsa_key_pair(pkcs8: &[u8]) -> Result<EcdsaKeyPair> {
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &SystemRandom::new())
        .map_err(|_| new_error(ErrorKind::InvalidEcdsaKey))
}

struct EdDsaSigner(Ed25519KeyPair);

impl Signer<Vec<u8>> for EdDsaSigner {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, SignatureError> {
        Ok(self.0.sign(message).as_ref().to_vec())
    }
}

impl JwtSigner for EdDsaSigner {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

struct Es256Signer(EcdsaKeyPair);

impl Signer<Vec<u8>> for Es256Signer {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, SignatureError> {
        let signature = self.0.sign(&SystemRandom::new(), message).map_err(|_| SignatureError::new())?;
        Ok(signature.as_ref().to_vec())
    }
}

impl JwtSigner for Es256Signer {
    fn algorithm(&self) -> Algorithm {
        Algorithm::ES256
    }
}

fn new_signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    match (algorithm, key.family()) {
        (Algorithm::EdDSA, AlgorithmFamily::Ed) => Ok(Box::new(EdDsaSigner(ed25519_key_pair(key.as_bytes())?))),
        (Algorithm::ES256, AlgorithmFamily::Ec) => Ok(Box::new(Es256Signer(ecdsa_key_pair(key.as_bytes())?))),
        _ => Err(unsupported()),
    }
}

struct RingVerifier {
    algorithm: Algorithm,
    scheme: &'static dyn VerificationAlgorithm,
    public_key: Vec<u8>,
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), SignatureError> {
        UnparsedPublicKey::new(self.scheme, &self.public_key)
            .verify(message, signature)
            .map_err(|_| SignatureError::new())
    }
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

struct RsaVerifier {
    algorithm: Algorithm,
    scheme: &'static RsaParameters,
    public_key: RsaPublicKeyComponents<Vec<u8>>,
}

impl Verifier<Vec<u8>> for RsaVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), SignatureError> {
        self.public_key.verify(self.scheme, message, signature).map_err(|_| SignatureError::new())
    }
}

impl JwtVerifier for RsaVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

fn new_verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    let curve = |scheme: &'static dyn VerificationAlgorithm| -> Result<Box<dyn JwtVerifier>> {
        Ok(Box::new(RingVerifier { algorithm: *algorithm, scheme, public_key: key.try_get_as_bytes()?.to_vec() }))
    };
    let rsa = |scheme: &'static RsaParameters| -> Result<Box<dyn JwtVerifier>> {
        let DecodingKeyKind::RsaModulusExponent { n, e } = key.kind() else { return Err(unsupported()) };
        let public_key = RsaPublicKeyComponents { n: n.clone(), e: e.clone() };
        Ok(Box::new(RsaVerifier { algorithm: *algorithm, scheme, public_key }))
    };
    match (algorithm, key.family()) {
        (Algorithm::EdDSA, AlgorithmFamily::Ed) => curve(&ED25519),
        (Algorithm::ES256, AlgorithmFamily::Ec) => curve(&ECDSA_P256_SHA256_FIXED),
        (Algorithm::RS256, AlgorithmFamily::Rsa) => rsa(&RSA_PKCS1_2048_8192_SHA256),
        (Algorithm::PS256, AlgorithmFamily::Rsa) => rsa(&RSA_PSS_2048_8192_SHA256),
        _ => Err(unsupported()),
    }
}

fn ec_public_components(pkcs8: &[u8], algorithm: Algorithm) -> Result<(EllipticCurve, Vec<u8>, Vec<u8>)> {
    if algorithm != Algorithm::ES256 {
        return Err(unsupported());
    }
    let pair = ecdsa_key_pair(pkcs8)?;
    // An uncompressed point: 4, then x and y of 32 bytes each (SEC 1 §2.3.3).
    match pair.public_key().as_ref().split_first() {
        Some((4, point)) if point.len() == 64 => {
            let (x, y) = point.split_at(32);
            Ok((EllipticCurve::P256, x.to_vec(), y.to_vec()))
        }
        _ => Err(new_error(ErrorKind::InvalidEcdsaKey)),
    }
}

fn ed_public_component(pkcs8: &[u8], curve: &EllipticCurve) -> Result<Vec<u8>> {
    if *curve != EllipticCurve::Ed25519 {
        return Err(unsupported());
    }
    Ok(ed25519_key_pair(pkcs8)?.public_key().as_ref().to_vec())
}

fn compute_digest(data: &[u8], hash: ThumbprintHash) -> Result<Vec<u8>> {
    // Thumbprints are SHA-256 by RFC 7638 §3.4; no other hash is used here.
    if hash != ThumbprintHash::SHA256 {
        return Err(unsupported());
    }
    Ok(ring::digest::digest(&ring::digest::SHA256, data).as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::crypto::{sign, verify};
    use jsonwebtoken::jwk::Jwk;

    use super::*;

    const OTHERS: [Algorithm; 10] = [
        Algorithm::HS256,
        Algorithm::HS384,
        Algorithm::HS512,
        Algorithm::ES384,
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::PS512,
    ];

    fn keys() -> [(Algorithm, EncodingKey, DecodingKey); 2] {
        install();
        install();
        let random = SystemRandom::new();
        let ed = Ed25519KeyPair::generate_pkcs8(&random).expect("ed25519 key");
        let ec = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("p-256 key");
        let ed_public = ed25519_key_pair(ed.as_ref()).expect("own key").public_key().as_ref().to_vec();
        let ec_public = ecdsa_key_pair(ec.as_ref()).expect("own key").public_key().as_ref().to_vec();
        [
            (Algorithm::EdDSA, EncodingKey::from_ed_der(ed.as_ref()), DecodingKey::from_ed_der(&ed_public)),
            (Algorithm::ES256, EncodingKey::from_ec_der(ec.as_ref()), DecodingKey::from_ec_der(&ec_public)),
        ]
    }

    #[test]
    fn both_algorithms_sign_and_verify() {
        for (algorithm, private, public) in keys() {
            let signature = sign(b"message", &private, algorithm).expect("signature");
            assert!(verify(&signature, b"message", &public, algorithm).expect("verdict"));
            assert!(!verify(&signature, b"massage", &public, algorithm).expect("verdict"));
        }
    }

    #[test]
    fn every_other_algorithm_is_an_error() {
        for (own, private, public) in keys() {
            let crossed = if own == Algorithm::EdDSA { Algorithm::ES256 } else { Algorithm::EdDSA };
            for algorithm in OTHERS.into_iter().chain([crossed]) {
                assert!(sign(b"m", &private, algorithm).is_err(), "{algorithm:?} must not sign");
                assert!(verify("AAAA", b"m", &public, algorithm).is_err(), "{algorithm:?} must not verify");
            }
        }
    }

    #[test]
    fn a_public_key_used_as_a_secret_is_an_error() {
        let [(_, _, public), _] = keys();
        let secret = public.try_get_as_bytes().expect("bytes").to_vec();
        assert!(verify("AAAA", b"m", &DecodingKey::from_secret(&secret), Algorithm::HS256).is_err());
        assert!(verify("AAAA", b"m", &DecodingKey::from_secret(&secret), Algorithm::EdDSA).is_err());
    }

    #[test]
    fn thumbprints_follow_the_rfc() {
        install();
        // RFC 8037 appendix A.3.
        let jwk: Jwk =
            serde_json::from_str(r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#)
                .expect("key");
        assert_eq!(
            jwk.thumbprint(ThumbprintHash::SHA256).expect("thumbprint"),
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        );
    }
}
