//! How the cost of an activation, the start and the memory grow with policies, versions and subscribers.
//!
//! Boundary: stores are filled through the public API. On PostgreSQL, when there is one, statements and rows are those that the database
//! itself counted, without those that the server's own polls make in that time.

use std::ops::{Mul, Sub};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::hub::{self, BenchHub, HubDirectory};
use super::plan::{LatencySample, LoadPlan, LoadWork};
use super::postgres::Cluster;
use super::process::memory_kib;
use super::report::OURS;
use super::scenarios::{BenchRun, KIB, drive, resync_once};
use super::target::{BenchPayload, BenchTarget};

const ACTIVATIONS: usize = 300;
const ACTIVATIONS_OF_MANY: usize = 30;
const STARTS: usize = 5;
const SUBSCRIBERS: usize = 10_000;
/// What statements about leases name. They come when streams begin and end, and with time, not with activations: they are counted by
/// themselves.
const LEASES: &str = "subscribers|replicas";
/// Matches the statement by which a pooled connection is checked before it is used: one before each transaction.
const CONNECTION_CHECKS: &str = r"^SELECT (concat\(set_config|current_setting)";
/// The few subscribers that a resync is compared with, to find the cost of the others.
const FEW: usize = 10;
/// How long to wait before statements are counted: longer than the pause between two lease flushes (2 s).
const LEASE_FLUSH_WAIT: Duration = Duration::from_secs(5);
/// How long the statements of an idle server are counted.
const IDLE_WINDOW: Duration = Duration::from_secs(10);
/// The figure of a goal.
pub const STORM_STATEMENTS: &str = "database statements of a reconnect storm, without leases";

/// What the database did so far. Statements and rows are without those about leases and checks of connections, which are counted apart.
#[derive(Debug, Clone, Copy)]
struct StatementCounts {
    statements: f64,
    rows: f64,
    lease_statements: f64,
    connection_checks: f64,
}

impl Sub for StatementCounts {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            statements: self.statements - before.statements,
            rows: self.rows - before.rows,
            lease_statements: self.lease_statements - before.lease_statements,
            connection_checks: self.connection_checks - before.connection_checks,
        }
    }
}

impl Mul<f64> for StatementCounts {
    type Output = Self;

    fn mul(self, times: f64) -> Self {
        Self {
            statements: self.statements * times,
            rows: self.rows * times,
            lease_statements: self.lease_statements * times,
            connection_checks: self.connection_checks * times,
        }
    }
}

/// The extension of PostgreSQL that counts statements.
pub const COUNTER: (&str, &str) = ("shared_preload_libraries", "pg_stat_statements");

impl BenchRun {
    /// Measures growth over policies, versions and subscribers.
    pub async fn growth(&mut self) -> Result<()> {
        let many = if self.full { 100_000 } else { 10_000 };
        let cases = [
            ("empty store", 0, 0),
            ("10 policies, 10 versions", 10, 10),
            ("1,000 policies", 1_000, 1_000),
            ("10,000 policies", 10_000, 10_000),
            ("many versions", 10, many),
        ];
        eprintln!("growth: \"many versions\" are {many}; it takes a while to write them");
        let mut stores = Vec::new();
        for (case, policies, versions) in cases {
            let place = HubDirectory::new(self.postgres.as_ref().map(Cluster::create_database))?;
            let hub = BenchHub::start(&place)?;
            if policies == 0 {
                hub.process.end()?;
            } else {
                hub::fill(&hub, policies, versions, KIB).await?;
                self.activations_in(case, hub, &place).await?;
            }
            stores.push((case, place));
        }
        for _ in 0..STARTS {
            for (case, place) in &stores {
                let began = Instant::now();
                let hub = BenchHub::start(place)?;
                let ready = LatencySample::new("start to ready", "ms", began.elapsed().as_secs_f64() * 1e3);
                let memory = memory_kib(hub.process.id())? / 1024.0;
                let samples = vec![ready, LatencySample::new("memory at start", "MiB", memory)];
                self.report.add("growth", case, OURS, Ok(samples));
                hub.process.end()?;
            }
        }
        Ok(())
    }

    /// Measures activations in a filled store; the server is restarted, so that the first watch is cold.
    async fn activations_in(&mut self, case: &str, hub: BenchHub, place: &HubDirectory) -> Result<()> {
        hub.process.end()?;
        let hub = BenchHub::start_unchecked(place)?;
        let revision = hub::head(&hub.client().await?, "default").await?.revision;
        let mut target = BenchTarget::of_hub(hub, None, revision, KIB);
        // One policy of many.
        target.watch = hub::watch_call(Some("p0"), None);
        // The first watch reads what is active; the cost of activations is measured after it.
        let first = drive(activations_work(&target, 1, 1)).await?;
        let first = LatencySample::new("first watch", "ms", find(&first, "all subscribed")?);
        self.report.add("growth", case, OURS, Ok(vec![first]));
        for _ in 0..self.rounds {
            let samples = self.activations(&target, place, 1, ACTIVATIONS).await;
            self.report.add("growth", case, OURS, samples);
            if case == "10 policies, 10 versions" {
                let samples = self.activations(&target, place, SUBSCRIBERS, ACTIVATIONS_OF_MANY).await;
                self.report.add("growth", "10,000 subscribers", OURS, samples);
            }
        }
        target.end()
    }

    async fn activations(
        &self,
        target: &BenchTarget,
        place: &HubDirectory,
        watchers: usize,
        count: usize,
    ) -> Result<Vec<LatencySample>> {
        let activating = drive(activations_work(target, watchers, count));
        let (driven, work) = match &self.postgres {
            Some(cluster) => {
                let (driven, work) = statements_of(cluster, &place.url, activating).await?;
                (driven, Some(work))
            }
            None => (activating.await?, None),
        };
        let each = find(&driven, "server CPU per delivery")?;
        let mut samples = vec![LatencySample::new("server CPU per activation", "µs", each * watchers as f64)];
        if let Some(work) = work {
            // Besides those that were measured, one warmed up.
            let made = (count + 1) as f64;
            let statements = (work.statements + work.connection_checks) / made;
            samples.push(LatencySample::new("database statements per activation", "", statements));
            samples.push(LatencySample::new("database rows per activation", "", work.rows / made));
        }
        Ok(samples)
    }

    /// Measures what a reconnect storm asks of the database: the statements of a resync, minus those of only opening the same subscriptions,
    /// minus the same difference for few subscribers. What an idle server asks in that time is left out.
    pub(super) async fn resync_statements(&mut self) -> Result<()> {
        if self.postgres.is_none() {
            self.report.not_measured("database statements of a resync: no PostgreSQL".to_owned());
            return Ok(());
        }
        let payload = self.payload(KIB).await?;
        for _ in 0..self.rounds {
            let few = self.count_storm_statements(&payload, FEW).await?;
            let storm = self.count_storm_statements(&payload, SUBSCRIBERS).await? - few;
            let samples = vec![
                LatencySample::new(STORM_STATEMENTS, "", storm.statements),
                LatencySample::new("lease statements of a reconnect storm", "", storm.lease_statements),
                LatencySample::new("connections checked in a reconnect storm", "", storm.connection_checks),
            ];
            self.report.add("resync", "10,000 × 1, 1 KiB", OURS, Ok(samples));
        }
        Ok(())
    }

    async fn count_storm_statements(&self, payload: &BenchPayload, subscribers: usize) -> Result<StatementCounts> {
        let opened = self.count_statements(payload, subscribers, false).await?;
        Ok(self.count_statements(payload, subscribers, true).await? - opened)
    }

    /// Counts the statements of subscriptions that are opened, and with `resync` cut and opened again.
    async fn count_statements(
        &self,
        payload: &BenchPayload,
        subscribers: usize,
        resync: bool,
    ) -> Result<StatementCounts> {
        let cluster = self.postgres.as_ref().context("no PostgreSQL")?;
        let url = cluster.create_database();
        let target = BenchTarget::policyhub(payload, Some(url.clone())).await?;
        let subscribing = async {
            if resync {
                resync_once(&target, subscribers, 1).await?;
            } else {
                let work = LoadWork::Idle { watch: target.watch.clone(), seconds: 0.0 };
                drive(target.plan(subscribers, 1, work)).await?;
            }
            tokio::time::sleep(LEASE_FLUSH_WAIT).await;
            anyhow::Ok(())
        };
        Ok(statements_of(cluster, &url, subscribing).await?.1)
    }
}

/// Counts the statements of `work`, without those that come with time: as many as the idle server makes after it.
async fn statements_of<T>(
    cluster: &Cluster,
    url: &str,
    work: impl Future<Output = Result<T>>,
) -> Result<(T, StatementCounts)> {
    let (before, began) = (counted(cluster, url)?, Instant::now());
    let done = work.await?;
    let (after, ended) = (counted(cluster, url)?, Instant::now());
    tokio::time::sleep(IDLE_WINDOW).await;
    let each_second = (counted(cluster, url)? - after) * ended.elapsed().as_secs_f64().recip();
    Ok((done, after - before - each_second * (ended - began).as_secs_f64()))
}

fn activations_work(target: &BenchTarget, watchers: usize, publishes: usize) -> LoadPlan {
    let (watch, publish) = (target.watch.clone(), target.publish.clone());
    target.plan(watchers, 1, LoadWork::Fanout { watch, publish, publishes })
}

fn find(samples: &[LatencySample], what: &str) -> Result<f64> {
    samples.iter().find(|sample| sample.what == what).map(|sample| sample.value).context("no such figure")
}

/// Returns what the database counted.
fn counted(cluster: &Cluster, url: &str) -> Result<StatementCounts> {
    let database = url.rsplit('/').next().context("no database")?;
    let sql = format!(
        "SELECT coalesce(sum(calls) FILTER (WHERE query !~ '{LEASES}|{CONNECTION_CHECKS}'), 0), \
         coalesce(sum(rows) FILTER (WHERE query !~ '{LEASES}|{CONNECTION_CHECKS}'), 0), \
         coalesce(sum(calls) FILTER (WHERE query ~ '{LEASES}'), 0), \
         coalesce(sum(calls) FILTER (WHERE query ~ '{CONNECTION_CHECKS}'), 0) FROM pg_stat_statements s \
         JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = '{database}'"
    );
    cluster.try_psql("postgres", "CREATE EXTENSION IF NOT EXISTS pg_stat_statements").map_err(anyhow::Error::msg)?;
    let row = cluster.try_psql("postgres", &sql).map_err(anyhow::Error::msg)?;
    let counts: Vec<f64> = row.split('|').map(str::parse).collect::<Result<_, _>>()?;
    let &[statements, rows, lease_statements, connection_checks] = counts.as_slice() else { bail!("no counts: {row}") };
    Ok(StatementCounts { statements, rows, lease_statements, connection_checks })
}
