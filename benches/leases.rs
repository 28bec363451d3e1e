//! What subscribers that are only connected cost PostgreSQL.
//!
//! Boundary: PostgreSQL's own counters, of everything that the server writes meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::plan::{LatencySample, LoadWork};
use super::postgres::Cluster;
use super::report::{OURS, shape_name};
use super::scenarios::{BenchRun, KIB, drive};
use super::target::BenchTarget;

const SUBSCRIBERS: usize = 10_000;
/// Part of the idle time that is not measured: the driver's time begins before all streams are written.
const UNMEASURED: Duration = Duration::from_secs(10);
/// Longest wait until all streams are written. A build without optimization needs about half of it.
const WRITTEN_WITHIN: Duration = Duration::from_secs(240);
/// Pause between two looks at the database.
const AGAIN: Duration = Duration::from_millis(250);
/// PostgreSQL shows what a connection counted about a second later.
const COUNTED: Duration = Duration::from_secs(2);

/// What the database wrote so far.
#[derive(Debug, Clone, Copy)]
struct Written {
    wal_bytes: f64,
    row_updates: f64,
    at: Instant,
}

impl BenchRun {
    /// Measures what the leases of idle subscribers make PostgreSQL write.
    pub(super) async fn idle_leases(&mut self) -> Result<()> {
        let payload = self.payload(KIB).await?;
        let Some(cluster) = &self.postgres else {
            self.report.not_measured("writes of idle subscribers: no PostgreSQL".to_owned());
            return Ok(());
        };
        let url = cluster.create_database();
        let target = BenchTarget::policyhub(&payload, Some(url.clone())).await?;
        let work = LoadWork::Idle { watch: target.watch.clone(), seconds: self.idle_seconds };
        let driven = drive(target.plan(SUBSCRIBERS, 1, work));
        let measured = measure(cluster, &url, Duration::from_secs_f64(self.idle_seconds));
        let (driven, measured) = tokio::join!(driven, measured);
        driven?;
        let case = format!("PostgreSQL, {}", shape_name(SUBSCRIBERS, 1, KIB));
        self.report.add("idle", &case, OURS, measured);
        Ok(())
    }
}

async fn measure(cluster: &Cluster, url: &str, idle: Duration) -> Result<Vec<LatencySample>> {
    let database = url.rsplit('/').next().context("no database")?;
    let began = Instant::now();
    let open = "SELECT count(*) FROM subscribers WHERE lease_end_time > 0";
    while number(cluster, database, open)? < SUBSCRIBERS as f64 {
        ensure!(began.elapsed() < WRITTEN_WITHIN, "the streams were not written in time");
        tokio::time::sleep(AGAIN).await;
    }
    tokio::time::sleep(COUNTED).await;
    let before = written(cluster, database)?;
    tokio::time::sleep(idle.saturating_sub(UNMEASURED)).await;
    let after = written(cluster, database)?;
    let seconds = (after.at - before.at).as_secs_f64();
    Ok(vec![
        LatencySample::new("row updates of leases", "/s", (after.row_updates - before.row_updates) / seconds),
        LatencySample::new("WAL", "KB/s", (after.wal_bytes - before.wal_bytes) / seconds / 1e3),
    ])
}

fn written(cluster: &Cluster, database: &str) -> Result<Written> {
    let updates =
        "SELECT coalesce(sum(n_tup_upd), 0) FROM pg_stat_user_tables WHERE relname IN ('subscribers', 'replicas')";
    Ok(Written {
        wal_bytes: number(cluster, database, "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")?,
        row_updates: number(cluster, database, updates)?,
        at: Instant::now(),
    })
}

fn number(cluster: &Cluster, database: &str, sql: &str) -> Result<f64> {
    Ok(cluster.try_psql(database, sql).map_err(anyhow::Error::msg)?.parse()?)
}
