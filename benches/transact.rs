//! Bare transactions: the rows of an activation, written without a policy hub around them.
//!
//! Runs on a database that the server created, with the server's own commit settings; the events that it wrote are the template. Locks the
//! namespace, inserts the event, moves the pointer, adds to its history, moves the head, commits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, QueryResult, SqliteTransactionMode,
    Statement, TransactionOptions, TransactionTrait as _, Value,
};
use tokio::task::JoinSet;

use super::plan::LatencySample;
use super::process::cpu;

/// As in `src/store/connection/open.rs`.
const POSTGRES_CONNECTIONS_MAX: u32 = 16;
const WARM_UP: Duration = Duration::from_millis(300);

/// What the last activation of a namespace wrote.
struct Template {
    namespace: String,
    epoch: i64,
    policy: String,
    time: i64,
    payload: Vec<u8>,
    prev_hash: Vec<u8>,
    hash: Vec<u8>,
    seal: Vec<u8>,
    seal_key_id: String,
    statement: String,
}

/// Keeps one transaction per client running for a time, client i in namespace i modulo the number of namespaces.
pub fn run(url: &str, namespaces: &[String], clients: usize, seconds: f64) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let database = Arc::new(connect(url).await?);
        let mut templates = Vec::new();
        for namespace in namespaces {
            templates.push(Arc::new(template(&database, namespace).await?));
        }
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut tasks = JoinSet::new();
        for client in 0..clients {
            let template = Arc::clone(templates.get(client % templates.len().max(1)).context("no namespace")?);
            let (database, stop, done) = (Arc::clone(&database), Arc::clone(&stop), Arc::clone(&done));
            tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    write(&database, &template).await?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                anyhow::Ok(())
            });
        }
        tokio::time::sleep(WARM_UP).await;
        let own = std::process::id().cast_signed();
        let (cpu_before, done_before, began) = (cpu(own)?, done.load(Ordering::Relaxed), Instant::now());
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        let (used, elapsed) = (cpu(own)?.saturating_sub(cpu_before), began.elapsed());
        let count = done.load(Ordering::Relaxed) - done_before;
        stop.store(true, Ordering::Relaxed);
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        let each = used.as_secs_f64() * 1e6 / count.max(1) as f64;
        let samples = [
            LatencySample::new("rate", "/s", count as f64 / elapsed.as_secs_f64()),
            LatencySample::new("server CPU per call", "µs", each),
        ];
        println!("{}", serde_json::to_string(&samples)?);
        Ok(())
    })
}

async fn connect(url: &str) -> Result<DatabaseConnection> {
    let mut options = ConnectOptions::new(url);
    options.max_connections(if url.starts_with("postgres") { POSTGRES_CONNECTIONS_MAX } else { 1 });
    options.min_connections(1).sqlx_logging(false).map_sqlx_sqlite_opts(|sqlite| {
        sqlite.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full).foreign_keys(true)
    });
    Ok(Database::connect(options).await?)
}

fn statement(backend: DbBackend, sql: &str, values: impl IntoIterator<Item = Value>) -> Statement {
    Statement::from_sql_and_values(backend, sql, values)
}

async fn template(database: &DatabaseConnection, namespace: &str) -> Result<Template> {
    let sql = "SELECT * FROM events WHERE namespace = $1 AND statement <> '' ORDER BY revision DESC LIMIT 1";
    let found = database.query_one_raw(statement(database.get_database_backend(), sql, [namespace.into()])).await?;
    let row: QueryResult = found.context("no activation in the namespace")?;
    Ok(Template {
        namespace: namespace.to_owned(),
        epoch: row.try_get("", "epoch")?,
        policy: row.try_get("", "policy")?,
        time: row.try_get("", "time")?,
        payload: row.try_get("", "payload")?,
        prev_hash: row.try_get("", "prev_hash")?,
        hash: row.try_get("", "hash")?,
        seal: row.try_get("", "seal")?,
        seal_key_id: row.try_get("", "seal_key_id")?,
        statement: row.try_get("", "statement")?,
    })
}

#[expect(clippy::disallowed_methods, reason = "a transaction without the store is what is compared with")]
async fn write(database: &DatabaseConnection, row: &Template) -> Result<()> {
    let backend = database.get_database_backend();
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    let tx = database.begin_with_options(options).await?;
    let lock = match backend {
        DbBackend::Postgres => "SELECT head_revision FROM namespaces WHERE id = $1 FOR UPDATE",
        _ => "SELECT head_revision FROM namespaces WHERE id = $1",
    };
    let namespace = || Value::from(row.namespace.as_str());
    let head = tx.query_one_raw(statement(backend, lock, [namespace()])).await?.context("no namespace")?;
    let revision = head.try_get::<i64>("", "head_revision")? + 1;
    let event = "INSERT INTO events (namespace, revision, epoch, policy, time, payload, prev_hash, hash, seal, \
                 seal_key_id, statement) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    let values: [Value; 11] = [
        namespace(),
        revision.into(),
        row.epoch.into(),
        row.policy.as_str().into(),
        row.time.into(),
        row.payload.as_slice().into(),
        row.prev_hash.as_slice().into(),
        row.hash.as_slice().into(),
        row.seal.as_slice().into(),
        row.seal_key_id.as_str().into(),
        row.statement.as_str().into(),
    ];
    tx.execute_raw(statement(backend, event, values)).await?;
    let version = 1 + revision % 2;
    let pointer = "UPDATE policies SET active_version = $1, active_revision = $2 WHERE namespace = $3 AND id = $4";
    let values = [version.into(), revision.into(), namespace(), row.policy.as_str().into()];
    tx.execute_raw(statement(backend, pointer, values)).await?;
    let history = "INSERT INTO pointer_changes (namespace, policy, revision, version) VALUES ($1, $2, $3, $4)";
    let values = [namespace(), row.policy.as_str().into(), revision.into(), version.into()];
    tx.execute_raw(statement(backend, history, values)).await?;
    let head = "UPDATE namespaces SET head_revision = $1, head_hash = $2 WHERE id = $3";
    tx.execute_raw(statement(backend, head, [revision.into(), row.hash.as_slice().into(), namespace()])).await?;
    tx.commit().await?;
    Ok(())
}
