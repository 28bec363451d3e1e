//! The watcher: keeps a runtime at the one active set, for as long as it runs.
//!
//! Boundary: spawns nothing; who holds it drives it by [`Watcher::next`] and [`Watcher::drive`]. Invariants: a set is offered only after all of it
//! verified, and never an older one; what is in force outlives outages, restarts and every message that does not verify.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::active_set::{ActiveSet, ActiveSetOptions, SetChange};
use super::cache::{Cache, Mark, Saved, SavedSet};
use super::channel::RpcClient;
use super::clock::now_seconds;
use super::error::ClientError;
use super::pinned_file::PinnedFile;
use super::reconnect::Pauses;
pub use super::reconnect::RECONNECT_MAX;
use super::source::Source;
use super::watch::{Connection, WatchError, look_at_pins};
use policyhub_core::domain::Reason;
use policyhub_core::domain::event::{Cursor, Position};
use policyhub_core::domain::name::NamespaceId;
use policyhub_core::signing::KeySet;

mod ahead;
mod builder;
mod look_ahead;
mod offers;
mod report;
mod saved;
mod status;
mod stream;
#[cfg(test)]
mod tests;

use ahead::Ahead;
pub use builder::WatcherBuilder;
pub use offers::{Offer, Offers};
use report::{Report, Reporter};
pub use status::clocks_differ;
pub use status::{Active, Behind, State, Status, StoreState, View};
use status::{Refused, Shown};

/// Most messages that are verified before the newest set is offered. Without a bound, a server that sends faster than it is
/// verified would keep the runtime from hearing anything.
const MESSAGES_AHEAD_MAX: usize = 1_000;

/// Which keys are trusted.
#[derive(Debug)]
#[non_exhaustive]
pub enum Keys {
    /// These, known from elsewhere, and those that key statements of the store add when a trusted key signed them.
    Pinned(KeySet),
    /// Those of a file, which is read again when it changes. Unless it is strict, key statements add to it.
    PinnedFile(PinnedFile),
    /// Those the server names: who answers at its address is trusted, so use `https`.
    Learned,
}

/// What to hold, and how.
#[derive(Debug)]
pub struct WatcherOptions {
    /// The server.
    pub source: Source,
    /// Whose active set.
    pub namespace: NamespaceId,
    /// Whom to believe.
    pub keys: Keys,
    /// Which policies, and how much of them. With `latest` the server leaves out what a slow stream did not take yet: what a
    /// runtime wants, unless it needs [`Self::every_activation`].
    pub set: ActiveSetOptions,
    /// Whether the set after each activation is offered, in order, also when the same versions were activated again. Without
    /// it, a runtime that is behind is offered the newest one alone, and the versions that it has are not offered again.
    pub every_activation: bool,
    /// Stable id of this runtime; empty: anonymous, and nothing is reported. After a server said that it belongs to another
    /// principal, the next stream is opened without it, with a warning, and the one after that asks under it again: after five
    /// minutes at the latest.
    pub subscriber_id: String,
    /// What the runtime says of itself, such as its zone.
    pub attributes: BTreeMap<String, String>,
    /// Where the last known good set is kept over restarts, in a directory of its own; none: it is not.
    pub directory: Option<PathBuf>,
}

/// A set that the runtime should take: verified, whole, and newer than the one in force.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Update {
    /// All of it.
    pub active: Arc<Active>,
    /// It is the one that was in force before a restart.
    pub from_disk: bool,
}

/// A runtime's watch of the active policies of a namespace. `client/examples/runtime.rs` is a runtime in full:
///
/// ```no_run
/// # use policyhub_client::{Client, Update};
/// # async fn run(client: Client) -> Result<(), Box<dyn std::error::Error>> {
/// let watcher = client.namespace("shop")?.watcher().subscriber_id("shop-1").attribute("zone", "a");
/// let mut watcher = watcher.directory("/var/lib/shop/policies").open()?;
/// let view = watcher.view(); // clone it into whatever decides: view.active(), view.status()
/// loop {
///     let update = watcher.next().await;
///     match watcher.drive(load(&update)).await {
///         Ok(()) => watcher.accept().await,
///         Err(reason) => watcher.reject(reason).await,
///     }
/// }
/// # }
/// # async fn load(update: &Update) -> Result<(), &'static str> {
/// #     update.active.get("pricing").map(drop).ok_or("pricing is needed here")
/// # }
/// ```
#[derive(Debug)]
pub struct Watcher {
    source: Source,
    namespace: NamespaceId,
    learn_keys: bool,
    pinned: Option<PinnedFile>,
    reporter: Reporter,
    cache: Option<Cache>,
    /// The newest that was verified.
    set: ActiveSet,
    /// Given out by `next`, and not answered yet.
    offered: Option<Update>,
    /// To be given out by `next`, the oldest first. One at most, unless every activation is wanted.
    waiting: VecDeque<Update>,
    every_activation: bool,
    /// Since when a verified set waits for the runtime, in seconds since the Unix epoch.
    behind_since_seconds: Option<i64>,
    ahead: Ahead,
    rejected: Option<Rejected>,
    /// What is in force is not on the disk as it is.
    unsaved: bool,
    /// Why the pinned keys are not on the disk as they are.
    pins_problem: Option<String>,
    /// The server was told that a stream did not verify, and not yet that one does again.
    told_refusal: bool,
    opening: Option<Opening>,
    link: Option<Link>,
    pauses: Pauses,
    /// The next stream begins with a snapshot.
    afresh: bool,
    /// Views were told that nothing proves the set to be the newest.
    was_stale: bool,
    /// When the log was told last that a key statement was left aside.
    left_aside: Option<Instant>,
    shown: watch::Sender<Shown>,
}

/// The set that the runtime could not use.
#[derive(Debug)]
struct Rejected {
    active: Arc<Active>,
    reason: String,
}

/// A stream on its way. It is kept here, so that a try outlives whoever stops waiting for it.
struct Opening(Pin<Box<dyn Future<Output = Result<Link, ClientError>> + Send>>);

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opening")
    }
}

/// An open stream.
#[derive(Debug)]
struct Link {
    client: RpcClient,
    connection: Connection,
    since: Instant,
}

impl Watcher {
    /// A watcher, with the set of its directory verified and waiting for [`Self::next`]. Needs no server and does not wait for one.
    ///
    /// What the directory holds and does not verify is left out; [`Status::problem`] says so.
    ///
    /// # Errors
    /// The directory can't be made or read, another process has it, or it is of another store than the one asked for.
    #[doc(hidden)]
    pub fn open(options: WatcherOptions) -> io::Result<Self> {
        let WatcherOptions { source, namespace, keys, set, every_activation, subscriber_id, attributes, directory } =
            options;
        if directory.is_some() && set.metadata_only {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "sets without contents are not kept on disk"));
        }
        let learn_keys = matches!(keys, Keys::Learned);
        let (keys, pinned) = match keys {
            Keys::Pinned(keys) => (keys, None),
            Keys::PinnedFile(file) => (file.keys().clone(), Some(file)),
            Keys::Learned => (KeySet::default(), None),
        };
        let follows = !learn_keys && !pinned.as_ref().is_some_and(PinnedFile::is_strict);
        let cache = directory.as_deref().map(Cache::open).transpose()?;
        let set = ActiveSet::new(namespace.clone(), keys, set);
        let set = if follows { set.following_keys() } else { set };
        let mut watcher = Self {
            source,
            namespace,
            learn_keys,
            pinned,
            reporter: Reporter::new(subscriber_id, attributes),
            cache,
            set,
            offered: None,
            waiting: VecDeque::new(),
            every_activation,
            behind_since_seconds: None,
            ahead: Ahead::new(),
            rejected: None,
            unsaved: false,
            pins_problem: None,
            told_refusal: false,
            opening: None,
            link: None,
            pauses: Pauses::new(),
            afresh: false,
            was_stale: true,
            left_aside: None,
            shown: watch::Sender::new(Shown::default()),
        };
        watcher.take_up_saved()?;
        Ok(watcher)
    }

    /// Returns a view for other parts of the process.
    #[must_use]
    pub fn view(&self) -> View {
        View(self.shown.subscribe())
    }

    /// Waits for a set that the runtime does not have yet: at a start the saved one, at once; then each newer one, or with
    /// [`WatcherOptions::every_activation`] each one. Answer it with [`Self::accept`] or [`Self::reject`]; an unanswered one is
    /// not offered again, only what is newer.
    ///
    /// It never ends and never fails: while the server is away, or what it says does not verify, it goes on trying, and
    /// [`View::status`] says why. Dropped while it waits, it loses nothing; but nothing is verified while nobody waits, here
    /// or in [`Self::drive`].
    pub async fn next(&mut self) -> Update {
        loop {
            self.verify_what_came().await;
            if let Some(update) = self.waiting.pop_front() {
                self.offered = Some(update.clone());
                self.show(|_| {});
                return update;
            }
            self.advance().await;
        }
    }

    /// Does some work, such as taking an offered set, and verifies what comes over the stream meanwhile: what is newer is
    /// offered by [`Self::next`], and until it is taken the state is [`State::Behind`].
    pub async fn drive<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            // What is left unread holds the server back: the stream waits, and nothing is lost.
            let verifying = async { if self.is_full() { self.look_ahead().await } else { self.advance().await } };
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = verifying => {}
            }
        }
    }

    /// Verifies messages that are here already, so that a runtime which was slow is not led through each of them.
    async fn verify_what_came(&mut self) {
        if self.every_activation || self.waiting.is_empty() {
            return;
        }
        for _ in 0..MESSAGES_AHEAD_MAX {
            if !self.link.as_mut().is_some_and(|link| link.connection.is_ready()) {
                return;
            }
            self.step().await;
        }
    }

    /// One step of the stream, or the moment at which the set in force gets stale.
    async fn advance(&mut self) {
        let fresh_seconds = self.set.fresh_until_seconds().saturating_sub(now_seconds());
        let fresh_seconds = u64::try_from(fresh_seconds).unwrap_or(0);
        // Views are told when the set in force gets stale, whatever comes meanwhile, and though nothing comes.
        let is_stale = fresh_seconds == 0;
        if is_stale != std::mem::replace(&mut self.was_stale, is_stale) {
            self.show(|_| {});
        }
        if is_stale {
            self.step().await;
        } else {
            let _ = tokio::time::timeout(Duration::from_secs(fresh_seconds), self.step()).await;
        }
    }

    /// Puts the set that was offered in force: it is saved on the disk in place, shown, and reported as applied. A disk that refuses does not undo it:
    /// that is tried again, and [`Status::problem`] says so.
    pub async fn accept(&mut self) {
        let Some(Update { active, from_disk }) = self.offered.take() else { return };
        self.put_in_force(active, from_disk);
        self.pass_over_known();
        self.report().await;
    }

    /// The runtime can't use the set that was offered: the one before stays in force, and the reason is reported. It is offered
    /// again when its versions are activated once more, or after a restart of the process; the next newer one is.
    pub async fn reject(&mut self, reason: &str) {
        let Some(Update { active, .. }) = self.offered.take() else { return };
        let digest = self.in_force().map(|held| held.digest.clone()).unwrap_or_default();
        self.reporter.set(Report { at: active.position(), digest, rejection: Some(reason.to_owned()) });
        self.rejected = Some(Rejected { active, reason: reason.to_owned() });
        self.save_mark();
        self.show(|shown| shown.refused = Some(Refused::Runtime(reason.to_owned())));
        self.pass_over_known();
        self.report().await;
    }

    /// Takes a rejection back: the set is offered again, as when the runtime lacked something that is there now. False: nothing is
    /// rejected, or something newer is offered anyway.
    pub fn reconsider(&mut self) -> bool {
        if self.offered.is_some() || !self.waiting.is_empty() || self.rejected.take().is_none() {
            return false;
        }
        self.waiting.push_back(Update { active: Arc::new(self.newest()), from_disk: false });
        self.show(|shown| shown.refused = shown.refused.take().filter(|refused| matches!(refused, Refused::Stream(_))));
        true
    }

    fn in_force(&self) -> Option<Arc<Active>> {
        self.shown.borrow().active.clone()
    }

    /// What the set holds, as it is offered.
    fn newest(&self) -> Active {
        let Position { cursor, event } = self.set.position().unwrap_or(Cursor::NONE.into());
        let (digest, evidence) = (self.set.digest(), self.set.evidence());
        Active { cursor, event, digest, policies: self.set.held(), evidence }
    }

    fn put_in_force(&mut self, active: Arc<Active>, is_saved: bool) {
        self.rejected = None;
        self.unsaved = !is_saved;
        self.reporter.set(Report { at: active.position(), digest: active.digest.clone(), rejection: None });
        // On the disk before it is shown: what a view once had in force outlives a kill.
        let saved = self.save(&active).err().map(|error| format!("failed to save the set: {error}"));
        let problem = saved.or_else(|| self.set.clock_ahead_seconds().map(clocks_differ));
        let problem = problem.unwrap_or_else(|| self.keys_problem());
        self.save_mark();
        // What verified meanwhile and was refused is newer: taking this one mends nothing of that.
        let is_mended = self.set.newest_verified() <= active.cursor;
        self.show(|shown| {
            shown.active = Some(active);
            if is_mended || !matches!(shown.refused, Some(Refused::Stream(_))) {
                shown.refused = None;
            }
            shown.problem = problem;
        });
    }

    /// Changes what is shown, and tells the views.
    fn show(&mut self, change: impl FnOnce(&mut Shown)) {
        let (newest, fresh_until_seconds) = (self.set.cursor(), self.set.fresh_until_seconds());
        let (is_connected, by_revoked_keys) = (self.link.is_some(), self.set.by_revoked_keys());
        let pending = self.waiting.back().or(self.offered.as_ref()).map(|update| update.active.cursor);
        let since_seconds = pending.map(|_| self.behind_since_seconds.unwrap_or_else(now_seconds));
        self.behind_since_seconds = since_seconds;
        let ahead = &self.ahead;
        self.shown.send_modify(|shown| {
            (shown.newest, shown.fresh_until_seconds) = (newest, fresh_until_seconds);
            (shown.is_connected, shown.by_revoked_keys) = (is_connected, by_revoked_keys);
            change(shown);
            shown.behind = pending.zip(since_seconds).map(|(pending, since_seconds)| {
                let held = shown.active.as_ref().map_or(0, |active| active.cursor.revision);
                Behind { revisions: ahead.newest(pending).revision.saturating_sub(held).max(1), since_seconds }
            });
        });
    }
}
