//! Which keys of a server may be trusted: never keys of seals, never those it revoked.
//!
//! Pure. Who takes keys from the server that signs with them trusts that server; who wants more keeps a file of keys.

use tonic::Code;

use super::error::ClientError;
use policyhub_core::api::pb;
use policyhub_core::signing::{KeySet, PublicKey};

/// Returns the keys that bundles, statements and checkpoints may be verified with. Revoked ones are refused by that name.
///
/// # Errors
/// INTERNAL for a key that can't be read, naming it.
pub fn trusted_keys(response: &pb::ListSigningKeysResponse) -> Result<KeySet, ClientError> {
    let (mut keys, mut revoked) = (Vec::new(), Vec::new());
    for key in response.keys.iter().filter(|key| key.purpose() == pb::KeyPurpose::Bundle) {
        match key.state() {
            pb::KeyState::Prepared | pb::KeyState::Active | pb::KeyState::Retired => keys.push(public(key)?),
            pb::KeyState::Revoked => revoked.push(key_id(&key.name).to_owned()),
            pb::KeyState::Unspecified => {}
        }
    }
    Ok(KeySet::from_keys(keys).without(revoked))
}

/// Returns the keys that seals of events may be verified with.
///
/// # Errors
/// Those of `trusted_keys`.
pub fn seal_keys(response: &pb::ListSigningKeysResponse) -> Result<KeySet, ClientError> {
    of_purpose(response, pb::KeyPurpose::Seal)
}

/// Returns the keys that the statements and manifests of a log may be verified with: also those that were revoked since, for the
/// seals prove what they signed before.
///
/// # Errors
/// Those of `trusted_keys`.
pub fn log_keys(response: &pb::ListSigningKeysResponse) -> Result<KeySet, ClientError> {
    of_purpose(response, pb::KeyPurpose::Bundle)
}

/// Returns every key of a purpose, whatever its state.
fn of_purpose(response: &pb::ListSigningKeysResponse, purpose: pb::KeyPurpose) -> Result<KeySet, ClientError> {
    let keys = response.keys.iter().filter(|key| key.purpose() == purpose);
    Ok(KeySet::from_keys(keys.map(public).collect::<Result<Vec<_>, _>>()?))
}

/// Returns the id of a key by its name: the last part.
#[must_use]
pub fn key_id(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn public(key: &pb::SigningKey) -> Result<PublicKey, ClientError> {
    let unusable =
        |what: String| ClientError::local(Code::Internal, format!("key {} can't be used: {what}", key_id(&key.name)));
    let jwk = serde_json::from_str(&key.jwk).map_err(|_| unusable("it is not JSON".to_owned()))?;
    PublicKey::from_jwk(&jwk).map_err(|error| unusable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use policyhub_core::signing::{Algorithm, PrivateKey};

    fn key(purpose: pb::KeyPurpose, state: pb::KeyState) -> pb::SigningKey {
        let pem = PrivateKey::generate_pem(Algorithm::EdDsa).expect("a key");
        let public = PrivateKey::from_pem(&pem).expect("the same key").public().clone();
        pb::SigningKey {
            name: format!("signingKeys/{}", public.key_id()),
            algorithm: "EdDSA".to_owned(),
            purpose: purpose.into(),
            state: state.into(),
            jwk: public.to_jwk().to_string(),
            ..pb::SigningKey::default()
        }
    }

    #[test]
    fn only_bundle_keys_that_are_not_revoked_are_trusted() {
        use pb::{KeyPurpose, KeyState};
        let keys = vec![
            key(KeyPurpose::Bundle, KeyState::Active),
            key(KeyPurpose::Bundle, KeyState::Retired),
            key(KeyPurpose::Bundle, KeyState::Prepared),
            key(KeyPurpose::Bundle, KeyState::Revoked),
            key(KeyPurpose::Bundle, KeyState::Unspecified),
            key(KeyPurpose::Seal, KeyState::Active),
        ];
        let ids: Vec<String> = keys.iter().map(|key| key_id(&key.name).to_owned()).collect();
        let set = trusted_keys(&pb::ListSigningKeysResponse { keys, ..Default::default() }).expect("keys");
        let known: Vec<bool> = ids.iter().map(|id| set.get(id).is_some()).collect();
        assert_eq!(known, [true, true, true, false, false, false]);
        let revoked: Vec<bool> = ids.iter().map(|id| set.is_revoked(id)).collect();
        assert_eq!(revoked, [false, false, false, true, false, false]);
    }

    #[test]
    fn a_key_that_can_not_be_read_is_named() {
        let mut bad = key(pb::KeyPurpose::Bundle, pb::KeyState::Active);
        bad.jwk = "{}".to_owned();
        let name = key_id(&bad.name).to_owned();
        let error = trusted_keys(&pb::ListSigningKeysResponse { keys: vec![bad], ..Default::default() }).unwrap_err();
        assert!(error.to_string().contains(&name));
    }
}
