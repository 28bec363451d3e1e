//! The checks a verifier makes, in order: bounds, signature, `typ`, then what was signed, then what it covers.
//!
//! `now` is a parameter. What needs a memory, such as a revision that must not go back, is the caller's to check.

use super::error::VerifyError;
use super::hash::digest_of;
use super::jws::{self, TYP_ACTIVATION, TYP_BUNDLE, TYP_CHECKPOINT};
use super::key_set::KeySet;
use super::payload::{Checkpoint, Manifest, Statement};
use crate::domain::limits::{CHECKPOINT_TTL_SECONDS, CONTENT_MAX_BYTES};

/// Sets how far in the future a checkpoint may have been made. Lower: hosts with bad clocks alarm. Higher: a checkpoint made
/// ahead of its time hides a frozen stream for longer.
pub const CHECKPOINT_MAX_SKEW_SECONDS: i64 = 60;

/// Verifies a published bundle: the manifest, and that `content` is exactly what it covers.
pub fn verify_bundle(manifest_jws: &str, content: &[u8], keys: &KeySet) -> Result<Manifest, VerifyError> {
    if content.len() > CONTENT_MAX_BYTES {
        return Err(VerifyError::ContentTooLarge);
    }
    let verified = jws::verify(manifest_jws, TYP_BUNDLE, keys)?;
    let manifest = Manifest::from_bytes(&verified.payload)?;
    if u64::try_from(content.len()) != Ok(manifest.size) {
        return Err(VerifyError::SizeMismatch);
    }
    if digest_of(content) != manifest.digest {
        return Err(VerifyError::DigestMismatch);
    }
    Ok(manifest)
}

/// Verifies the statement of an activation.
pub fn verify_statement(statement_jws: &str, keys: &KeySet) -> Result<Statement, VerifyError> {
    let verified = jws::verify(statement_jws, TYP_ACTIVATION, keys)?;
    Statement::from_bytes(&verified.payload)
}

/// Verifies a checkpoint at `now_seconds` since the Unix epoch. At `exp` itself it is stale (RFC 7519 §4.1.4).
pub fn verify_checkpoint(checkpoint_jws: &str, keys: &KeySet, now_seconds: i64) -> Result<Checkpoint, VerifyError> {
    let checkpoint = read_checkpoint(checkpoint_jws, keys)?;
    check_time(&checkpoint, now_seconds)?;
    Ok(checkpoint)
}

/// Verifies a checkpoint but for its time: it was true once, or will be.
pub fn read_checkpoint(checkpoint_jws: &str, keys: &KeySet) -> Result<Checkpoint, VerifyError> {
    let verified = jws::verify(checkpoint_jws, TYP_CHECKPOINT, keys)?;
    let checkpoint = Checkpoint::from_bytes(&verified.payload)?;
    let lifetime_seconds = checkpoint.exp.checked_sub(checkpoint.iat).ok_or(VerifyError::LifetimeInvalid)?;
    if !(1..=CHECKPOINT_TTL_SECONDS).contains(&lifetime_seconds) {
        return Err(VerifyError::LifetimeInvalid);
    }
    Ok(checkpoint)
}

/// Checks the time of a checkpoint that [`read_checkpoint`] verified.
pub fn check_time(checkpoint: &Checkpoint, now_seconds: i64) -> Result<(), VerifyError> {
    if checkpoint.iat > now_seconds.saturating_add(CHECKPOINT_MAX_SKEW_SECONDS) {
        return Err(VerifyError::FromFuture);
    }
    if now_seconds >= checkpoint.exp {
        return Err(VerifyError::Stale);
    }
    Ok(())
}

#[cfg(test)]
#[cfg(feature = "server")]
mod tests {
    use super::*;
    use crate::domain::digest::ActiveSetRoot;
    use crate::domain::name::{NamespaceId, PolicyId};
    use crate::signing::{Algorithm, PrivateKey};

    fn key() -> (PrivateKey, KeySet) {
        let pem = PrivateKey::generate_pem(Algorithm::EdDsa).expect("a key");
        let key = PrivateKey::from_pem(&pem).expect("the same key");
        let keys = KeySet::from_keys(vec![key.public().clone()]);
        (key, keys)
    }

    fn namespace() -> NamespaceId {
        NamespaceId::parse("namespace", "default").expect("an id")
    }

    fn bundle(content: &[u8], key: &PrivateKey) -> String {
        let manifest = Manifest {
            store: "s".to_owned(),
            namespace: namespace(),
            policy: PolicyId::parse("policy", "p").expect("an id"),
            version: 1,
            label: None,
            digest: digest_of(content),
            size: content.len() as u64,
            content_type: "application/json".to_owned(),
            author: "a".to_owned(),
            publisher: "b".to_owned(),
            annotations: Default::default(),
            requires: Vec::new(),
            adopted: None,
            template: None,
            iat: 1,
            origin: None,
        };
        jws::sign(TYP_BUNDLE, &manifest.to_bytes().expect("bytes"), key).expect("a token")
    }

    #[test]
    fn a_bundle_is_its_exact_bytes() {
        let (key, keys) = key();
        let token = bundle(b"{\"a\":1}", &key);
        assert_eq!(verify_bundle(&token, b"{\"a\":1}", &keys).map(|manifest| manifest.version), Ok(1));
        assert_eq!(verify_bundle(&token, b"{\"a\":2}", &keys), Err(VerifyError::DigestMismatch));
        assert_eq!(verify_bundle(&token, b"{\"a\": 1}", &keys), Err(VerifyError::SizeMismatch));
        assert_eq!(verify_bundle("", &vec![0; CONTENT_MAX_BYTES + 1], &keys), Err(VerifyError::ContentTooLarge));
        let largest = vec![0; CONTENT_MAX_BYTES];
        assert!(verify_bundle(&bundle(&largest, &key), &largest, &keys).is_ok());
    }

    #[test]
    fn a_checkpoint_proves_something_only_for_its_time() {
        let (key, keys) = key();
        let at = |iat: i64, exp: i64, now: i64| {
            let checkpoint = Checkpoint {
                store: "s".to_owned(),
                namespace: namespace(),
                epoch: 1,
                revision: 0,
                head_hash: [0; 32],
                active_set_root: ActiveSetRoot::default(),
                iat,
                exp,
            };
            let token = jws::sign(TYP_CHECKPOINT, &checkpoint.to_bytes().expect("bytes"), &key).expect("a token");
            verify_checkpoint(&token, &keys, now).map(|checkpoint| checkpoint.iat)
        };
        let exp = 1_000 + CHECKPOINT_TTL_SECONDS;
        assert_eq!(at(1_000, exp, 1_000), Ok(1_000));
        assert_eq!(at(1_000, exp, exp - 1), Ok(1_000));
        assert_eq!(at(1_000, exp, exp), Err(VerifyError::Stale));
        assert_eq!(at(1_000, exp, 1_000 - CHECKPOINT_MAX_SKEW_SECONDS), Ok(1_000));
        assert_eq!(at(1_000, exp, 999 - CHECKPOINT_MAX_SKEW_SECONDS), Err(VerifyError::FromFuture));
        assert_eq!(at(1_000, exp + 1, 1_000), Err(VerifyError::LifetimeInvalid));
        assert_eq!(at(1_000, 1_000, 1_000), Err(VerifyError::LifetimeInvalid));
        assert_eq!(at(i64::MIN, i64::MAX, 0), Err(VerifyError::LifetimeInvalid));
        assert_eq!(at(1_000, exp, i64::MAX), Err(VerifyError::Stale));
    }
}
