//! What namespaces cost that nobody uses any more: an activation beside them, an idle server, the memory, the next start.
//!
//! Boundary: filled through the public API. Each namespace was read once, so that the replica follows it.

use std::time::Instant;

use anyhow::Result;
use tokio::task::JoinSet;

use super::hub::{self, BenchHub, HubDirectory};
use super::plan::{LatencySample, LoadWork};
use super::postgres::Cluster;
use super::process::memory_kib;
use super::report::OURS;
use super::scenarios::{BenchRun, KIB, drive};
use super::target::BenchTarget;

/// Callers that create namespaces at once.
const CREATORS: usize = 16;
/// Subscribers of the one namespace that is used.
const SUBSCRIBERS: usize = 5;
const ACTIVATIONS: usize = 300;
const STARTS: usize = 3;

impl BenchRun {
    /// Measures a server with many idle namespaces beside one with none.
    pub async fn namespaces(&mut self) -> Result<()> {
        for (database, is_postgres) in [("SQLite", false), ("PostgreSQL", true)] {
            if is_postgres && self.postgres.is_none() {
                self.report.not_measured("PostgreSQL: not installed (make postgres)".to_owned());
                continue;
            }
            for (count, name) in [(0, "no"), (10_000, "10,000"), (50_000, "50,000")] {
                if count > 10_000 && !self.full {
                    self.report.not_measured(format!("{database} with {name} other namespaces: without --full"));
                    continue;
                }
                let cluster = self.postgres.as_ref().filter(|_| is_postgres);
                let place = HubDirectory::new(cluster.map(Cluster::create_database))?;
                self.beside_idle(&format!("{database}, {name} other namespaces"), count, &place).await?;
            }
        }
        Ok(())
    }

    async fn beside_idle(&mut self, case: &str, count: usize, place: &HubDirectory) -> Result<()> {
        let hub = BenchHub::start(place)?;
        let client = hub.client().await?;
        let revision = hub::seed(&client, "default", KIB).await?;
        let began = Instant::now();
        create(&hub, count).await?;
        let mut samples = Vec::new();
        if count > 0 {
            let each = began.elapsed().as_secs_f64() * 1e6 / count as f64;
            samples.push(LatencySample::new("creation and first read of a namespace", "µs", each));
        }
        samples.push(LatencySample::new("memory", "MiB", memory_kib(hub.process.id())? / 1024.0));
        self.report.add("namespaces", case, OURS, Ok(samples));

        let target = BenchTarget::of_hub(hub, None, revision, KIB);
        let idle = LoadWork::Idle { watch: target.watch.clone(), seconds: self.idle_seconds };
        let idle = drive(target.plan(SUBSCRIBERS, 1, idle)).await;
        self.report.add("namespaces", case, OURS, idle);
        for _ in 0..self.rounds {
            let (watch, publish) = (target.watch.clone(), target.publish.clone());
            let work = LoadWork::Fanout { watch, publish, publishes: ACTIVATIONS };
            let samples = drive(target.plan(SUBSCRIBERS, 1, work)).await;
            self.report.add("namespaces", case, OURS, samples);
        }
        target.end()?;
        for _ in 0..STARTS {
            let began = Instant::now();
            let hub = BenchHub::start(place)?;
            let ready = LatencySample::new("start to ready", "ms", began.elapsed().as_secs_f64() * 1e3);
            let memory = LatencySample::new("memory at start", "MiB", memory_kib(hub.process.id())? / 1024.0);
            self.report.add("namespaces", case, OURS, Ok(vec![ready, memory]));
            hub.process.end()?;
        }
        Ok(())
    }
}

/// Creates namespaces and reads each once.
async fn create(hub: &BenchHub, count: usize) -> Result<()> {
    let mut creators = JoinSet::new();
    for creator in 0..CREATORS {
        let client = hub.client().await?;
        creators.spawn(async move {
            for number in (creator..count).step_by(CREATORS) {
                let name = format!("idle-{number}");
                hub::create_namespace(&client, &name).await?;
                hub::read_active(&client, &name).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(created) = creators.join_next().await {
        created??;
    }
    Ok(())
}
