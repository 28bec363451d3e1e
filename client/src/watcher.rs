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
use super::snapshot::{PolicyMap, set_digest};
use super::source::StreamSource;
use super::watch::{StreamConnection, WatchError, look_at_pins};
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
use report::{Reporter, RuntimeReport};
pub use status::clocks_differ;
pub use status::{Active, Behind, State, Status, StoreState, View};
use status::{PublishedState, RefusalCause};

/// Most messages that are verified before the newest set is offered. Without a bound, a server that sends faster than it is
/// verified would keep the runtime from hearing anything.
const MESSAGES_AHEAD_MAX: usize = 1_000;

/// Says which keys are trusted.
#[derive(Debug)]
#[non_exhaustive]
pub enum Keys {
    /// It trusts these keys, known from elsewhere, and those that key statements of the store add when a trusted key signed them.
    Pinned(KeySet),
    /// It trusts the keys of a file, which is read again when it changes. Unless it is strict, key statements add to it.
    PinnedFile(PinnedFile),
    /// It trusts the keys that the server names: who answers at its address is trusted, so use `https`.
    Learned,
}

/// Holds what to hold, and how.
#[derive(Debug)]
pub struct WatcherOptions {
    /// The server.
    pub source: StreamSource,
    /// Names the namespace of the active set.
    pub namespace: NamespaceId,
    /// Says whom to believe.
    pub keys: Keys,
    /// Says which policies, and how much of them. With `latest` the server leaves out what a slow stream did not take yet: what a
    /// runtime wants, unless it needs [`Self::every_activation`].
    pub set: ActiveSetOptions,
    /// Says whether the set after each activation is offered, in order, also when the same versions were activated again. Without
    /// it, a runtime that is behind is offered the newest one alone, and the versions that it has are not offered again.
    pub every_activation: bool,
    /// Stable id of this runtime; empty: anonymous, and nothing is reported. After a server said that it belongs to another
    /// principal, the next stream is opened without it, with a warning, and the one after that asks under it again: after five
    /// minutes at the latest.
    pub subscriber_id: String,
    /// Holds what the runtime says of itself, such as its zone.
    pub attributes: BTreeMap<String, String>,
    /// Says where the last known good set is kept over restarts, in a directory of its own; none: it is not.
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
    source: StreamSource,
    namespace: NamespaceId,
    learn_keys: bool,
    pinned: Option<PinnedFile>,
    reporter: Reporter,
    cache: Option<Cache>,
    /// The newest that was verified.
    set: ActiveSet,
    /// Given out by `next`, and not answered yet.
    offered: Option<Update>,
    /// Holds the updates that `next` returns, the oldest first. One at most, unless every activation is wanted.
    waiting: VecDeque<Update>,
    every_activation: bool,
    /// Says since when a verified set waits for the runtime, in seconds since the Unix epoch.
    behind_since_seconds: Option<i64>,
    ahead: Ahead,
    rejected: Option<Rejected>,
    /// Says whether the set in force is not saved on the disk.
    unsaved: bool,
    /// Says why the pinned keys are not on the disk as they are.
    pins_problem: Option<String>,
    /// It was reported to the server that a stream did not verify, and not yet that one does again.
    reported_refusal: bool,
    opening: Option<Opening>,
    session: Option<WatchSession>,
    pauses: Pauses,
    /// The next stream begins with a snapshot.
    needs_snapshot: bool,
    /// Views were notified that nothing proves the set to be the newest.
    was_stale: bool,
    /// Says when it was logged last that a key statement was left aside.
    left_aside: Option<Instant>,
    published: watch::Sender<PublishedState>,
}

/// The set that the runtime could not use.
#[derive(Debug)]
struct Rejected {
    active: Arc<Active>,
    reason: String,
}

/// Holds a stream that is being opened, so that the try survives when its caller stops waiting.
struct Opening(Pin<Box<dyn Future<Output = Result<WatchSession, ClientError>> + Send>>);

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opening")
    }
}

/// An open stream.
#[derive(Debug)]
struct WatchSession {
    client: RpcClient,
    connection: StreamConnection,
    since: Instant,
}

impl Watcher {
    /// Returns a watcher, with the set of its directory verified and waiting for [`Self::next`]. Needs no server and does not wait for one.
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
            reported_refusal: false,
            opening: None,
            session: None,
            pauses: Pauses::new(),
            needs_snapshot: false,
            was_stale: true,
            left_aside: None,
            published: watch::Sender::new(PublishedState::default()),
        };
        watcher.take_up_saved()?;
        Ok(watcher)
    }

    /// Returns a view for other parts of the process.
    #[must_use]
    pub fn view(&self) -> View {
        View(self.published.subscribe())
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
                self.publish(|_| {});
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
            // Unread messages make the server wait (flow control); nothing is lost.
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
            if !self.session.as_mut().is_some_and(|session| session.connection.is_ready()) {
                return;
            }
            self.step().await;
        }
    }

    /// Makes one step of the stream, or waits until the set in force gets stale.
    async fn advance(&mut self) {
        let fresh_seconds = self.set.fresh_until_seconds().saturating_sub(now_seconds());
        let fresh_seconds = u64::try_from(fresh_seconds).unwrap_or(0);
        // Views are notified when the set in force gets stale, whatever comes meanwhile, and though nothing comes.
        let is_stale = fresh_seconds == 0;
        if is_stale != std::mem::replace(&mut self.was_stale, is_stale) {
            self.publish(|_| {});
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

    /// Rejects the set that was offered: the one before stays in force, and the reason is reported. It is offered
    /// again when its versions are activated once more, or after a restart of the process; the next newer one is.
    pub async fn reject(&mut self, reason: &str) {
        let Some(Update { active, .. }) = self.offered.take() else { return };
        let digest = self.digest_in_force();
        self.reporter.set(RuntimeReport { at: active.position(), digest, rejection: Some(reason.to_owned()) });
        self.rejected = Some(Rejected { active, reason: reason.to_owned() });
        self.save_mark();
        self.publish(|published| published.refused = Some(RefusalCause::Runtime(reason.to_owned())));
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
        self.publish(|published| {
            published.refused = published.refused.take().filter(|refused| matches!(refused, RefusalCause::Stream(_)))
        });
        true
    }

    fn in_force(&self) -> Option<Arc<Active>> {
        self.published.borrow().active.clone()
    }

    /// Returns the digest of what is in force. Before anything is, it is that of a set without policies.
    fn digest_in_force(&self) -> String {
        self.in_force().map_or_else(|| set_digest(&PolicyMap::new()), |held| held.digest.clone())
    }

    /// Returns what the set holds, as it is offered.
    fn newest(&self) -> Active {
        let Position { cursor, event } = self.set.position().unwrap_or(Cursor::NONE.into());
        let (digest, evidence) = (self.set.digest(), self.set.evidence());
        Active { cursor, event, digest, policies: self.set.held(), evidence }
    }

    fn put_in_force(&mut self, active: Arc<Active>, is_saved: bool) {
        self.rejected = None;
        self.unsaved = !is_saved;
        self.reporter.set(RuntimeReport { at: active.position(), digest: active.digest.clone(), rejection: None });
        // Save the set before it is published, so that what a view once showed survives a kill.
        let saved = self.save(&active).err().map(|error| format!("failed to save the set: {error}"));
        let problem = saved.or_else(|| self.set.clock_ahead_seconds().map(clocks_differ));
        let problem = problem.unwrap_or_else(|| self.keys_problem());
        self.save_mark();
        // A newer set was refused meanwhile. Accepting this one does not clear that refusal.
        let is_mended = self.set.newest_verified() <= active.cursor;
        self.publish(|published| {
            published.active = Some(active);
            if is_mended || !matches!(published.refused, Some(RefusalCause::Stream(_))) {
                published.refused = None;
            }
            published.problem = problem;
        });
    }

    /// Changes what is shown, and notifies the views.
    fn publish(&mut self, change: impl FnOnce(&mut PublishedState)) {
        let (newest, fresh_until_seconds) = (self.set.cursor(), self.set.fresh_until_seconds());
        let (is_connected, by_revoked_keys) = (self.session.is_some(), self.set.by_revoked_keys());
        let pending = self.waiting.back().or(self.offered.as_ref()).map(|update| update.active.cursor);
        let since_seconds = pending.map(|_| self.behind_since_seconds.unwrap_or_else(now_seconds));
        self.behind_since_seconds = since_seconds;
        let ahead = &self.ahead;
        self.published.send_modify(|published| {
            (published.newest, published.fresh_until_seconds) = (newest, fresh_until_seconds);
            (published.is_connected, published.by_revoked_keys) = (is_connected, by_revoked_keys);
            change(published);
            published.behind = pending.zip(since_seconds).map(|(pending, since_seconds)| {
                let held = published.active.as_ref().map_or(0, |active| active.cursor.revision);
                Behind { revisions: ahead.newest(pending).revision.saturating_sub(held).max(1), since_seconds }
            });
        });
    }
}
