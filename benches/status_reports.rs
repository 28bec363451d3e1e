//! What a report of a subscriber costs: each says again what it runs with, as a fleet does after an activation.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use policyhub::client::pb;

use super::hub::{self, BenchHub, HubDirectory};
use super::plan::{LatencySample, LoadWork};
use super::report::OURS;
use super::scenarios::{BenchRun, CALLERS, KIB, LOAD_SECONDS, drive};
use super::target::BenchTarget;

/// Subscribers that report in turn, on each connection.
const SUBSCRIBERS: usize = 100;

impl BenchRun {
    /// Measures reports about the active set.
    pub async fn status_reports(&mut self) -> Result<()> {
        for _ in 0..self.rounds {
            let samples = reports_once().await;
            let case = format!("{} subscribers", CALLERS.0 * SUBSCRIBERS);
            self.report.add("reports", &case, OURS, samples);
        }
        Ok(())
    }
}

async fn reports_once() -> Result<Vec<LatencySample>> {
    let place = HubDirectory::new(None)?;
    let hub = BenchHub::start(&place)?;
    let client = hub.client().await?;
    let held = hub::seed(&client, "default", KIB).await?;
    let active = client.get_active(hub::get_active_request("default")).await?;
    let bundle = active.bundle.context("nothing is active")?;
    let set = format!("p0\t{}\t{}\n", bundle.version, bundle.digest);
    let hash = ring::digest::digest(&ring::digest::SHA256, set.as_bytes());
    let mut digest = "sha256:".to_owned();
    for byte in hash.as_ref() {
        write!(digest, "{byte:02x}")?;
    }
    let report = pb::ReportStatusRequest {
        cursor: active.cursor,
        digest,
        status: pb::ApplyStatus::Applied.into(),
        ..Default::default()
    };
    let call = |connection: usize, subscriber: usize| {
        let name = format!("namespaces/default/subscribers/s-{connection}-{subscriber}");
        hub::report_call(&pb::ReportStatusRequest { name, ..report.clone() })
    };
    let calls = (0..CALLERS.0).map(|connection| (0..SUBSCRIBERS).map(|each| call(connection, each)).collect());
    let work = LoadWork::Load { calls: calls.collect(), seconds: LOAD_SECONDS };
    let target = BenchTarget::of_hub(hub, Some(place), held, KIB);
    let mut plan = target.plan(CALLERS.0, CALLERS.1, work);
    // An answer is a message of two bytes, or of none.
    plan.least_bytes = 0;
    drive(plan).await
}
