//! Imported versions and the keys of this store: what a revoked key signed here is signed again, including its source.

use policyhub::client::signing::verify_bundle;

use crate::harness::archives::{export, history, parts, send, verified};
use crate::harness::calls::{NAMESPACE, activate, active, get_version, trust};
use crate::harness::keys::{AT_ONCE, revoke, rotate, signing};
use crate::harness::{Hub, on_both_databases};

on_both_databases! {
    async fn imported_versions_are_signed_again(database: Database) {
        let a = Hub::start_with(database, AT_ONCE).await;
        let b = Hub::start_with(database, AT_ONCE).await;
        let (from, to) = (a.client().await, b.client().await);
        history(&from).await;
        send(&to, &parts(&export(&a, "default", "a.jsonl"), NAMESPACE)).await.expect("an import");
        activate(&to, "p", 2).await;
        let before = get_version(&to, "p", 2).await;
        let old = signing(&to).await;
        rotate(&to).await;
        let revoked = revoke(&to, &old, true).await.expect("a revocation");
        assert_eq!((revoked.version_count, revoked.remaining_count), (3, 0), "{revoked:?}");
        let after = get_version(&to, "p", 2).await;
        assert_ne!(after.manifest, before.manifest);
        assert_eq!(after.origin_manifests, before.origin_manifests);
        let keys = trust(&to).await.keys;
        let manifest = verify_bundle(&after.manifest, b"a: 2", &keys).expect("by the new key");
        assert_eq!(manifest.origin.expect("an origin").store, trust(&from).await.store);
        assert_eq!(active(&to, "p").await, 2);
        verified(&to, NAMESPACE).await;
    }
}
