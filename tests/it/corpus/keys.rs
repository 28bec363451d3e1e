//! What the test's verification trusts: the public keys of the store, by purpose.

use policyhub::client::name::NamespaceId;
use policyhub::client::signing::{KeySet, PublicKey};
use policyhub::client::{Client, pb};

use crate::harness::calls::NAMESPACE;

/// The keys of one store.
#[derive(Debug, Clone)]
pub struct CorpusKeys {
    /// Id of the store.
    pub store: String,
    /// The namespace of the test.
    pub namespace: NamespaceId,
    /// Keys of manifests, statements and checkpoints.
    pub bundles: KeySet,
    /// Keys of event signatures only.
    pub seals: KeySet,
}

impl CorpusKeys {
    /// Requests the keys once; from then on, nothing else is trusted.
    pub async fn of(client: &Client) -> Self {
        let listed = client.list_signing_keys(pb::ListSigningKeysRequest::default()).await.expect("the keys");
        let of_purpose = |purpose: pb::KeyPurpose| {
            let keys = listed.keys.iter().filter(|key| key.purpose() == purpose).map(|key| {
                PublicKey::from_jwk(&serde_json::from_str(&key.jwk).expect("a JWK")).expect("a key that can be used")
            });
            let keys = KeySet::from_keys(keys.collect());
            assert_eq!(keys.keys().len(), 1, "a new store has one key for {purpose:?}");
            keys
        };
        Self {
            namespace: NamespaceId::parse_name("namespace", NAMESPACE).expect("a namespace"),
            bundles: of_purpose(pb::KeyPurpose::Bundle),
            seals: of_purpose(pb::KeyPurpose::Seal),
            store: listed.store,
        }
    }
}
