//! `KeySet::parse_jwks`: an accepted set is bounded, holds only public keys, each under its own thumbprint, and survives serialization.

use policyhub::signing::{JWKS_MAX_KEYS, KeySet, PublicKey};

use serde_json::Value;

use super::keys::{KEYS, P256, SIGNER};

pub fn check(input: &[u8]) {
    let Ok(set) = KeySet::parse_jwks(input) else { return };
    assert!(set.keys().len() <= JWKS_MAX_KEYS);
    let other: Value = serde_json::from_slice(input).expect("JSON");
    for key in other["keys"].as_array().expect("a list") {
        assert!(key.get("d").is_none(), "a private key was taken");
        assert!(key.get("kid").and_then(Value::as_str).is_none_or(|id| set.get(id).is_some()), "a key chose its id");
    }
    let written = set.to_jwks();
    assert_eq!(KeySet::parse_jwks(written.to_string().as_bytes()).as_ref(), Ok(&set));
    for key in set.keys() {
        assert_eq!(set.get(key.key_id()), Some(key));
        let mut jwk = key.to_jwk();
        assert!(jwk.get("d").is_none() && jwk.get("k").is_none(), "a secret");
        // Without its id, the key gets the same id: it is computed, not chosen.
        jwk.as_object_mut().expect("an object").remove("kid");
        assert_eq!(PublicKey::from_jwk(&jwk).as_ref(), Ok(key));
        assert!(!key.verify(b"", &[0; 64]), "a signature of nothing");
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let one = |key: &PublicKey| KeySet::from_keys(vec![key.clone()]).to_jwks().to_string().into_bytes();
    vec![
        br#"{"keys":[]}"#.to_vec(),
        b"{\"keys\":[],\"x\":\"\xc1\"}".to_vec(),
        one(SIGNER.public()),
        one(P256.public()),
        KEYS.to_jwks().to_string().into_bytes(),
        br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#.to_vec(),
        br#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#.to_vec(),
        br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"AAAA"}]}"#
            .to_vec(),
        br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"mine"}]}"#
            .to_vec(),
    ]
}
