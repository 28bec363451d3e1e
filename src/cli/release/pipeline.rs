//! What a release asks of a server, in order: inspect, mark what is there, publish the rest, activate.
//!
//! Invariant: what a step delivered is written to `.state` before the next step begins; what a kill leaves unwritten is
//! found on the server by the next run.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::sync::atomic::AtomicBool;

use futures_util::stream::{self, StreamExt as _};

use super::activation::{Activator, highest_pending, refusal, settled};
use super::arguments::Arguments;
use super::deliver::{Deliverer, is_released};
use super::folder::Key;
use super::git::Git;
use super::inspect::{Found, Inspector, Sound};
use super::outcome::{Activated, Outcome, Report, Told};
use super::plan::Candidate;
use super::state::{Activation, Delivered, Entry, State};
use crate::cli::progress::Progress;
use crate::cli::session::Session;
use crate::cli::text;
use crate::client::name::PolicyId;
use crate::client::pb;
use crate::domain::digest::Digest;

/// Deliveries after which they are written down. More: more is asked again after a kill.
const RECORD_AFTER: usize = 16;

/// Versions of one policy, in order: sound ones, and what is wrong with the others.
type Lane = Vec<(Key, Result<Sound, String>)>;

/// One release.
pub struct Pipeline<'a> {
    pub arguments: &'a Arguments,
    pub git: &'a Git,
    pub state: &'a State,
    pub session: &'a Session,
    /// As it was read, and what this run adds.
    pub delivered: Delivered,
    pub report: &'a mut Report,
}

/// What became of a version, and what `.state` and people must know of it.
struct Noted {
    told: Told,
    entry: Option<Entry>,
    warning: Option<String>,
}

impl Pipeline<'_> {
    /// All of it.
    pub async fn run(mut self, lanes: Vec<Vec<Candidate>>) {
        let (git, client, namespace) = (self.git, &self.session.client, &self.session.namespace);
        let commit = self.report.commit.clone();
        let reason =
            self.arguments.reason.clone().unwrap_or_else(|| format!("release of git commit {}", commit.as_str()));
        let activator = Activator { client, namespace, commit: &commit, reason: &reason };
        let mut waiting = BTreeMap::new();
        if self.arguments.activate {
            match self.settle(&activator).await {
                Ok(sizes) => waiting = sizes,
                Err(problem) => {
                    self.report.problems.push(problem);
                    let keys = lanes.iter().flatten().map(|candidate| &candidate.key);
                    let why = "what waits to be activated is not known";
                    return self.report.told.extend(keys.map(|key| Told::held(key, why)));
                }
            }
        }
        let inspector = Inspector { git, client, namespace, is_silent: AtomicBool::new(false) };
        let jobs = usize::from(self.arguments.jobs);
        let progress = Progress::of(lanes.iter().map(Vec::len).sum::<usize>() as u64, "checking");
        let lanes = inspector.lanes(lanes, jobs, &progress).await;
        drop(progress);
        let lanes = self.mark_present(lanes, &activator).await;
        if self.arguments.activate
            && let Some(refused) = refusal(&sizes(waiting, &lanes))
        {
            self.report.problems.push(refused);
            for (key, sound) in lanes.into_iter().flatten() {
                self.report.told.push(match sound {
                    Ok(_) => Told::held(key, "nothing of this release was published"),
                    Err(error) => Told::failed(key, error),
                });
            }
            return;
        }
        let deliverer = Deliverer {
            inspector: &inspector,
            commit: &commit,
            dry_run: self.arguments.dry_run,
            is_gone: AtomicBool::new(false),
        };
        self.publish(lanes, &deliverer, &activator).await;
        if self.arguments.activate {
            self.activate(&activator).await;
        }
    }

    /// Settles what an earlier run activated and did not live to write down; the sizes of what still waits.
    async fn settle(&mut self, activator: &Activator<'_>) -> Result<BTreeMap<PolicyId, u64>, String> {
        let (mut done, mut sizes) = (Vec::new(), BTreeMap::new());
        for (policy, (key, number)) in highest_pending(&self.delivered) {
            let failed = |error| text::line(&format!("failed to ask for {key}, which waits to be activated: {error}"));
            let version = activator.version(&key).await.map_err(failed)?;
            // The file may come from anybody who may change the repository: what is activated is what the label names.
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

    /// Takes out of the lanes what the server has published.
    async fn mark_present(&mut self, lanes: Vec<Lane>, activator: &Activator<'_>) -> Vec<Lane> {
        let mut left = Vec::with_capacity(lanes.len());
        let mut entries = Delivered::new();
        for lane in lanes {
            let mut rest = Lane::new();
            for (key, sound) in lane {
                let published = sound.as_ref().ok().and_then(|sound| match &sound.found {
                    Found::Version(version) if version.state == i32::from(pb::VersionState::Published) => {
                        Some(version.clone())
                    }
                    _ => None,
                });
                match (sound, published) {
                    (Ok(sound), Some(version)) => {
                        let told = Told { name: key.to_string(), version: version.version, outcome: Outcome::Present };
                        let noted = self.noted(&sound, told, Some(&version), activator).await;
                        self.take(noted, &mut entries);
                    }
                    (sound, _) => rest.push((key, sound)),
                }
            }
            if !rest.is_empty() {
                left.push(rest);
            }
        }
        self.record(entries);
        left
    }

    /// Publishes lanes side by side, each in its order. What is not delivered holds back what comes after it: a label must
    /// be higher than those that are published.
    async fn publish(&mut self, lanes: Vec<Lane>, deliverer: &Deliverer<'_>, activator: &Activator<'_>) {
        let progress = Progress::of(lanes.iter().map(Vec::len).sum::<usize>() as u64, "publishing");
        let jobs = usize::from(self.arguments.jobs);
        let mut finished = Vec::new();
        let mut entries = Delivered::new();
        {
            let this = &self;
            let progress = &progress;
            let mut work = stream::iter(lanes)
                .map(|lane| async move {
                    let (mut noted, mut before): (Vec<Noted>, Option<Key>) = (Vec::new(), None);
                    for (key, sound) in lane {
                        let one = this.one((&key, sound), before.as_ref(), deliverer, activator).await;
                        say_of(&one.told, progress);
                        if one.told.is_left() && before.is_none() {
                            before = Some(key);
                        }
                        noted.push(one);
                    }
                    noted
                })
                .buffer_unordered(jobs);
            while let Some(noted) = work.next().await {
                for one in &noted {
                    entries.extend(one.entry.clone().map(|entry| (one.told.name.clone(), entry)));
                }
                finished.extend(noted);
                if entries.len() >= RECORD_AFTER && !this.arguments.dry_run {
                    // Tried again with everything at the end, and told of then.
                    let _ = this.state.record(std::mem::take(&mut entries));
                }
            }
        }
        let mut entries = Delivered::new();
        for noted in finished {
            self.take(noted, &mut entries);
        }
        self.record(entries);
    }

    async fn one(
        &self,
        (key, sound): (&Key, Result<Sound, String>),
        before: Option<&Key>,
        deliverer: &Deliverer<'_>,
        activator: &Activator<'_>,
    ) -> Noted {
        let alone = |told| Noted { told, entry: None, warning: None };
        match (before, sound) {
            (Some(before), _) => alone(Told::held(key, format!("{before} comes first, and is not delivered"))),
            (None, Err(error)) => alone(Told::failed(key, error)),
            (None, Ok(mut sound)) => {
                let (told, version) = deliverer.deliver(&mut sound).await;
                self.noted(&sound, told, version.as_ref(), activator).await
            }
        }
    }

    /// What is to be known of a version that the server has.
    async fn noted(
        &self,
        sound: &Sound,
        told: Told,
        version: Option<&pb::Version>,
        activator: &Activator<'_>,
    ) -> Noted {
        let Some(version) = version else { return Noted { told, entry: None, warning: None } };
        let digest = Digest::parse("digest", &version.digest).unwrap_or_else(|_| sound.definition.digest.clone());
        let differs = digest != sound.definition.digest;
        let warning = differs.then(|| {
            let (key, number, here) = (&sound.key, version.version, &sound.definition.digest);
            format!("{key} is delivered with other content: version {number} has {digest}, git has {here}")
        });
        let is_ours = match told.outcome {
            Outcome::Published => true,
            Outcome::Present => !differs && is_released(version),
            _ => false,
        };
        let mut waits = false;
        // Asked of every one: it may have been published by a run that was killed before it could activate it; or long ago,
        // and in force since, or once, and somebody rolled back.
        if self.arguments.activate && is_ours {
            match activator.was_in_force(&sound.key.policy, version.version).await {
                Ok(was) => waits = !was,
                Err(error) => {
                    let error = text::line(&format!("failed to ask whether it was in force: {error}"));
                    return Noted { told: Told::failed(&sound.key, error), entry: None, warning };
                }
            }
        }
        let entry = Entry {
            version: version.version,
            digest,
            commit: activator.commit.as_str().to_owned(),
            tree: sound.tree.clone(),
            activation: waits.then_some(Activation::Pending),
        };
        Noted { told, entry: Some(entry), warning }
    }

    fn take(&mut self, noted: Noted, entries: &mut Delivered) {
        entries.extend(noted.entry.map(|entry| (noted.told.name.clone(), entry)));
        self.report.warnings.extend(noted.warning);
        self.report.told.push(noted.told);
    }

    fn record(&mut self, entries: Delivered) {
        self.delivered.extend(entries.clone());
        if !self.arguments.dry_run
            && let Err(error) = self.state.record(entries)
        {
            self.report.problems.push(format!("{error:#}"));
        }
    }

    async fn activate(&mut self, activator: &Activator<'_>) {
        let mut highest = highest_pending(&self.delivered);
        if self.arguments.dry_run {
            let rehearsed = self.report.told.iter().filter(|told| told.outcome == Outcome::Rehearsed);
            for key in rehearsed.filter_map(|told| Key::parse_written(&told.name)) {
                match highest.get(&key.policy) {
                    Some((other, _)) if other.order(&key).is_ge() => {}
                    _ => _ = highest.insert(key.policy.clone(), (key, 0)),
                }
            }
            let targets: Vec<(Key, i64)> = highest.into_values().collect();
            self.report.activated = (!targets.is_empty()).then_some(Activated { revision: 0, targets });
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

/// Bytes of what one activation would carry: of what waits, and of the highest of each lane.
fn sizes(mut sizes: BTreeMap<PolicyId, u64>, lanes: &[Lane]) -> BTreeMap<PolicyId, u64> {
    let sound = lanes.iter().flatten().filter_map(|(key, sound)| Some((key, sound.as_ref().ok()?)));
    sizes.extend(sound.map(|(key, sound)| (key.policy.clone(), sound.files.size)));
    sizes
}

/// A line for people as it happens; on a terminal there is a bar, and only what went wrong is said.
fn say_of(told: &Told, progress: &Progress) {
    progress.advance(1);
    let (what, name, why) = (told.outcome.word(), &told.name, told.outcome.why());
    if told.is_left() {
        progress.say(&format!("{what} {name}: {why}"));
    } else if !std::io::stderr().is_terminal() {
        let number = if told.version == 0 { String::new() } else { format!(" as version {}", told.version) };
        progress.say(&format!("{what} {name}{number}"));
    }
}
