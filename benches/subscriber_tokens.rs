//! Subscribers with a token of their own each, beside the same ones that share one: the fan-out, and the storm after a cut.
//!
//! Boundary: tokens are those of the local issuer, and one role binding of their group permits them all.

use std::time::Duration;

use anyhow::{Context as _, Result};
use policyhub::client::pb;
use policyhub::server::{DEFAULT_AUDIENCE, issue_token};

use super::hub::{self, BenchHub, HubDirectory};
use super::plan::LatencySample;
use super::report::OURS;
use super::scenarios::{BenchRun, KIB, drive, fan_out_work, resync_once};
use super::target::BenchTarget;

/// Number of subscribers: more than the server remembers tokens of (10,000). The small form has fewer.
const SUBSCRIBERS: usize = 12_000;
const SUBSCRIBERS_QUICK: usize = 1_000;
const GROUP: &str = "fleet";
const TOKEN_LIFETIME: Duration = Duration::from_secs(3_600);

impl BenchRun {
    /// Measures subscribers with one token for all, and with one for each.
    pub async fn subscriber_tokens(&mut self) -> Result<()> {
        let subscribers = if self.quick { SUBSCRIBERS_QUICK } else { SUBSCRIBERS };
        for _ in 0..self.rounds {
            for (case, count) in [("one for all", 1), ("one for each", subscribers)] {
                let samples = measure_tokens(subscribers, count).await;
                self.report.add("tokens", case, OURS, samples);
            }
        }
        Ok(())
    }
}

async fn measure_tokens(subscribers: usize, count: usize) -> Result<Vec<LatencySample>> {
    let target = start(count).await?;
    let mut samples = drive(target.plan(subscribers, 1, fan_out_work(&target, subscribers))).await?;
    target.end()?;
    samples.extend(resync_once(&start(count).await?, subscribers, 1).await?);
    Ok(samples)
}

/// Starts a server whose subscribers have so many tokens.
async fn start(token_count: usize) -> Result<BenchTarget> {
    let place = HubDirectory::new(None)?;
    let hub = BenchHub::start(&place)?;
    let client = hub.client().await?;
    let held = hub::seed(&client, "default", KIB).await?;
    let member = format!("group:local:{GROUP}");
    let binding = pb::RoleBinding { member, role: pb::Role::Subscriber.into(), ..Default::default() };
    let request = pb::CreateRoleBindingRequest {
        parent: "namespaces/default".to_owned(),
        role_binding: Some(binding),
        reason: "a benchmark".to_owned(),
        ..Default::default()
    };
    client.create_role_binding(request).await?;
    let (keys, groups) = (place.keys(), [GROUP.to_owned()]);
    let issue =
        |number: usize| issue_token(&keys, DEFAULT_AUDIENCE, &format!("s-{number:07}"), &groups, TOKEN_LIFETIME);
    let tokens: Result<Vec<String>, _> = (0..token_count).map(issue).collect();
    let mut target = BenchTarget::of_hub(hub, Some(place), held, KIB);
    target.subscriber_tokens = tokens.context("no token")?;
    Ok(target)
}
