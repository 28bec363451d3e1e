//! The store of a hub that is down, opened by the test itself.

use std::sync::Arc;

use policyhub::domain::digest::{Digest, Hash};
use policyhub::domain::row_mac::RowMac;
use policyhub::domain::time::Micros;
use policyhub::store::{Clocks, Database, Store};
use tokio::time::Instant;

use super::Hub;

/// Stands in for the MAC key of rows: it accepts every row.
#[derive(Debug)]
struct AnyTag;

impl RowMac for AnyTag {
    fn mac(&self, _: &[u8]) -> Hash {
        [0; 32]
    }

    fn verify(&self, _: &[u8], _: &[u8]) -> bool {
        true
    }

    fn digest(&self, row: &[u8]) -> Digest {
        policyhub::signing::digest_of(row)
    }
}

/// Opens the store of a hub that was killed.
pub async fn opened(hub: &Hub) -> Store {
    let database = match hub.database_url.strip_prefix("sqlite://") {
        Some(path) => Database::Sqlite { path: path.into() },
        None => Database::Postgres { url: hub.database_url.clone() },
    };
    let clocks = Clocks { wall: || Micros(1), monotonic: Instant::now };
    database.open(false, None, Arc::new(AnyTag), clocks).await.expect("a store")
}
