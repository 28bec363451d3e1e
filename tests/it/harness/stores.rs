//! The store of a hub that is down, opened by the test itself.

use std::sync::Arc;

use policyhub::domain::time::Micros;
use policyhub::signing::{PrivateKey, RowMacKey};
use policyhub::store::{Clocks, Database, Store};
use tokio::time::Instant;

use super::Hub;

/// Returns the key that seals the logs of a hub.
pub fn seal_key(hub: &Hub) -> PrivateKey {
    let pem = std::fs::read_to_string(hub.data_dir().join("keys/seal.pem")).expect("the seal key");
    PrivateKey::from_pem(&pem).expect("a key")
}

/// Opens the store of a hub that was killed.
pub async fn opened(hub: &Hub) -> Store {
    let database = match hub.database_url.strip_prefix("sqlite://") {
        Some(path) => Database::Sqlite { path: path.into() },
        None => Database::Postgres { url: hub.database_url.clone() },
    };
    let tags = RowMacKey::derive(&seal_key(hub)).expect("a key of the rows");
    let clocks = Clocks { wall: || Micros(1), monotonic: Instant::now };
    database.open(false, None, Arc::new(tags), clocks).await.expect("a store")
}
