//! Payloads of manifests, statements and checkpoints: an accepted one serializes to the same bytes, and another JSON parser reads the same.

use policyhub::signing::payload::{Checkpoint, Manifest, Statement};
use policyhub::signing::{TYP_ACTIVATION, jws, verify_statement};
use serde_json::Value;

use super::keys::{KEYS, SIGNER};
use super::texts;

pub fn check(input: &[u8]) {
    if let Ok(read) = Statement::from_bytes(input) {
        let written = read.to_bytes().expect("written");
        assert_eq!(Statement::from_bytes(&written).as_ref(), Ok(&read));
        let other = other_reader(input);
        assert_eq!(other["revision"], Value::from(read.revision));
        assert_eq!(other["epoch"], Value::from(read.epoch));
        assert_eq!(other["namespace"], Value::from(read.namespace.as_str()));
        assert_eq!(other["changes"].as_array().map(Vec::len), Some(read.changes.len()));
        for (change, seen) in read.changes.iter().zip(other["changes"].as_array().expect("a list")) {
            assert_eq!(seen["policy"], Value::from(change.policy.as_str()));
            assert_eq!(seen["version"], Value::from(change.version));
            assert_eq!(change.version == 0, change.digest.is_none(), "a version without its digest");
            assert!(change.version >= 0 && change.previous >= 0);
        }
        assert!(read.revision >= 1 && read.epoch >= 0);
        if let Ok(token) = jws::sign(TYP_ACTIVATION, input, &SIGNER) {
            assert_eq!(verify_statement(&token, &KEYS), Ok(read));
        }
    }
    if let Ok(read) = Manifest::from_bytes(input) {
        assert_eq!(Manifest::from_bytes(&read.to_bytes().expect("written")).as_ref(), Ok(&read));
        let other = other_reader(input);
        assert_eq!((&other["version"], &other["size"]), (&Value::from(read.version), &Value::from(read.size)));
        assert_eq!(other["digest"], Value::from(read.digest.as_str()));
    }
    if let Ok(read) = Checkpoint::from_bytes(input) {
        assert_eq!(Checkpoint::from_bytes(&read.to_bytes().expect("written")).as_ref(), Ok(&read));
        let other = other_reader(input);
        assert_eq!((&other["revision"], &other["exp"]), (&Value::from(read.revision), &Value::from(read.exp)));
    }
}

fn other_reader(input: &[u8]) -> Value {
    let value: Value = serde_json::from_slice(input).expect("JSON");
    assert!(value.is_object(), "not an object");
    value
}

pub fn seeds() -> Vec<Vec<u8>> {
    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let hash = &DIGEST[7..];
    let statement = |changes: &str| {
        format!(
            r#"{{"store":"s","namespace":"default","epoch":1,"revision":2,"kind":"ACTIVATE","changes":[{changes}],"actor":"a","reason_digest":"{DIGEST}","prev":"{hash}","iat":3}}"#
        )
    };
    let change = format!(r#"{{"policy":"p","version":2,"digest":"{DIGEST}","previous":1}}"#);
    let gone = r#"{"policy":"q","version":0,"previous":1}"#;
    texts(&[
        &statement(""),
        &statement(&change),
        &statement(&format!("{change},{gone}")),
        &format!(
            r#"{{"store":"s","namespace":"default","policy":"p","version":1,"label":"1.0.0","digest":"{DIGEST}","size":0,"content_type":"application/json","author":"a","publisher":"b","iat":1}}"#
        ),
        &format!(
            r#"{{"store":"s","namespace":"default","epoch":1,"revision":0,"head_hash":"{hash}","active_set_digest":"{DIGEST}","iat":1,"exp":901}}"#
        ),
    ])
}
