//! Reads the public keys of an issuer from a JWK set (RFC 7517 §5).
//!
//! A key has one algorithm (RFC 8725 §3.1) and is found by its `kid` among the keys of its issuer alone. Keys for other uses are
//! skipped; a set that contains a secret, is too large or has one `kid` twice is refused as a whole.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::provider;
use super::rules::TokenAlgorithm;
use super::thumbprint::thumbprint;
use crate::domain::{Error, Result};

/// Largest key set.
pub const JWKS_MAX_BYTES: usize = 64 * 1024;
/// Most keys of a set.
pub const JWKS_MAX_KEYS: usize = 20;
/// Longest `kid`.
pub const KID_MAX_CHARS: usize = 256;
/// Sizes of an RSA modulus: 2048 to 8192 bits.
const RSA_MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;
/// A coordinate of P-256, and a key of Ed25519.
const CURVE_BYTES: usize = 32;

/// A public key.
#[derive(Debug, Clone)]
pub(super) struct IssuerKey {
    pub(super) algorithm: TokenAlgorithm,
    pub(super) public: DecodingKey,
    /// The thumbprint (RFC 7638).
    pub(super) thumbprint: String,
}

/// The keys of one issuer, by `kid`.
#[derive(Debug, Clone, Default)]
pub struct IssuerKeys(BTreeMap<String, IssuerKey>);

#[derive(Deserialize)]
struct JwksDocument {
    keys: Vec<JwkMember>,
}

/// The members that are used; any other is ignored (RFC 7517 §4), and a duplicate is an error.
#[derive(Deserialize)]
struct JwkMember {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    // Private members: their presence is refused.
    d: Option<IgnoredAny>,
    p: Option<IgnoredAny>,
    q: Option<IgnoredAny>,
    dp: Option<IgnoredAny>,
    dq: Option<IgnoredAny>,
    qi: Option<IgnoredAny>,
    oth: Option<IgnoredAny>,
    k: Option<IgnoredAny>,
}

impl IssuerKeys {
    /// Parses a key set. `algorithms` are those that its keys may have.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a set that can't be trusted or has no usable key. The message contains nothing of the set.
    pub fn parse(jwks: &[u8], algorithms: &[TokenAlgorithm]) -> Result<Self> {
        provider::install();
        let refused = |rule: &str| Error::invalid("jwks", rule);
        if jwks.len() > JWKS_MAX_BYTES {
            return Err(refused("is over 64 KiB"));
        }
        let set: JwksDocument = serde_json::from_slice(jwks)
            .map_err(|error| refused(&format!("is no JWK set (line {}, column {})", error.line(), error.column())))?;
        if set.keys.len() > JWKS_MAX_KEYS {
            return Err(refused("has more than 20 keys"));
        }
        if set.keys.iter().any(JwkMember::is_secret) {
            return Err(refused("shows a secret: a symmetric key, or the private half of one"));
        }
        let mut keys = BTreeMap::new();
        for jwk in set.keys {
            let Some((kid, key)) = jwk.usable(algorithms)? else { continue };
            if keys.insert(kid, key).is_some() {
                return Err(refused("has two keys of one kid"));
            }
        }
        if keys.is_empty() {
            return Err(refused("has no key that may sign tokens here"));
        }
        Ok(Self(keys))
    }

    /// Returns the only key of an issuer without a JWK set, under its thumbprint.
    pub(super) fn of_one(algorithm: TokenAlgorithm, public: DecodingKey) -> Result<Self> {
        let thumbprint = thumbprint(&public, algorithm.library())?;
        Ok(Self([(thumbprint.clone(), IssuerKey { algorithm, public, thumbprint })].into()))
    }

    pub(super) fn get(&self, kid: &str) -> Option<&IssuerKey> {
        self.0.get(kid)
    }

    pub(super) fn has_thumbprint(&self, thumbprint: &str) -> bool {
        self.0.values().any(|key| key.thumbprint == thumbprint)
    }

    /// Returns the number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there is no key, as before the first answer of an identity provider.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl JwkMember {
    fn is_secret(&self) -> bool {
        let private = [&self.d, &self.p, &self.q, &self.dp, &self.dq, &self.qi, &self.oth, &self.k];
        self.kty == "oct" || private.iter().any(|member| member.is_some())
    }

    /// Returns the key, when it may verify tokens with one of these algorithms.
    fn usable(&self, algorithms: &[TokenAlgorithm]) -> Result<Option<(String, IssuerKey)>> {
        let signs = self.usage.as_deref().is_none_or(|usage| usage == "sig")
            && self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        let Some(kid) = self.kid.as_ref().filter(|kid| signs && (1..=KID_MAX_CHARS).contains(&kid.len())) else {
            return Ok(None);
        };
        let fits = |algorithm: &TokenAlgorithm| match algorithm {
            TokenAlgorithm::EdDSA => (self.kty.as_str(), self.crv.as_deref()) == ("OKP", Some("Ed25519")),
            TokenAlgorithm::ES256 => (self.kty.as_str(), self.crv.as_deref()) == ("EC", Some("P-256")),
            TokenAlgorithm::RS256 | TokenAlgorithm::PS256 => self.kty == "RSA",
        };
        // Without an `alg`, the first matching algorithm of the list: each key has one, whatever tokens say.
        let named = |algorithm: &&TokenAlgorithm| self.alg.as_deref().is_none_or(|alg| alg == algorithm.as_str());
        let Some(algorithm) = algorithms.iter().filter(named).find(|algorithm| fits(algorithm)) else {
            return Ok(None);
        };
        let Some(public) = self.public(*algorithm) else { return Ok(None) };
        let thumbprint = thumbprint(&public, algorithm.library())?;
        Ok(Some((kid.clone(), IssuerKey { algorithm: *algorithm, public, thumbprint })))
    }

    fn public(&self, algorithm: TokenAlgorithm) -> Option<DecodingKey> {
        let decoded = |member: &Option<String>| URL_SAFE_NO_PAD.decode(member.as_ref()?).ok();
        let point = |member| decoded(member).filter(|bytes| bytes.len() == CURVE_BYTES);
        match algorithm {
            TokenAlgorithm::EdDSA => Some(DecodingKey::from_ed_der(&point(&self.x)?)),
            TokenAlgorithm::ES256 => {
                // The uncompressed form of SEC 1 §2.3.3.
                let (x, y) = (point(&self.x)?, point(&self.y)?);
                Some(DecodingKey::from_ec_der(&[[4].as_slice(), &x, &y].concat()))
            }
            TokenAlgorithm::RS256 | TokenAlgorithm::PS256 => {
                let (n, e) = (decoded(&self.n)?, decoded(&self.e)?);
                let odd = |number: &[u8]| number.last().is_some_and(|byte| byte % 2 == 1);
                let strong = RSA_MODULUS_BYTES.contains(&n.len()) && n.first() >= Some(&0x80) && odd(&n);
                // 65537 or more: with a small exponent, signatures with bad padding can be forged.
                let exponent = (3..=8).contains(&e.len()) && e.first() > Some(&0) && odd(&e);
                (strong && exponent).then(|| DecodingKey::from_rsa_raw_components(&n, &e))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED: &str = r#""kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;

    fn parse(keys: &str) -> Result<IssuerKeys> {
        IssuerKeys::parse(format!(r#"{{"keys":[{keys}]}}"#).as_bytes(), &TokenAlgorithm::ALL)
    }

    fn rsa(bytes: usize, e: &str) -> String {
        let n = URL_SAFE_NO_PAD.encode(vec![0xff; bytes]);
        format!(r#"{{"kty":"RSA","kid":"r","n":"{n}","e":"{e}"}}"#)
    }

    #[test]
    fn keys_that_may_sign_are_taken_by_their_kid() {
        let set =
            parse(&format!(r#"{{{ED},"kid":"a","use":"sig","alg":"EdDSA"}},{{{ED},"kid":"b"}},{}"#, rsa(256, "AQAB")));
        let set = set.expect("a set");
        assert_eq!((set.len(), set.get("a").is_some(), set.get("b").is_some()), (3, true, true));
        assert_eq!(set.get("r").map(|key| key.algorithm), Some(TokenAlgorithm::RS256), "one algorithm for each key");
        assert!(set.has_thumbprint("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"), "RFC 8037 appendix A.3");
    }

    #[test]
    fn keys_for_other_uses_are_passed_over() {
        let good = format!(r#"{{{ED},"kid":"good"}}"#);
        for other in [
            format!(r#"{{{ED},"kid":"x","use":"enc"}}"#),
            format!(r#"{{{ED},"kid":"x","key_ops":["encrypt"]}}"#),
            format!(r#"{{{ED},"kid":"x","alg":"ES256"}}"#),
            format!(r#"{{{ED},"kid":"x","alg":"none"}}"#),
            format!(r#"{{{ED}}}"#),
            format!(r#"{{{ED},"kid":""}}"#),
            format!(r#"{{{ED},"kid":"{}"}}"#, "k".repeat(KID_MAX_CHARS + 1)),
            r#"{"kty":"OKP","crv":"Ed448","x":"AAAA","kid":"x"}"#.to_owned(),
            r#"{"kty":"OKP","crv":"Ed25519","x":"AAAA","kid":"x"}"#.to_owned(),
            r#"{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA","kid":"x"}"#.to_owned(),
            r#"{"kty":"PQC","kid":"x"}"#.to_owned(),
            rsa(128, "AQAB"),
            rsa(255, "AQAB"),
            rsa(1025, "AQAB"),
            rsa(256, "Aw"),
            rsa(256, "AQAA"),
        ] {
            assert_eq!(parse(&format!("{good},{other}")).expect("a set").len(), 1, "{other}");
            parse(&other).expect_err("a set of nothing to use");
        }
    }

    #[test]
    fn sets_that_can_not_be_trusted_are_refused_whole() {
        let good = format!(r#"{{{ED},"kid":"good"}}"#);
        let many =
            (0..=JWKS_MAX_KEYS).map(|number| format!(r#"{{{ED},"kid":"{number}"}}"#)).collect::<Vec<_>>().join(",");
        let long = format!(r#"{good},{{"kty":"x","pad":"{}"}}"#, "p".repeat(JWKS_MAX_BYTES));
        for (case, keys) in [
            ("oct", format!(r#"{good},{{"kty":"oct","k":"c2VjcmV0","kid":"o"}}"#)),
            ("oct without its bytes", format!(r#"{good},{{"kty":"oct","kid":"o"}}"#)),
            ("private half", format!(r#"{good},{{{ED},"kid":"d","d":"AAAA"}}"#)),
            ("private half of RSA", format!(r#"{good},{{"kty":"RSA","kid":"d","n":"AAAA","e":"AQAB","p":"AAAA"}}"#)),
            ("one kid twice", format!("{good},{good}")),
            ("a member twice", format!(r#"{{{ED},{ED},"kid":"x"}}"#)),
            ("over 20 keys", many),
            ("over 64 KiB", long),
            ("no key", String::new()),
        ] {
            parse(&keys).expect_err(case);
        }
        for text in ["", "[]", "{}", "{\"keys\":{}}", "<html>", "{\"keys\":[]} x"] {
            IssuerKeys::parse(text.as_bytes(), &TokenAlgorithm::ALL).expect_err(text);
        }
        let only = IssuerKeys::parse(format!(r#"{{"keys":[{good}]}}"#).as_bytes(), &[TokenAlgorithm::ES256]);
        only.expect_err("an algorithm that is not of the list");
    }
}
