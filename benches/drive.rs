//! A driver: reads a plan from standard input, runs it against one server, and prints the measurements.
//!
//! It runs as a separate single-threaded process, so that a server's CPU time is only its own.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::task::LocalSet;

use super::load::{BenchCaller, Load};
use super::noisy;
use super::plan::{BenchCall, LatencySample, LoadPlan, LoadWork};
use super::process::{cpu, memory_kib};
use super::subscriptions::{OPENING_MAX, RETURNING_MAX, Subscriptions};

/// Pause after opening, before memory is read: what was only needed to open is freed by then.
const SETTLE: Duration = Duration::from_millis(500);
/// Pause after the last delivery, before CPU is read: a server's own cleanup counts too.
const TRAIL: Duration = Duration::from_millis(30);
/// Time before a load is measured.
const WARM_UP: Duration = Duration::from_millis(300);

/// Runs the plan.
pub fn run() -> Result<()> {
    let plan: LoadPlan = serde_json::from_reader(std::io::stdin()).context("failed to read the plan")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let samples = LocalSet::new().block_on(&runtime, async {
        match &plan.work {
            LoadWork::Fanout { watch, publish, publishes } => fan_out(&plan, watch, publish, *publishes).await,
            LoadWork::Load { calls, seconds } => load(&plan, calls, *seconds).await,
            LoadWork::Neighbour { read, write, noise, noise_per_second } => {
                noisy::measure(&plan, read, write, noise, *noise_per_second).await
            }
            LoadWork::Resync { watch, publish, again } => resync(&plan, watch, publish, again).await,
            LoadWork::Idle { watch, seconds } => idle(&plan, watch, *seconds).await,
        }
    })?;
    println!("{}", serde_json::to_string(&samples)?);
    // The kernel closes ten thousand sockets faster than closing them one by one.
    std::process::exit(0)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn micros_each(duration: Duration, count: usize) -> f64 {
    duration.as_secs_f64() * 1e6 / count.max(1) as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Opens all subscriptions; the cost is added to the samples.
async fn open(plan: &LoadPlan, watch: &BenchCall, samples: &mut Vec<LatencySample>) -> Result<Subscriptions> {
    let subscribers = plan.connections * plan.streams;
    let (cpu_before, memory_before, began) = (cpu(plan.server)?, memory_kib(plan.server)?, Instant::now());
    let subscriptions = Subscriptions::open(plan, watch, OPENING_MAX).await?;
    let elapsed = began.elapsed();
    tokio::time::sleep(SETTLE).await;
    let used = cpu(plan.server)?.saturating_sub(cpu_before);
    let memory = memory_kib(plan.server)? - memory_before;
    samples.push(LatencySample::new("all subscribed", "ms", millis(elapsed)));
    samples.push(LatencySample::new("server CPU per subscription", "µs", micros_each(used, subscribers)));
    samples.push(LatencySample::new("memory per idle subscriber", "KiB", memory / subscribers as f64));
    Ok(subscriptions)
}

async fn fan_out(
    plan: &LoadPlan,
    watch: &BenchCall,
    publish: &[BenchCall],
    publishes: usize,
) -> Result<Vec<LatencySample>> {
    let mut samples = Vec::new();
    let mut publisher = BenchCaller::connect(plan.address, plan.tls()?.as_ref(), plan.wire, &plan.token).await?;
    let subscriptions = open(plan, watch, &mut samples).await?;
    let mut calls = publish.iter().cycle();
    let mut lasts = Vec::new();
    let mut cpu_before = cpu(plan.server)?;
    // The first one warms up.
    for number in 0..=publishes {
        if number == 1 {
            tokio::time::sleep(TRAIL).await;
            cpu_before = cpu(plan.server)?;
        }
        subscriptions.tally.next_wave();
        let began = Instant::now();
        let call = calls.next().context("nothing to publish")?;
        let (answered, last) = tokio::join!(publisher.call(call), subscriptions.tally.wait());
        answered?;
        let last = last?;
        if number > 0 {
            lasts.push(millis(last - began));
        }
    }
    tokio::time::sleep(TRAIL).await;
    let used = cpu(plan.server)?.saturating_sub(cpu_before);
    let deliveries = plan.connections * plan.streams * publishes;
    samples.push(LatencySample::new("server CPU per delivery", "µs", micros_each(used, deliveries)));
    samples.push(LatencySample::new("publish to last subscriber", "ms", median(lasts)));
    Ok(samples)
}

async fn load(plan: &LoadPlan, calls: &[Vec<BenchCall>], seconds: f64) -> Result<Vec<LatencySample>> {
    let load = Load::begin(plan, calls)?;
    tokio::time::sleep(WARM_UP).await;
    let (cpu_before, calls_before, began) = (cpu(plan.server)?, load.answered.calls.get(), Instant::now());
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    let (used, elapsed) = (cpu(plan.server)?.saturating_sub(cpu_before), began.elapsed());
    let count = load.answered.calls.get() - calls_before;
    load.end().await?;
    let rate = count as f64 / elapsed.as_secs_f64();
    Ok(vec![
        LatencySample::new("rate", "/s", rate),
        LatencySample::new("server CPU per call", "µs", micros_each(used, count as usize)),
    ])
}

async fn resync(
    plan: &LoadPlan,
    watch: &BenchCall,
    publish: &BenchCall,
    again: &BenchCall,
) -> Result<Vec<LatencySample>> {
    let mut samples = Vec::new();
    let mut publisher = BenchCaller::connect(plan.address, plan.tls()?.as_ref(), plan.wire, &plan.token).await?;
    let memory_empty = memory_kib(plan.server)?;
    let subscriptions = open(plan, watch, &mut samples).await?;
    samples.clear();
    let (cpu_before, began) = (cpu(plan.server)?, Instant::now());
    drop(subscriptions);
    publisher.call(publish).await?;
    let subscriptions = Subscriptions::open(plan, again, RETURNING_MAX).await?;
    let elapsed = began.elapsed();
    tokio::time::sleep(SETTLE).await;
    let used = cpu(plan.server)?.saturating_sub(cpu_before);
    let subscribers = plan.connections * plan.streams;
    let memory = (memory_kib(plan.server)? - memory_empty) / subscribers as f64;
    samples.push(LatencySample::new("cut to all caught up again", "ms", millis(elapsed)));
    samples.push(LatencySample::new("server CPU per reconnected subscriber", "µs", micros_each(used, subscribers)));
    samples.push(LatencySample::new("memory per subscriber after it", "KiB", memory));
    drop(subscriptions);
    Ok(samples)
}

async fn idle(plan: &LoadPlan, watch: &BenchCall, seconds: f64) -> Result<Vec<LatencySample>> {
    let mut samples = Vec::new();
    let subscriptions = open(plan, watch, &mut samples).await?;
    samples.clear();
    let (cpu_before, began) = (cpu(plan.server)?, Instant::now());
    let quiet = tokio::time::timeout(Duration::from_secs_f64(seconds), subscriptions.tally.failed());
    if let Ok(failure) = quiet.await {
        return Err(failure);
    }
    let used = cpu(plan.server)?.saturating_sub(cpu_before);
    let share = used.as_secs_f64() / began.elapsed().as_secs_f64() * 100.0;
    samples.push(LatencySample::new("idle server", "% of a core", share));
    Ok(samples)
}
