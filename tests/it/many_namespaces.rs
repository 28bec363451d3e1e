//! Queries for many namespaces at once: a replica that follows the logs of all of them asks for every head.

use std::collections::BTreeMap;
use std::sync::Arc;

use policyhub::domain::digest::{Digest, Hash};
use policyhub::domain::name::NamespaceId;
use policyhub::domain::row_mac::RowMac;
use policyhub::domain::time::Micros;
use policyhub::store::{Clocks, Database};
use tokio::time::Instant;

use crate::harness::on_both_databases;

/// More namespaces than a statement may have values, on either database.
const NAMESPACES: usize = 70_000;

/// Stands in for the MAC key of rows: heads are read without it.
#[derive(Debug)]
struct NoTags;

impl RowMac for NoTags {
    fn mac(&self, _: &[u8]) -> Hash {
        [0; 32]
    }

    fn verify(&self, _: &[u8], _: &[u8]) -> bool {
        false
    }

    fn digest(&self, row: &[u8]) -> Digest {
        policyhub::signing::digest_of(row)
    }
}

on_both_databases! {
    /// Given more namespaces than a statement may have values, the heads of all are read, and those that don't exist are left out.
    async fn heads_of_many_namespaces(hub: Hub) {
        let mut hub = hub;
        hub.kill().await;
        let database = match hub.database_url.strip_prefix("sqlite://") {
            Some(path) => Database::Sqlite { path: path.into() },
            None => Database::Postgres { url: hub.database_url.clone() },
        };
        let clocks = Clocks { wall: || Micros(1), monotonic: Instant::now };
        let store = database.open(false, None, Arc::new(NoTags), clocks).await.expect("a store");
        let named = |id: &str| NamespaceId::parse("namespace", id).expect("an id");
        let mut asked: Vec<NamespaceId> = (0..NAMESPACES).map(|number| named(&format!("n{number}"))).collect();
        asked.push(named("default"));
        let found: BTreeMap<_, _> = store.heads(&asked).await.expect("heads").into_iter().collect();
        assert_eq!(found.keys().collect::<Vec<_>>(), [&named("default")]);
    }
}
