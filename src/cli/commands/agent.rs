//! `policyhub agent`
//!
//! Boundary: connects the watcher and the folder. Invariant: each verified set is acknowledged once, when it is in force or
//! refused; until then the one before stays.

use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::cli::agent::applier::{Applier, ApplierCommands, ApplyVerdict};
use crate::cli::agent::folder::{Folder, Held};
use crate::cli::agent::hook::Hook;
use crate::cli::agent::set::Candidate;
use crate::cli::agent::status::StatusWriter;
use crate::cli::commands::keys;
use crate::cli::commands::watch::label;
use crate::cli::global::Global;
use crate::cli::names::policy_id;
use crate::cli::output::document::{say, show_warnings};
use crate::cli::output::text;
use crate::cli::session;
use crate::client::name::{NamespaceId, PolicyId};
use crate::client::{Active, Keys, State, Update, View, Watcher, WatcherOptions};
use crate::client::{ActiveSetOptions, Cursor};

/// Longest pause before a set that the disk refused is written again; it begins with a second and doubles.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Keep the active set of a namespace as files, and run a command on each change
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  policyhub agent --dir /var/lib/policies --jwks keys.json --hook 'systemctl reload shop'\n  \
                        policyhub agent --dir policies pricing limits --check './try.sh \"$POLICYHUB_SET\"'\n  \
                        policyhub agent --dir policies --once"
)]
pub struct AgentArguments {
    /// Ids of policies [default: all of the namespace]
    #[arg(value_name = "POLICY", value_parser = policy_id)]
    policies: Vec<PolicyId>,
    /// The folder: `current` in it leads to the set in force, `status.json` says how it is
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The keys to trust, as a JWK Set; read again when it changes [default: those the server names]
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// Trust the keys of --jwks alone: leave aside the key statements by which a rotation is followed
    #[arg(long, requires = "jwks")]
    pin_strict: bool,
    /// Take nothing but what this store signed, from the first message on: its id, as `keys list` shows it [default: the store of
    /// the first message that is taken over]
    #[arg(long, value_name = "ID")]
    store: Option<String>,
    /// Stable id of this runtime, shown to operators [default: one made for this folder]
    #[arg(long, value_name = "ID")]
    subscriber_id: Option<String>,
    /// Attribute of this runtime, shown to operators; may be given again
    #[arg(long = "attribute", alias = "label", value_name = "KEY=VALUE", value_parser = label)]
    attributes: Vec<(String, String)>,
    /// Run by `sh -c` before a set comes in force; unless it exits with 0 the set is rejected
    #[arg(long, value_name = "COMMAND")]
    check: Option<String>,
    /// Run by `sh -c` after a set came in force; unless it exits with 0 the set is rejected and the one before is back
    #[arg(long, value_name = "COMMAND")]
    hook: Option<String>,
    /// How long either may take before it is killed
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = text::parse_duration)]
    hook_timeout: Duration,
    /// How many sets are kept, with the one in force
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    keep: u16,
    /// How often the server shows that what is in force is the newest, up to 30s; a dead stream is noticed after three times as long
    /// [default: as the server is configured, 10s unless said]
    #[arg(long, value_name = "DURATION", value_parser = text::parse_duration)]
    heartbeat_interval: Option<Duration>,
    /// Take each activation, one after the other [default: the newest set, when the commands are slower than activations]
    #[arg(long)]
    every_activation: bool,
    /// End once the newest set is in force: 0; 1 when it is rejected or there is no answer in time
    #[arg(long)]
    once: bool,
    /// How long --once waits for the server
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = text::parse_duration, requires = "once")]
    wait: Duration,
}

/// Runs the agent until a signal ends it.
pub async fn run(global: &Global, arguments: AgentArguments) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    let (once, wait) = (arguments.once, arguments.wait);
    show_warnings();
    let working = async {
        let agent = Agent::open(global, arguments).await?;
        if !once {
            return agent.follow(false).await;
        }
        match tokio::time::timeout(wait, agent.follow(true)).await {
            Ok(ended) => ended,
            Err(_) => anyhow::bail!("no newest set is in force after {} s", wait.as_secs()),
        }
    };
    // Work in progress is dropped: each step on the disk is atomic, and a command is killed.
    tokio::select! {
        ended = working => ended,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

/// Interval between two status reports while a command runs. Shorter: `status.json` is written for each of many activations.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

/// A watcher and the folder that it fills.
struct Agent {
    watcher: Watcher,
    applier: Applier,
    status: StatusWriter,
    namespace: NamespaceId,
    /// Whether each activation is applied, in order.
    every_activation: bool,
}

/// A set that the disk refused.
struct Pending {
    update: Update,
    at: Instant,
    pause: Duration,
    trouble: String,
}

impl Agent {
    async fn open(global: &Global, arguments: AgentArguments) -> anyhow::Result<Self> {
        let command = |what: &'static str, command: Option<String>| {
            command.map(|command| Hook { what, command, timeout: arguments.hook_timeout })
        };
        let (check, hook) = (command("--check", arguments.check), command("--hook", arguments.hook));
        let keys = match &arguments.jwks {
            Some(path) => Keys::PinnedFile(keys::pinned_file(path, arguments.pin_strict)?),
            None => {
                say("trusting the keys that this server names; give --jwks to trust only keys you know");
                Keys::Learned
            }
        };
        let folder = Folder::open(&arguments.dir, arguments.keep.into())?;
        let subscriber_id = match arguments.subscriber_id {
            Some(id) => id,
            None => folder.own_id()?,
        };
        let watched = folder.watcher_directory();
        let options = WatcherOptions {
            source: session::target(global)?.into(),
            namespace: global.namespace()?,
            keys,
            set: ActiveSetOptions {
                policies: arguments.policies.into_iter().collect(),
                latest: !arguments.every_activation,
                metadata_only: false,
                store: arguments.store,
                heartbeat_interval: arguments.heartbeat_interval,
            },
            every_activation: arguments.every_activation,
            subscriber_id,
            attributes: arguments.attributes.into_iter().collect(),
            directory: Some(watched.clone()),
        };
        let watcher = Watcher::open(options).with_context(|| format!("failed to open {}", watched.display()))?;
        let status = StatusWriter::new(&folder, global.namespace()?, global.output);
        let commands = ApplierCommands { check, hook, for_each_activation: arguments.every_activation };
        let applier = Applier::open(folder, &global.namespace()?, commands).await?;
        let (namespace, every_activation) = (global.namespace()?, arguments.every_activation);
        Ok(Self { watcher, applier, status, namespace, every_activation })
    }

    /// Keeps the folder at the newest set; with `once`, returns when it is reached.
    async fn follow(mut self, once: bool) -> anyhow::Result<()> {
        let mut view = self.watcher.view();
        let mut pending: Option<Pending> = None;
        let mut compared = None;
        let mut is_asked = false;
        loop {
            let status = view.status();
            // Asks after each set, and on each connection.
            is_asked = status.is_connected && (is_asked || self.look_for_missing().await);
            let is_done = status.state == State::Ready && pending.is_none() && self.applier.accepted().is_some();
            let trouble = pending.as_ref().map(|pending| pending.trouble.as_str()).unwrap_or_default();
            self.status.status(status, self.applier.accepted(), trouble);
            if once && is_done {
                return Ok(());
            }
            let came = tokio::select! {
                // In this order: a newer set is applied before the status is reported.
                biased;
                came = self.next(pending.as_ref()) => came,
                _ = view.changed() => {
                    self.renew(&view, &mut compared).await;
                    continue;
                }
            };
            // Until a write succeeds, the disk is the reported problem.
            let (again, pause, trouble) = match pending.take() {
                Some(Pending { update, pause, trouble, .. }) => (Some(update), pause, trouble),
                None => (None, Duration::ZERO, String::new()),
            };
            let is_newer = came.is_some();
            let Some(update) = came.or(again) else { continue };
            compared = Some(update.active.cursor);
            is_asked = false;
            pending = match self.take(&update, &trouble).await {
                Ok(ApplyVerdict::Rejected(reason)) if once => anyhow::bail!("rejected: {reason}"),
                Ok(_) => None,
                Err(error) if once => return Err(error),
                Err(error) => {
                    let pause = if is_newer { Duration::ZERO } else { pause };
                    Some(Pending::after(update, pause, &error))
                }
            };
        }
    }

    /// Returns the next set, or `None` when it is time to retry the one that the disk refused. When each activation counts, no
    /// newer set comes before that one.
    async fn next(&mut self, pending: Option<&Pending>) -> Option<Update> {
        let Some(Pending { at, .. }) = pending else { return Some(self.watcher.next().await) };
        if self.every_activation {
            self.watcher.drive(tokio::time::sleep_until(*at)).await;
            return None;
        }
        tokio::time::timeout_at(*at, self.watcher.next()).await.ok()
    }

    /// Reports which requested policies do not exist: otherwise a typo would look like an inactive policy. Returns false when the
    /// server can't be asked.
    async fn look_for_missing(&mut self) -> bool {
        let missing = self.watcher.missing_policies().await;
        missing.map(|missing| self.status.missing(missing)).is_some()
    }

    /// Applies a set. `trouble`: why the disk refused the set before.
    async fn take(&mut self, update: &Update, trouble: &str) -> anyhow::Result<ApplyVerdict> {
        let active = &update.active;
        let set = self.candidate(active)?;
        let Self { watcher, applier, status, .. } = self;
        let (view, held) = (watcher.view(), applier.accepted().cloned());
        let taking = async {
            tokio::select! {
                verdict = applier.take(set, update.from_disk) => verdict,
                never = tell_meanwhile(view, status, held.as_ref(), trouble) => match never {},
            }
        };
        // The watcher goes on verifying while a command runs, so that the status knows the newest set.
        let verdict = watcher.drive(taking).await?;
        match &verdict {
            ApplyVerdict::Unchanged | ApplyVerdict::Renewed => self.watcher.accept().await,
            ApplyVerdict::Applied(changed) => {
                self.status.applied(active.cursor, changed, |policy| Some(active.policies.get(policy)?.as_ref()));
                self.watcher.accept().await;
            }
            ApplyVerdict::Rejected(reason) => {
                self.status.rejected(active.cursor, reason);
                self.watcher.reject(reason).await;
            }
        }
        Ok(verdict)
    }

    /// Applies newer proofs of the same policies, which the watcher accepts by itself, to the files beside the contents.
    async fn renew(&mut self, view: &View, compared: &mut Option<Cursor>) {
        let Some(active) = view.active() else { return };
        let is_same = self.applier.accepted().is_some_and(|held| held.index.digest == active.digest);
        if !is_same || *compared == Some(active.cursor) {
            return;
        }
        *compared = Some(active.cursor);
        let taken = match self.candidate(&active) {
            Ok(set) => self.applier.take(set, true).await,
            Err(error) => Err(error),
        };
        if let Err(error) = taken {
            // The contents are the same. The next set, or the next start, writes the proofs.
            say(&format!("proofs are not renewed: {error:#}"));
        }
    }

    fn candidate(&self, active: &Active) -> anyhow::Result<Candidate> {
        Candidate::new(self.namespace.clone(), active.cursor, active.policies.values().cloned().collect())
    }
}

impl Pending {
    fn after(update: Update, pause: Duration, error: &anyhow::Error) -> Self {
        let pause = pause.saturating_mul(2).clamp(Duration::from_secs(1), RETRY_MAX);
        let kinds = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
        let is_full =
            kinds.into_iter().any(|kind| matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded));
        let trouble = if is_full { format!("disk full: {error:#}") } else { format!("{error:#}") };
        Self { update, at: Instant::now() + pause, pause, trouble }
    }
}

/// Reports the status while a set is being applied.
async fn tell_meanwhile(mut view: View, status: &mut StatusWriter, held: Option<&Held>, trouble: &str) -> Infallible {
    loop {
        status.status(view.status(), held, trouble);
        tokio::time::sleep(TELL_INTERVAL).await;
        if !view.changed().await {
            std::future::pending::<()>().await;
        }
    }
}
