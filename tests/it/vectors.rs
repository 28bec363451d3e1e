//! The golden vectors of everything that is signed: `tests/vectors/`.
//!
//! They were made by independent code. What was ever signed must always verify: any change here that is not an addition breaks every
//! published bundle.

use std::fs;
use std::path::Path;

use policyhub::domain::digest::{Digest, Hash, hex};
use policyhub::domain::name::PolicyId;
use policyhub::signing::payload::{Checkpoint, Manifest, Statement};
use policyhub::signing::{
    Algorithm, KeySet, PrivateKey, TYP_ACTIVATION, TYP_BUNDLE, TYP_CHECKPOINT, TYP_PREVIEW, VerifyError,
    active_set_digest, digest_of, event_hash, jws, sign_event_hash, verify_bundle, verify_checkpoint,
    verify_event_signature, verify_statement,
};
use serde_json::Value;

const TYPS: [&str; 4] = [TYP_BUNDLE, TYP_ACTIVATION, TYP_CHECKPOINT, TYP_PREVIEW];

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json(name: &str) -> Value {
    serde_json::from_str(&file(name)).expect("json")
}

fn keys() -> KeySet {
    KeySet::parse_jwks(file("jwks.json").as_bytes()).expect("a key set")
}

fn private_key(name: &str) -> PrivateKey {
    PrivateKey::from_pem(&file(&format!("keys/{name}.pem"))).expect("a key")
}

fn text<'a>(case: &'a Value, member: &str) -> &'a str {
    case[member].as_str().unwrap_or_else(|| panic!("{member} of {case}"))
}

fn tokens(name: &str) -> Vec<Value> {
    json(name)["tokens"].as_array().expect("tokens").clone()
}

fn hash(digits: &str) -> Hash {
    Digest::parse("hash", &format!("sha256:{digits}")).expect("64 digits");
    std::array::from_fn(|index| u8::from_str_radix(&digits[index * 2..index * 2 + 2], 16).expect("two digits"))
}

/// Returns the payload, parsed and serialized again.
fn rewritten(typ: &str, payload: &[u8]) -> Vec<u8> {
    let written = match typ {
        TYP_ACTIVATION => Statement::from_bytes(payload).expect("a statement").to_bytes(),
        TYP_CHECKPOINT => Checkpoint::from_bytes(payload).expect("a checkpoint").to_bytes(),
        _ => Manifest::from_bytes(payload).expect("a manifest").to_bytes(),
    };
    written.expect("bytes")
}

#[test]
fn keys_and_key_set_agree() {
    let keys = keys();
    assert_eq!(keys.keys().len(), 3);
    for (name, algorithm) in
        [("ed25519-v1", Algorithm::EdDsa), ("ed25519-v2", Algorithm::EdDsa), ("p256", Algorithm::Es256)]
    {
        let key = private_key(name);
        assert_eq!(key.public().algorithm(), algorithm);
        assert_eq!(keys.get(key.public().key_id()), Some(key.public()), "{name}");
    }
}

#[test]
fn golden_tokens_verify_for_their_typ_alone() {
    let keys = keys();
    let cases = tokens("accepted.json");
    for typ in TYPS {
        assert!(cases.iter().any(|case| text(case, "typ") == typ), "{typ} has no vector");
    }
    for case in &cases {
        for typ in TYPS {
            let result = jws::verify(text(case, "token"), typ, &keys);
            if typ == text(case, "typ") {
                let verified = result.unwrap_or_else(|error| panic!("{}: {error}", text(case, "name")));
                assert_eq!(verified.payload, text(case, "payload").as_bytes());
                assert_eq!(verified.key_id, text(case, "kid"));
            } else {
                assert_eq!(result, Err(VerifyError::TypeMismatch), "{} as {typ}", text(case, "name"));
            }
        }
    }
}

#[test]
fn golden_tokens_pass_the_checks_of_their_object() {
    let keys = keys();
    let now = json("accepted.json")["now"].as_i64().expect("now");
    for case in tokens("accepted.json") {
        let token = text(&case, "token");
        let result = match text(&case, "typ") {
            TYP_BUNDLE => verify_bundle(token, text(&case, "content").as_bytes(), &keys).map(drop),
            TYP_ACTIVATION => verify_statement(token, &keys).map(drop),
            TYP_CHECKPOINT => verify_checkpoint(token, &keys, now).map(drop),
            _ => continue,
        };
        assert_eq!(result, Ok(()), "{}", text(&case, "name"));
    }
}

#[test]
fn signing_reproduces_the_golden_tokens() {
    let keys = keys();
    let mut same_bytes = 0;
    for case in tokens("accepted.json") {
        let (typ, payload) = (text(&case, "typ"), text(&case, "payload").as_bytes());
        assert_eq!(rewritten(typ, payload), payload, "{}", text(&case, "name"));
        let key = private_key(text(&case, "key"));
        let token = jws::sign(typ, payload, &key).expect("a token");
        let golden = text(&case, "token");
        if key.public().algorithm() == Algorithm::EdDsa {
            assert_eq!(token, golden, "{}", text(&case, "name"));
            same_bytes += 1;
        } else {
            // ES256 is randomized: everything but the signature is equal, and both verify.
            assert_eq!(token.rsplit_once('.').map(|parts| parts.0), golden.rsplit_once('.').map(|parts| parts.0));
            assert!(jws::verify(&token, typ, &keys).is_ok());
        }
    }
    assert_eq!(same_bytes, 22);
}

#[test]
fn a_flipped_bit_is_always_seen() {
    let keys = keys();
    for case in tokens("accepted.json").iter().filter(|case| text(case, "name").starts_with("bundle-")) {
        let token = text(case, "token");
        for bit in 0..token.len() * 8 {
            let mut bytes = token.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            // Bytes that are not text can't be passed to the verifier.
            let Ok(flipped) = String::from_utf8(bytes) else { continue };
            assert!(jws::verify(&flipped, TYP_BUNDLE, &keys).is_err(), "bit {bit} of {}", text(case, "name"));
        }
    }
}

#[test]
fn bad_tokens_are_refused_for_the_named_reason() {
    let keys = keys();
    let cases = tokens("refused.json");
    assert!(cases.len() >= 80, "only {} cases", cases.len());
    for case in &cases {
        let token = text(case, "token");
        let result = match text(case, "verifier") {
            "bundle" => verify_bundle(token, text(case, "content").as_bytes(), &keys).map(drop),
            "statement" => verify_statement(token, &keys).map(drop),
            "checkpoint" => verify_checkpoint(token, &keys, case["now"].as_i64().expect("now")).map(drop),
            other => panic!("unknown verifier {other}"),
        };
        let error = result.map_or_else(|error| format!("{error:?}"), |()| "accepted".to_owned());
        assert_eq!(error, text(case, "error"), "{}", text(case, "name"));
    }
}

#[test]
fn golden_hashes_and_seals_hold() {
    let golden = json("hashes.json");
    let key = private_key(text(&golden, "seal_key"));
    let mut head = Hash::default();
    for event in golden["events"].as_array().expect("events") {
        assert_eq!(hex(&head), text(event, "prev"));
        head = event_hash(&head, text(event, "payload").as_bytes());
        assert_eq!(head, hash(text(event, "hash")));
        let sealed = sign_event_hash(&head, &key).expect("a seal");
        assert_eq!(hex(&sealed), text(event, "seal"));
        assert!(verify_event_signature(&head, &sealed, key.public()));
    }
    assert_ne!(head, Hash::default());
    let sets = golden["active_sets"].as_array().expect("sets");
    assert_eq!(sets.len(), 3);
    for set in sets {
        let rows: Vec<(PolicyId, i64, Digest)> = serde_json::from_value::<Vec<Value>>(set["active"].clone())
            .expect("rows")
            .iter()
            .map(|row| {
                let policy = PolicyId::parse("policy", text(row, "policy")).expect("an id");
                let digest = Digest::parse("digest", text(row, "digest")).expect("a digest");
                (policy, row["version"].as_i64().expect("a version"), digest)
            })
            .collect();
        let digest = active_set_digest(rows.iter().map(|(policy, version, digest)| (policy, *version, digest)));
        assert_eq!(digest.as_str(), text(set, "digest"));
    }
    assert_eq!(text(&sets[0], "digest"), digest_of(b"").as_str());
}
