//! Every kind of signed document, given to every verifier (docs/security.md#t18): only the matching pairs are accepted.
//!
//! All of them are signed by the same key, which no server would do: then only `typ` distinguishes the kinds.

use policyhub::auth::LocalIssuer;
use policyhub::signing::{
    KeySet, PrivateKey, TYP_ACTIVATION, TYP_BUNDLE, TYP_CHECKPOINT, TYP_PREVIEW, VerifyError, jws, sha256,
    sign_event_hash,
};
use serde_json::json;

const TYPS: [&str; 4] = [TYP_BUNDLE, TYP_ACTIVATION, TYP_CHECKPOINT, TYP_PREVIEW];
const NOW: i64 = 1_800_000_000;

#[test]
fn only_the_diagonal_passes() {
    let pem = LocalIssuer::generate_pem().expect("a key");
    let key = PrivateKey::from_pem(&pem).expect("the same key");
    let keys = KeySet::from_keys(vec![key.public().clone()]);
    let issuer = LocalIssuer::from_pem(&pem, "policyhub").expect("the same key");
    let verifier = issuer.verifier().expect("a verifier");
    let claims = json!({"iss": "policyhub-local", "sub": "admin", "aud": "policyhub", "exp": NOW + 60}).to_string();

    let mut objects: Vec<(&str, String)> =
        TYPS.iter().map(|typ| (*typ, jws::sign(typ, claims.as_bytes(), &key).expect("signed"))).collect();
    objects.push(("at+jwt", issuer.issue("admin", 60, NOW).expect("a token")));
    for (typ, object) in &objects {
        for wanted in TYPS {
            let passes = jws::verify(object, wanted, &keys).is_ok();
            assert_eq!(passes, *typ == wanted, "{typ} verified as {wanted}");
        }
        let header = format!("Bearer {object}");
        let caller = verifier.verify(Some(&header), NOW);
        assert_eq!(caller.is_ok(), *typ == "at+jwt", "{typ} as an access token: {caller:?}");
    }
    let token = &objects.last().expect("the token").1;
    assert_eq!(
        jws::verify(token, TYP_BUNDLE, &keys).err(),
        Some(VerifyError::TypeMismatch),
        "the key is known: typ refuses"
    );

    // An event signature is a bare signature over a message that is not a token, so neither passes for the other.
    let (message, signature) = token.rsplit_once('.').expect("three parts");
    let sealed = sign_event_hash(&sha256(&[message.as_bytes()]), &key).expect("a seal");
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, sealed);
    assert_ne!(encoded, signature);
    let forged = format!("Bearer {message}.{encoded}");
    verifier.verify(Some(&forged), NOW).expect_err("a seal as the signature of a token");
}
