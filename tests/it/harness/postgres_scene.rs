//! A server on its own PostgreSQL, connected as a role that is not a superuser.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use policyhub::client::{Client, ClientError};
use tonic::Code;

use super::Hub;
use super::calls::{draft_request, release};
use super::http::get;
use super::postgres::Cluster;
use super::watching::{DEADLINE, LIVELY};

/// A write that the database can't take and that takes longer counts as hanging (docs/guarantees.md#g17): see
/// `outages::WRITE_FAILS_WITHIN`.
pub const REFUSED_WITHIN: Duration = super::outages::WRITE_FAILS_WITHIN;
/// The database role of the server.
pub const ROLE: &str = "hub";

/// The server, its database, and a client.
pub struct PostgresScene {
    pub cluster: Cluster,
    pub data: PathBuf,
    /// The name of the database.
    pub name: String,
    pub hub: Hub,
    pub client: Client,
}

impl PostgresScene {
    /// Starts a server on a new cluster with these settings.
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        let cluster = Cluster::start(settings);
        let data = cluster.data();
        let url = cluster.create_database();
        let name = url.rsplit('/').next().expect("a name").to_owned();
        cluster.psql("postgres", &format!("CREATE ROLE {ROLE} LOGIN; ALTER DATABASE {name} OWNER TO {ROLE}"));
        let url = url.replace("//postgres@", &format!("//{ROLE}@"));
        let hub = Hub::start_on(Arc::new(tempfile::tempdir().expect("a temporary directory")), url, LIVELY).await;
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        Self { cluster, data, name, hub, client }
    }

    /// Runs SQL on the server's database as the superuser.
    pub fn sql(&self, sql: &str) -> String {
        self.cluster.psql(&self.name, sql)
    }

    /// Changes the configuration of the cluster by `ALTER SYSTEM` and waits until it is in effect.
    pub fn configure(&self, setting: &str, value: &str) {
        self.sql(&format!("ALTER SYSTEM SET {setting} = {value}"));
        self.sql("SELECT pg_reload_conf()");
        while self.sql(&format!("SHOW {setting}")) != value {}
    }

    /// Ends every connection of the server's role and waits until they are closed.
    pub fn end_connections(&self) {
        let end = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename =";
        self.cluster.psql("postgres", &format!("{end} '{ROLE}'"));
    }

    /// Writes once without retries. Fails the test when the answer takes longer than `REFUSED_WITHIN`.
    pub async fn write(&self) -> Result<i64, ClientError> {
        let began = Instant::now();
        let answer = self.client.draft(draft_request("q", "a: 2")).await;
        let took = began.elapsed();
        assert!(took < REFUSED_WITHIN, "{took:?}: {answer:?}");
        if let Err(error) = &answer {
            assert_eq!(error.code(), Code::Unavailable, "{error:?}");
        }
        answer.map(|answer| answer.version.expect("a version").version)
    }

    /// Writes until the write is refused with this reason.
    pub async fn until_refused(&self, reason: &str) -> ClientError {
        let began = Instant::now();
        loop {
            let answer = self.write().await;
            match answer {
                Err(error) if error.reason() == reason => return error,
                answer => assert!(began.elapsed() < DEADLINE, "never refused with {reason}: {answer:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Writes until a write succeeds and returns the version.
    pub async fn until_written(&self) -> i64 {
        let began = Instant::now();
        loop {
            match self.write().await {
                Ok(version) => return version,
                Err(error) => assert!(began.elapsed() < DEADLINE, "never written: {error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until `/readyz` answers this text.
    pub async fn until_readyz(&self, says: &str) {
        let began = Instant::now();
        loop {
            let (_, _, body) = get(&self.hub.http, "/readyz").expect("an answer");
            if body.contains(says) {
                return;
            }
            assert!(began.elapsed() < DEADLINE, "/readyz never says {says:?}, but {body:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
