//! A noisy neighbour: the latency of a tenant's calls while another one calls ten times as often as its quota permits.
//!
//! Invariant: "alone" and "beside" alternate within one run, so that disturbances of the machine affect both.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use policyhub::client::{Client, pb};
use tokio::task::JoinSet;

use super::hub::{self, BenchHub, HubDirectory};
use super::load::BenchCaller;
use super::plan::{BenchCall, LatencySample, LoadPlan, LoadWork, WireFormat};
use super::postgres::Cluster;
use super::report::OURS;
use super::scenarios::{BenchRun, KIB, drive};

/// The noisy tenant's quotas per second, writes and reads, and how often it tries. Lower in the small form.
const QUOTAS: (i32, i32) = (5, 100);
const QUOTAS_QUICK: (i32, i32) = (1, 10);
const TIMES_OVER: f64 = 10.0;
/// Connections of the noisy tenant, each with one call at a time.
const NOISY_CALLERS: usize = 16;
/// Unmeasured pause between two windows, in which the noisy tenant uses up its burst.
const SETTLE: Duration = Duration::from_millis(1_500);
/// Number of window pairs, alone and beside, and their length.
const WINDOWS: usize = 5;
const WINDOW: Duration = Duration::from_secs(1);
/// Pause of the measured tenant between two reads, so that it causes no load itself.
const THINK: Duration = Duration::from_millis(1);
/// The noisy tenant.
const LOUD: &str = "loud";

impl BenchRun {
    /// Measures a tenant beside another one that is over its quota.
    pub async fn noisy(&mut self) -> Result<()> {
        for (case, is_postgres) in [("SQLite", false), ("PostgreSQL", true)] {
            if is_postgres && self.postgres.is_none() {
                self.report.not_measured("PostgreSQL: not installed (make postgres)".to_owned());
                continue;
            }
            for _ in 0..self.rounds {
                let cluster = self.postgres.as_ref().filter(|_| is_postgres);
                let place = HubDirectory::new(cluster.map(Cluster::create_database))?;
                let quotas = if self.quick { QUOTAS_QUICK } else { QUOTAS };
                let samples = once(&place, quotas).await;
                self.report.add("noisy", case, OURS, samples);
            }
        }
        Ok(())
    }
}

async fn once(place: &HubDirectory, (writes, reads): (i32, i32)) -> Result<Vec<LatencySample>> {
    let hub = BenchHub::start(place)?;
    let client = hub.client().await?;
    hub::seed(&client, "default", KIB).await?;
    hub::create_namespace(&client, LOUD).await?;
    hub::seed(&client, LOUD, KIB).await?;
    let quotas = pb::NamespaceQuotas { writes_per_second: writes, reads_per_second: reads, ..Default::default() };
    limit(&client, quotas).await?;
    let work = LoadWork::Neighbour {
        read: hub::get_active_call("default"),
        write: hub::activate_calls("default"),
        noise: vec![
            hub::draft_call(LOUD, KIB),
            hub::get_active_call(LOUD),
            hub::get_active_call(LOUD),
            hub::get_active_call(LOUD),
            hub::get_active_call(LOUD),
            hub::get_active_call(LOUD),
        ],
        noise_per_second: f64::from(writes + reads) * TIMES_OVER,
    };
    let (server, address, token) = (hub.process.id(), hub.grpc, hub.token.clone());
    let samples = drive(LoadPlan {
        server,
        address,
        certificate: None,
        token,
        subscriber_tokens: Vec::new(),
        wire: WireFormat::Grpc,
        connections: 2,
        streams: 1,
        least_bytes: 1,
        work,
    })
    .await?;
    hub.process.end()?;
    Ok(samples)
}

async fn limit(client: &Client, quotas: pb::NamespaceQuotas) -> Result<()> {
    let namespace = pb::Namespace { name: format!("namespaces/{LOUD}"), quotas: Some(quotas), ..Default::default() };
    let request = pb::UpdateNamespaceRequest { namespace: Some(namespace), ..Default::default() };
    client.update_namespace(request).await?;
    Ok(())
}

/// Latencies of one kind of call, in milliseconds.
#[derive(Debug, Default)]
struct CallTimes {
    alone: RefCell<Vec<f64>>,
    beside: RefCell<Vec<f64>>,
}

/// What the callers of a driver share.
#[derive(Debug, Default)]
struct NoisyLoad {
    is_noisy: Cell<bool>,
    is_measured: Cell<bool>,
    stop: Cell<bool>,
    reads: CallTimes,
    writes: CallTimes,
    offered: Cell<u64>,
    refused: Cell<u64>,
}

/// Runs the driver's part: measures one tenant, alone and beside the other, alternately.
pub async fn measure(
    plan: &LoadPlan,
    read: &BenchCall,
    write: &[BenchCall],
    noise: &[BenchCall],
    per_second: f64,
) -> Result<Vec<LatencySample>> {
    let shared = Rc::new(NoisyLoad::default());
    let mut callers = JoinSet::new();
    let connect = || BenchCaller::connect(plan.address, None, plan.wire, &plan.token);
    let (reader, writer) = (connect().await?, connect().await?);
    callers.spawn_local(quiet(reader, vec![read.clone()], THINK, Rc::clone(&shared), |shared| &shared.reads));
    callers.spawn_local(quiet(writer, write.to_vec(), Duration::ZERO, Rc::clone(&shared), |shared| &shared.writes));
    for number in 0..NOISY_CALLERS {
        let calls = noise.iter().cycle().skip(number).take(noise.len()).cloned().collect();
        let every = Duration::from_secs_f64(NOISY_CALLERS as f64 / per_second);
        callers.spawn_local(noisy(connect().await?, calls, every, Rc::clone(&shared)));
    }
    for _ in 0..WINDOWS {
        for is_noisy in [false, true] {
            shared.is_noisy.set(is_noisy);
            tokio::time::sleep(SETTLE).await;
            shared.is_measured.set(true);
            tokio::time::sleep(WINDOW).await;
            shared.is_measured.set(false);
        }
    }
    shared.stop.set(true);
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    let (offered, refused) = (shared.offered.get() as f64, shared.refused.get() as f64);
    ensure!(refused > 0.0, "the noisy tenant was never refused: nothing was measured");
    let mut samples = vec![
        LatencySample::new("noise", "/s", offered / (WINDOW * WINDOWS as u32).as_secs_f64()),
        LatencySample::new("noise refused", "%", refused / offered * 100.0),
    ];
    for (what, taken) in [("reads", &shared.reads), ("writes", &shared.writes)] {
        let (alone, beside) = (p99(&taken.alone)?, p99(&taken.beside)?);
        samples.push(LatencySample::new(&format!("p99 of {what} alone"), "ms", alone));
        samples.push(LatencySample::new(&format!("p99 of {what} beside"), "ms", beside));
        samples.push(LatencySample::new(&format!("p99 of {what}, beside ÷ alone"), "", beside / alone));
    }
    Ok(samples)
}

async fn quiet(
    mut caller: BenchCaller,
    calls: Vec<BenchCall>,
    think: Duration,
    shared: Rc<NoisyLoad>,
    taken: fn(&NoisyLoad) -> &CallTimes,
) -> Result<()> {
    for call in calls.iter().cycle() {
        if shared.stop.get() {
            break;
        }
        let (began, was_measured, was_noisy) = (Instant::now(), shared.is_measured.get(), shared.is_noisy.get());
        caller.call(call).await?;
        let elapsed = began.elapsed().as_secs_f64() * 1e3;
        // A call that ends after its window counts, however long it took: otherwise the slowest would be left out.
        if was_measured {
            let taken = taken(&shared);
            let of = if was_noisy { &taken.beside } else { &taken.alone };
            of.borrow_mut().push(elapsed);
        }
        if !think.is_zero() {
            tokio::time::sleep(think).await;
        }
    }
    Ok(())
}

async fn noisy(mut caller: BenchCaller, calls: Vec<BenchCall>, every: Duration, shared: Rc<NoisyLoad>) -> Result<()> {
    let mut turn = tokio::time::interval(every);
    turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for call in calls.iter().cycle() {
        turn.tick().await;
        if shared.stop.get() {
            break;
        }
        if shared.is_noisy.get() {
            let is_answered = caller.ask(call).await?;
            if !shared.is_measured.get() {
                continue;
            }
            shared.offered.set(shared.offered.get() + 1);
            shared.refused.set(shared.refused.get() + u64::from(!is_answered));
        }
    }
    Ok(())
}

fn p99(taken: &RefCell<Vec<f64>>) -> Result<f64> {
    let mut taken = taken.borrow_mut();
    taken.sort_by(f64::total_cmp);
    taken.get(taken.len() * 99 / 100).copied().context("nothing was measured")
}
