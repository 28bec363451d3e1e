//! Runs the steps of a release that need a server: inspect, mark what is present, publish the rest, activate.
//!
//! Invariant: what a step delivered is written to `.state` before the next step begins; the next run finds on the server what a
//! kill left unwritten.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use futures_util::stream::{self, StreamExt as _};

use crate::cli::global::Global;
use crate::cli::output::text;
use crate::cli::release::activation::{Activator, highest_pending, refusal, settled};
use crate::cli::release::arguments::ReleaseArguments;
use crate::cli::release::deliver::{Deliverer, is_released};
use crate::cli::release::delivered_file::{Delivered, DeliveredActivation, DeliveredVersion};
use crate::cli::release::folder::FolderVersion;
use crate::cli::release::git::Git;
use crate::cli::release::inspect::{Inspected, Inspector};
use crate::cli::release::outcome::{FolderResult, ReleaseActivation, ReleaseReport, VersionOutcome};
use crate::cli::release::plan::PlannedVersion;
use crate::cli::release::publish_together::Publisher;
use crate::cli::release::rehearse;
use crate::cli::release::request_ids::RequestIds;
use crate::cli::release::state::ReleaseState;
use crate::cli::release::steps::Steps;
use crate::cli::session::Session;
use crate::client::name::PolicyId;
use crate::client::pb;
use crate::domain::digest::Digest;

/// Deliveries after which `.state` is written. More: a run after a kill asks the server for more of them again.
const RECORD_AFTER: usize = 16;

/// Versions of one policy, in order.
type Queue = Vec<Inspected>;

/// Runs one release.
pub struct Pipeline<'a> {
    pub arguments: &'a ReleaseArguments,
    pub git: &'a Git,
    pub state: &'a ReleaseState,
    pub global: &'a Global,
    pub session: &'a Session,
    /// The deliveries that were read, and those that this run adds.
    pub delivered: Delivered,
    pub report: &'a mut ReleaseReport,
}

/// The result of a version, with its entry for `.state` and what to report.
struct NotedResult {
    result: FolderResult,
    entry: Option<DeliveredVersion>,
    warning: Option<String>,
}

impl Pipeline<'_> {
    /// Runs all steps.
    pub async fn run(mut self, queues: Vec<Vec<PlannedVersion>>) {
        let (git, client, namespace) = (self.git, &self.session.client, &self.session.namespace);
        let commit = self.report.commit.clone();
        let reason =
            self.arguments.reason.clone().unwrap_or_else(|| format!("release of git commit {}", commit.as_str()));
        let ids = RequestIds::new(&commit);
        let activator = Activator { client, namespace, commit: &commit, ids: &ids, reason: &reason };
        let mut waiting = BTreeMap::new();
        if self.arguments.activate {
            match self.settle(&activator).await {
                Ok(sizes) => waiting = sizes,
                Err(problem) => {
                    self.report.problems.push(problem);
                    let keys = queues.iter().flatten().map(|planned| &planned.key);
                    let why = "what waits to be activated is not known";
                    return self.report.results.extend(keys.map(|key| FolderResult::held(key, why)));
                }
            }
        }
        let inspector = Inspector { git, client, namespace, is_silent: AtomicBool::new(false) };
        let jobs = usize::from(self.arguments.jobs);
        let steps = Steps::of(queues.iter().map(Vec::len).sum::<usize>(), "checking", "checked");
        let queues = inspector.queues(queues, jobs, || steps.advance()).await;
        drop(steps);
        let queues = self.mark_present(queues, &activator).await;
        if self.arguments.activate
            && let Some(refused) = refusal(&sizes(waiting, &queues))
        {
            self.report.problems.push(refused);
            let top = git.top();
            self.report.results.extend(queues.iter().flatten().map(|one| match &one.validated {
                Ok(_) => FolderResult::held(&one.key, "nothing of this release was published"),
                Err(fault) => FolderResult::at_fault(top, &one.key, fault),
            }));
            return;
        }
        let deliverer = Deliverer {
            inspector: &inspector,
            commit: &commit,
            ids: &ids,
            publisher: Publisher::new(client, namespace, &ids),
            dry_run: self.arguments.dry_run,
            allow_backport: self.arguments.allow_backport,
            is_gone: AtomicBool::new(false),
            allowed: Mutex::default(),
        };
        let rehearsed = self.publish(queues, &deliverer, &activator).await;
        self.check_rehearsed(rehearsed, &inspector).await;
        let allowed = deliverer.allowed.into_inner().unwrap_or_else(PoisonError::into_inner);
        let was = if self.arguments.dry_run { "would be" } else { "was" };
        let notes = allowed.iter().map(|(policy, key)| format!("allow_backport of {policy} {was} set, for {key}"));
        self.report.notes.extend(notes);
        if self.arguments.activate {
            self.activate(&activator).await;
        }
    }

    /// Settles what an earlier run activated without recording it; returns the sizes of what is still pending.
    async fn settle(&mut self, activator: &Activator<'_>) -> Result<BTreeMap<PolicyId, u64>, String> {
        let (mut done, mut sizes) = (Vec::new(), BTreeMap::new());
        for (policy, (key, number)) in highest_pending(&self.delivered) {
            let failed = |error| text::line(&format!("failed to ask for {key}, which waits to be activated: {error}"));
            let version = activator.version(&key).await.map_err(failed)?;
            // Anybody who can change the repository can change this file: the version that the label names is activated, not this number.
            if version.version != number {
                return Err(format!(
                    "delivered.json says that {key} is version {number}, the server that it is {}: nothing is activated by a \
                     wrong number; correct it, or remove the entry",
                    version.version
                ));
            }
            if activator.was_in_force(&policy, number).await.map_err(failed)? {
                done.push(policy);
            } else {
                sizes.insert(policy, u64::try_from(version.size_bytes).unwrap_or(0));
            }
        }
        self.record(settled(&self.delivered, |key| done.contains(&key.policy)));
        Ok(sizes)
    }

    /// Removes from the queues what the server has published.
    async fn mark_present(&mut self, queues: Vec<Queue>, activator: &Activator<'_>) -> Vec<Queue> {
        let mut left = Vec::with_capacity(queues.len());
        let mut entries = Delivered::new();
        for queue in queues {
            let mut rest = Queue::new();
            for one in queue {
                let Some(version) = one.found.published().cloned() else {
                    rest.push(one);
                    continue;
                };
                let result =
                    FolderResult { version: version.version, ..FolderResult::of(&one.key, VersionOutcome::Present) };
                let noted = self.noted(&one, result, Some(&version), activator).await;
                self.take(noted, &mut entries);
            }
            if !rest.is_empty() {
                left.push(rest);
            }
        }
        self.record(entries);
        left
    }

    /// Publishes queues concurrently, each in its order. Versions are independent: one that fails does not stop the others. Returns what
    /// a dry run would have published.
    async fn publish(&mut self, queues: Vec<Queue>, deliverer: &Deliverer<'_>, activator: &Activator<'_>) -> Queue {
        let (doing, done) = if self.arguments.dry_run { ("rehearsing", "rehearsed") } else { ("publishing", "tried") };
        let steps = Steps::of(queues.iter().map(Vec::len).sum::<usize>(), doing, done);
        let jobs = usize::from(self.arguments.jobs);
        let mut finished = Vec::new();
        let mut entries = Delivered::new();
        {
            let (this, steps) = (&self, &steps);
            let mut work = stream::iter(queues)
                .map(|queue| async move {
                    let mut noted: Vec<(NotedResult, Inspected)> = Vec::with_capacity(queue.len());
                    for mut one in queue {
                        let (result, version) = deliverer.deliver(&mut one).await;
                        steps.advance();
                        noted.push((this.noted(&one, result, version.as_ref(), activator).await, one));
                    }
                    noted
                })
                .buffer_unordered(jobs);
            while let Some(noted) = work.next().await {
                for (one, _) in &noted {
                    entries.extend(one.entry.clone().map(|entry| (one.result.name.clone(), entry)));
                }
                finished.extend(noted);
                if entries.len() >= RECORD_AFTER && !this.arguments.dry_run {
                    // On failure it is written again at the end, with all entries, and reported then.
                    let _ = this.state.record(std::mem::take(&mut entries));
                }
            }
        }
        drop(steps);
        let (mut entries, mut rehearsed) = (Delivered::new(), Queue::new());
        for (noted, one) in finished {
            rehearsed.extend((noted.result.outcome == VersionOutcome::Rehearsed).then_some(one));
            self.take(noted, &mut entries);
        }
        self.record(entries);
        rehearsed
    }

    /// Runs the checks of what a dry run would have published: the server runs them only for a draft.
    async fn check_rehearsed(&mut self, rehearsed: Queue, inspector: &Inspector<'_>) {
        let allow_backport = self.arguments.allow_backport;
        match rehearse::check(self.global, self.session, inspector, rehearsed, allow_backport).await {
            Ok(checked) => self.report.take_checked(checked),
            Err(error) => self.report.problems.push(text::line(&format!("failed to run the checks: {error:#}"))),
        }
    }

    /// Returns what to record of a version that the server has.
    async fn noted(
        &self,
        one: &Inspected,
        result: FolderResult,
        version: Option<&pb::Version>,
        activator: &Activator<'_>,
    ) -> NotedResult {
        let left_out = left_out(one, &result);
        let Some(version) = version else { return NotedResult { result, entry: None, warning: left_out } };
        let Ok(digest) = Digest::parse("digest", &version.digest) else {
            let result = FolderResult {
                outcome: VersionOutcome::failed("the server names a version without a digest"),
                ..result
            };
            return NotedResult { result, entry: None, warning: None };
        };
        let (key, number) = (&one.key, version.version);
        let warning = match &one.validated {
            Err(fault) => {
                Some(format!("{key} is delivered as version {number}, and its folder is broken today: {fault}"))
            }
            Ok(validated) if validated.definition.digest != digest => Some(format!(
                "{key} is delivered with other content: version {number} has {digest}, git has {}",
                validated.definition.digest
            )),
            Ok(_) => left_out,
        };
        let is_ours = match result.outcome {
            VersionOutcome::Published => true,
            VersionOutcome::Present => warning.is_none() && is_released(version),
            _ => false,
        };
        let mut waits = false;
        // Ask for each version: a run may have been killed after publishing and before activating it; or it was active long ago,
        // still is, or was rolled back.
        if self.arguments.activate && is_ours {
            match activator.was_in_force(&key.policy, number).await {
                Ok(was) => waits = !was,
                Err(error) => {
                    let error = text::line(&format!("failed to ask whether it was in force: {error}"));
                    return NotedResult {
                        result: FolderResult { outcome: VersionOutcome::failed(error), ..result },
                        entry: None,
                        warning,
                    };
                }
            }
        }
        let entry = DeliveredVersion {
            version: number,
            digest,
            commit: activator.commit.as_str().to_owned(),
            tree: one.tree.clone(),
            time: published_at(version),
            activation: waits.then_some(DeliveredActivation::Pending),
        };
        NotedResult { result, entry: Some(entry), warning }
    }

    fn take(&mut self, noted: NotedResult, entries: &mut Delivered) {
        entries.extend(noted.entry.map(|entry| (noted.result.name.clone(), entry)));
        self.report.warnings.extend(noted.warning);
        self.report.results.push(noted.result);
    }

    fn record(&mut self, entries: Delivered) {
        self.delivered.extend(entries.clone());
        if !self.arguments.dry_run
            && let Err(error) = self.state.record(entries)
        {
            self.report.problems.push(text::line(&format!("{error:#}")));
        }
    }

    async fn activate(&mut self, activator: &Activator<'_>) {
        let mut highest = highest_pending(&self.delivered);
        if self.arguments.dry_run {
            let rehearsed = self.report.results.iter().filter(|result| result.outcome == VersionOutcome::Rehearsed);
            for key in rehearsed.filter_map(|result| FolderVersion::parse_written(&result.name)) {
                match highest.get(&key.policy) {
                    Some((other, _)) if other.order(&key).is_ge() => {}
                    _ => _ = highest.insert(key.policy.clone(), (key, 0)),
                }
            }
            let targets: Vec<(FolderVersion, i64)> = highest.into_values().collect();
            self.report.activated = (!targets.is_empty()).then_some(ReleaseActivation { revision: 0, targets });
            return;
        }
        match activator.activate(&highest, &mut self.report.notes).await {
            Ok(activated) => {
                self.report.activated = activated;
                self.record(settled(&self.delivered, |key| highest.contains_key(&key.policy)));
            }
            Err(error) => {
                let error = text::line(&error.to_string());
                self.report.problems.push(format!("failed to activate; what is published waits for it: {error}"));
            }
        }
    }
}

/// Returns the bytes of content in one activation: of what is pending, and of the highest version of each queue.
fn sizes(mut sizes: BTreeMap<PolicyId, u64>, queues: &[Queue]) -> BTreeMap<PolicyId, u64> {
    let validated = queues.iter().flatten().filter_map(|one| Some((&one.key, one.validated.as_ref().ok()?)));
    sizes.extend(validated.map(|(key, validated)| (key.policy.clone(), validated.definition.size)));
    sizes
}

/// Returns the message about members of `metadata.json` that were not kept with a version.
fn left_out(one: &Inspected, result: &FolderResult) -> Option<String> {
    let definition = &one.validated.as_ref().ok()?.definition;
    definition.left_out_of(&one.key).filter(|_| result.outcome.is_sent())
}

/// Returns when the server published a version; empty when unset.
fn published_at(version: &pb::Version) -> String {
    version.publish_time.as_ref().map(|time| text::time(Some(time))).unwrap_or_default()
}
