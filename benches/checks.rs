//! Checks of what strangers wrote: what one costs with a worker and without, what hostile ones of one tenant cost another, and what
//! memory the server keeps of them.
//!
//! Invariant: "alone" and "beside", and the two kinds of a stage, alternate within one run, so that disturbances of the machine affect both.
//! The server and its workers have every core, as they have where it runs: on one core each hostile check would take its share of it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use policyhub::client::{Client, ClientError, pb};
use tokio::task::JoinSet;

use super::hub::{self, BenchHub, HubDirectory};
use super::plan::LatencySample;
use super::process::{Core, memory_kib};
use super::report::OURS;
use super::scenarios::{BenchRun, KIB};

/// The tenant that is measured, and the hostile one.
const QUIET: &str = "default";
const HOSTILE: &str = "hostile";
/// Stages of each kind for a median.
const STAGES: usize = 300;
/// Hostile calls at once; more than one namespace has slots.
const HOSTILE_CALLS: usize = 4;
/// Pairs of windows, alone and beside, and the calls of each kind in one.
const WINDOWS: usize = 6;
const CALLS: usize = 60;
/// Unmeasured pause after hostile calls begin or end, in which their processes do.
const SETTLE: Duration = Duration::from_millis(500);
/// Hostile checks after which the server's memory is read, and the time after which their callers give up.
const HOSTILE_CHECKS: usize = 1_000;
const GIVE_UP: Duration = Duration::from_millis(100);
/// A schema that many policies could have.
const SCHEMA: &str =
    r#"{"type":"object","required":["mark","text"],"properties":{"mark":{"type":"integer"},"text":{"type":"string"}}}"#;
/// Parentheses or brackets of a content that no parser may follow down.
const DEEP: usize = 100_000;

impl BenchRun {
    /// Measures checks.
    pub async fn checks(&mut self) -> Result<()> {
        for _ in 0..self.rounds {
            self.report.add("checks", "SQLite", OURS, once(self.quick).await);
        }
        Ok(())
    }
}

async fn once(is_quick: bool) -> Result<Vec<LatencySample>> {
    let share = if is_quick { 10 } else { 1 };
    let place = HubDirectory::new(None)?;
    let hub = BenchHub::start_on(Core::Any, &place)?;
    let client = hub.client().await?;
    hub::seed(&client, QUIET, KIB).await?;
    hub::create_namespace(&client, HOSTILE).await?;
    let checked = version(&client, QUIET, "checked", pb::PolicyKind::Json, SCHEMA, hub::content(KIB, 1)).await?;
    let plain = version(&client, QUIET, "plain", pb::PolicyKind::Json, "", hub::content(KIB, 1)).await?;
    let endless = version(&client, HOSTILE, "endless", pb::PolicyKind::Json, &endless_schema(), b"{}".into()).await?;
    let mut samples = stages(&client, &plain, &checked, STAGES / share).await?;
    samples.extend(beside(&client, &checked, &endless, WINDOWS.div_ceil(share)).await?);
    samples.extend(memory(&hub, &client, endless, HOSTILE_CHECKS / share).await?);
    hub.process.end()?;
    Ok(samples)
}

/// Measures a stage of a content without untrusted text in its rules, and of one with a schema.
async fn stages(client: &Client, plain: &str, checked: &str, rounds: usize) -> Result<Vec<LatencySample>> {
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        without.push(timed(stage(client, plain)).await?);
        with.push(timed(stage(client, checked)).await?);
    }
    let (without, with) = (percentile(&mut without, 50)?, percentile(&mut with, 50)?);
    Ok(vec![
        LatencySample::new("stage without a worker", "µs", without * 1e3),
        LatencySample::new("stage with a worker", "µs", with * 1e3),
    ])
}

/// Measures calls of a tenant, alone and beside hostile checks of another.
async fn beside(client: &Client, checked: &str, endless: &str, windows: usize) -> Result<Vec<LatencySample>> {
    let [mut alone, mut loud] = [CallTimes::default(), CallTimes::default()];
    for _ in 0..windows {
        alone.measure(client, checked).await?;
        let mut hostile = JoinSet::new();
        for _ in 0..HOSTILE_CALLS {
            let (client, endless) = (client.clone(), endless.to_owned());
            hostile.spawn(async move {
                loop {
                    let _refused = stage(&client, &endless).await;
                }
            });
        }
        tokio::time::sleep(SETTLE).await;
        loud.measure(client, checked).await?;
        hostile.shutdown().await;
        tokio::time::sleep(SETTLE).await;
    }
    let mut samples = Vec::new();
    for (what, alone, beside) in [
        ("a rollback", &mut alone.rollbacks, &mut loud.rollbacks),
        ("a publish", &mut alone.publishes, &mut loud.publishes),
    ] {
        for of in [50, 99] {
            let (alone, beside) = (percentile(alone, of)?, percentile(beside, of)?);
            samples.push(LatencySample::new(&format!("p{of} of {what} alone"), "ms", alone));
            samples.push(LatencySample::new(&format!("p{of} of {what} beside"), "ms", beside));
            samples.push(LatencySample::new(&format!("p{of} of {what}, beside ÷ alone"), "", beside / alone));
        }
    }
    Ok(samples)
}

/// Latencies of the calls of the measured tenant, in milliseconds.
#[derive(Debug, Default)]
struct CallTimes {
    rollbacks: Vec<f64>,
    publishes: Vec<f64>,
}

impl CallTimes {
    /// Rolls back, and publishes with a check by a worker, in turn.
    async fn measure(&mut self, client: &Client, checked: &str) -> Result<()> {
        for _ in 0..CALLS {
            client.activate(hub::activate_request(QUIET, &[("p0".to_owned(), 2)])).await?;
            let name = format!("namespaces/{QUIET}/policies/p0");
            let to = Some(pb::rollback_request::To::Version(1));
            let request = pb::RollbackRequest { name, to, reason: "a benchmark".to_owned(), ..Default::default() };
            self.rollbacks.push(timed(client.rollback(request)).await?);
            self.publishes.push(timed(stage(client, checked)).await?);
        }
        Ok(())
    }
}

/// Reads the server's memory before and after hostile checks: deep Cedar and Rego, and a schema without end whose caller gives up.
async fn memory(hub: &BenchHub, client: &Client, endless: String, checks: usize) -> Result<Vec<LatencySample>> {
    let nested = |open: &str, close: &str| format!("{}1{}", open.repeat(DEEP), close.repeat(DEEP));
    let cedar = format!("permit(principal, action, resource) when {{ {} == 1 }};", nested("(", ")"));
    let rego = format!("package p\n\nx := {}\n", nested("[", "]"));
    let cedar = version(client, HOSTILE, "cedar", pb::PolicyKind::Cedar, "", cedar.into_bytes()).await?;
    let rego = version(client, HOSTILE, "rego", pb::PolicyKind::Rego, "", rego.into_bytes()).await?;
    let before = memory_kib(hub.process.id())? / 1024.0;
    let mut calls = JoinSet::new();
    for name in [cedar, rego, endless].iter().cycle().take(checks) {
        if calls.len() >= HOSTILE_CALLS {
            calls.join_next().await.context("a call")??;
        }
        let (client, name) = (client.clone(), name.clone());
        calls.spawn(async move { _ = tokio::time::timeout(GIVE_UP, stage(&client, &name)).await });
    }
    calls.join_all().await;
    let after = memory_kib(hub.process.id())? / 1024.0;
    Ok(vec![
        LatencySample::new("server's memory before hostile checks", "MiB", before),
        LatencySample::new("server's memory after 1,000 hostile checks", "MiB", after),
    ])
}

/// Creates a policy under a schema, drafts its first version, and returns that version's name.
async fn version(
    client: &Client,
    namespace: &str,
    id: &str,
    kind: pb::PolicyKind,
    schema: &str,
    content: Vec<u8>,
) -> Result<String> {
    let settings = pb::PolicySettings { json_schema: schema.to_owned(), ..Default::default() };
    let policy = pb::Policy { kind: kind.into(), settings: Some(settings), ..Default::default() };
    let request = pb::CreatePolicyRequest {
        parent: format!("namespaces/{namespace}"),
        policy_id: id.to_owned(),
        policy: Some(policy),
        ..Default::default()
    };
    client.create_policy(request).await?;
    let parent = format!("namespaces/{namespace}/policies/{id}");
    let request = pb::DraftRequest { parent, content: content.into(), ..Default::default() };
    Ok(client.draft(request).await?.version.context("no draft")?.name)
}

/// Runs the checks of a version and writes nothing, as often as one likes.
async fn stage(client: &Client, name: &str) -> Result<(), ClientError> {
    let request = pb::StageRequest { name: name.to_owned(), validate_only: true, ..Default::default() };
    client.stage(request).await.map(|_| ())
}

/// Returns a schema of 2^60 steps that needs no memory.
fn endless_schema() -> String {
    let of = |number: usize| {
        let next = number + 1;
        format!(r##""a{number}":{{"anyOf":[{{"$ref":"#/$defs/a{next}"}},{{"$ref":"#/$defs/a{next}"}}]}}"##)
    };
    let pairs: Vec<String> = (0..60).map(of).collect();
    format!(r##"{{"not":{{"$ref":"#/$defs/a0"}},"$defs":{{{},"a60":{{"type":"string"}}}}}}"##, pairs.join(","))
}

/// Returns how long a call took, in milliseconds.
async fn timed<T>(call: impl Future<Output = Result<T, ClientError>>) -> Result<f64> {
    let began = Instant::now();
    call.await?;
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

/// Returns a percentile of what was measured.
pub fn percentile(taken: &mut [f64], percent: usize) -> Result<f64> {
    ensure!(!taken.is_empty(), "nothing was measured");
    taken.sort_by(f64::total_cmp);
    taken.get(taken.len() * percent / 100).copied().context("nothing was measured")
}
