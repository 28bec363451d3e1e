//! Writers: they draft, publish, activate, roll back and deactivate concurrently, and repeat a write with the same request id when its
//! outcome is unknown.

use std::sync::Arc;
use std::time::Duration;

use policyhub::api::pb;
use policyhub::client::signing::digest_of;
use tokio::time::{sleep, timeout};
use tonic::{Request, Status};

use super::calls::{Answer, FaultCaller, TRY_MAX, outcome};
use super::check::record::{Effect, Fate, Intent, OperationOutcome, RecordedOperation, Try};
use super::plan::FaultPlan;
use super::recorder::{KnownWrites, Recorder};
use super::rng::Rng;

/// Number of tries of one write while faults are active.
const TRIES_MAX: usize = 6;
/// A deadline so short that it often expires inside the commit.
const HASTY_MS: u64 = 40;

/// A write to be sent, as often as needed.
#[derive(Debug, Clone)]
pub struct PlannedWrite {
    pub request_id: String,
    pub intent: Intent,
    content: String,
}

impl PlannedWrite {
    async fn send(&self, caller: &FaultCaller, deadline: Duration) -> Answer {
        let (mut policy, namespace) = (caller.policy.clone(), &caller.namespace);
        let request_id = self.request_id.clone();
        let reason = "a schedule".to_owned();
        let made = |version: Option<pb::Version>| version.map(|version| (version.name, version.digest));
        match &self.intent {
            Intent::Draft { policy: id, .. } => {
                let request = pb::DraftRequest {
                    parent: format!("{namespace}/policies/{id}"),
                    content: self.content.clone().into(),
                    content_type: "application/yaml".to_owned(),
                    allow_missing: true,
                    request_id,
                    ..Default::default()
                };
                let answer = policy.draft(timed(request, deadline)).await?.into_inner();
                Ok(Effect {
                    revision: answer.cursor.map_or(0, |cursor| cursor.revision),
                    version: made(answer.version),
                })
            }
            Intent::Publish { policy: id, version, activate } => {
                let name = format!("{namespace}/policies/{id}/versions/{version}");
                let request =
                    pb::PublishRequest { name, activate: *activate, reason, request_id, ..Default::default() };
                let answer = policy.publish(timed(request, deadline)).await?.into_inner();
                Ok(Effect {
                    revision: answer.cursor.map_or(0, |cursor| cursor.revision),
                    version: made(answer.version),
                })
            }
            Intent::Activate { targets } => {
                let target = |(id, version, expected): &(String, i64, Option<i64>)| pb::ActivateTarget {
                    policy: format!("{namespace}/policies/{id}"),
                    to: Some(pb::activate_target::To::Version(*version)),
                    expected_active: *expected,
                };
                let (parent, targets) = (namespace.clone(), targets.iter().map(target).collect());
                let request = pb::ActivateRequest { parent, targets, reason, request_id, ..Default::default() };
                let answer = policy.activate(timed(request, deadline)).await?.into_inner();
                Ok(Effect { revision: answer.cursor.map_or(0, |cursor| cursor.revision), version: None })
            }
            Intent::Rollback { policy: id } => {
                let name = format!("{namespace}/policies/{id}");
                let request = pb::RollbackRequest { name, reason, request_id, ..Default::default() };
                let answer = policy.rollback(timed(request, deadline)).await?.into_inner();
                Ok(Effect { revision: answer.cursor.map_or(0, |cursor| cursor.revision), version: None })
            }
            Intent::Deactivate { policy: id, expected } => {
                let (name, expected_active) = (format!("{namespace}/policies/{id}"), *expected);
                let request = pb::DeactivateRequest { name, expected_active, reason, request_id, ..Default::default() };
                let answer = policy.deactivate(timed(request, deadline)).await?.into_inner();
                Ok(Effect { revision: answer.cursor.map_or(0, |cursor| cursor.revision), version: None })
            }
        }
    }

    /// Makes one try and records it.
    pub async fn attempt(&self, recorder: &Recorder, replica: usize, caller: &FaultCaller, deadline: Duration) -> Try {
        let start = recorder.now();
        // The caller waits longer than the server's deadline, so that a late answer is received.
        let answer = timeout(deadline + Duration::from_millis(50), self.send(caller, deadline)).await;
        let answer = answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("the caller gave up")));
        Try { replica, start, end: recorder.now(), outcome: outcome(answer) }
    }
}

fn timed<T>(message: T, deadline: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(deadline);
    request
}

/// Returns whether a refusal is about the database, or about a concurrent change.
pub fn may_work_later(reason: &str) -> bool {
    reason.starts_with("DATABASE_") || ["LOCK_TIMEOUT", "CONCURRENT_CHANGE"].contains(&reason)
}

/// Returns whether another try may have another outcome.
fn again(outcome: &OperationOutcome) -> bool {
    match outcome {
        OperationOutcome::Unknown(_) => true,
        OperationOutcome::Refused(reason) => may_work_later(reason),
        OperationOutcome::Acknowledged(_) => false,
    }
}

/// One writer.
pub struct FaultWriter {
    pub number: usize,
    pub rng: Rng,
    pub plan: Arc<FaultPlan>,
    pub recorder: Arc<Recorder>,
    pub callers: Arc<[FaultCaller]>,
}

impl FaultWriter {
    /// Writes until it is told to stop. Returns the writes with an unknown outcome.
    pub async fn run(mut self) -> Vec<(PlannedWrite, RecordedOperation)> {
        let mut unknown = Vec::new();
        let mut count = 0;
        while !self.recorder.stopped() {
            count += 1;
            let write = self.next(count);
            let operation = self.write(&write).await;
            if matches!(operation.fate(), Fate::Unknown) {
                unknown.push((write, operation));
            } else {
                self.recorder.operation(operation);
            }
        }
        unknown
    }

    async fn write(&mut self, write: &PlannedWrite) -> RecordedOperation {
        let (request_id, intent) = (write.request_id.clone(), write.intent.clone());
        let mut operation = RecordedOperation { request_id, intent, tries: Vec::new() };
        let tries_max = if self.rng.chance(75) { TRIES_MAX } else { 1 };
        loop {
            let replica = self.rng.below(self.callers.len());
            let deadline =
                if self.rng.chance(6) { Duration::from_millis(self.rng.between(1, HASTY_MS)) } else { TRY_MAX };
            let tried = write.attempt(&self.recorder, replica, &self.callers[replica], deadline).await;
            let (goes_on, done) = (again(&tried.outcome), matches!(tried.outcome, OperationOutcome::Acknowledged(_)));
            operation.tries.push(tried);
            // Repeat some acknowledged requests: the answer must be the same.
            let curious = done && operation.tries.len() == 1 && self.rng.chance(8);
            if done && !curious {
                self.learn(&operation);
                return operation;
            }
            if !curious && (!goes_on || operation.tries.len() >= tries_max || self.recorder.stopped()) {
                // Pause: a writer that is refused at once must not fill the history with refusals.
                sleep(Duration::from_millis(self.rng.between(1, 30))).await;
                return operation;
            }
            sleep(Duration::from_millis(self.rng.between(5, 120))).await;
        }
    }

    fn learn(&self, operation: &RecordedOperation) {
        self.recorder.count_acknowledged();
        let Fate::Acknowledged(effect) = operation.fate() else { return };
        let number = |name: &str| name.rsplit('/').next().and_then(|number| number.parse().ok()).unwrap_or(0);
        match (&operation.intent, &effect.version) {
            (Intent::Draft { policy, .. }, Some((name, _))) => {
                self.recorder.add_version(policy, KnownWrites { number: number(name), published: false });
            }
            (Intent::Publish { policy, version, activate }, _) => {
                self.recorder.mark_published(policy, *version);
                if *activate {
                    self.recorder.believe(policy, *version);
                }
            }
            (Intent::Activate { targets }, _) => {
                targets.iter().for_each(|(policy, version, _)| self.recorder.believe(policy, *version));
            }
            (Intent::Deactivate { policy, .. }, _) => self.recorder.believe(policy, 0),
            _ => {}
        }
    }

    /// Returns its next write.
    fn next(&mut self, count: usize) -> PlannedWrite {
        let request_id = format!("s{}-w{}-{count}", self.plan.seed, self.number);
        let policy = self.rng.pick(&self.plan.policies).clone();
        let drafts = self.recorder.versions(&policy, false);
        let published = self.recorder.versions(&policy, true);
        let intent = match self.rng.below(100) {
            0..20 => None,
            20..45 if !drafts.is_empty() => {
                Some(Intent::Publish { version: *self.rng.pick(&drafts), activate: self.rng.chance(50), policy })
            }
            45..85 if !published.is_empty() => Some(self.activation(policy, &published)),
            85..93 if published.len() > 1 => Some(Intent::Rollback { policy }),
            93..100 if !published.is_empty() => {
                let expected =
                    self.rng.chance(50).then(|| self.recorder.believed(&policy)).filter(|active| *active > 0);
                Some(Intent::Deactivate { policy, expected })
            }
            _ => None,
        };
        match intent {
            Some(intent) => PlannedWrite { request_id, intent, content: String::new() },
            None => self.draft(request_id),
        }
    }

    fn draft(&mut self, request_id: String) -> PlannedWrite {
        let policy = self.rng.pick(&self.plan.policies).clone();
        let filler = usize::try_from(self.rng.between(1, self.plan.content_max_bytes)).expect("a small number");
        let content = format!("by: {request_id}\nfiller: {}\n", "x".repeat(filler));
        let digest = digest_of(content.as_bytes()).to_string();
        PlannedWrite { request_id, intent: Intent::Draft { policy, digest }, content }
    }

    fn activation(&mut self, policy: String, published: &[i64]) -> Intent {
        let mut targets = Vec::new();
        let recorder = Arc::clone(&self.recorder);
        let mut target = |rng: &mut Rng, policy: String, published: &[i64]| {
            let expected = rng.chance(60).then(|| recorder.believed(&policy));
            targets.push((policy, *rng.pick(published), expected));
        };
        let others: Vec<String> = self.plan.policies.iter().filter(|other| **other != policy).cloned().collect();
        target(&mut self.rng, policy, published);
        for other in others {
            let published = self.recorder.versions(&other, true);
            if !published.is_empty() && self.rng.chance(25) {
                target(&mut self.rng, other, &published);
            }
        }
        Intent::Activate { targets }
    }
}
