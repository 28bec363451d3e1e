//! A watcher in front of a hostile server, on a clock that advances only when the test lets it.
//!
//! Invariant: whatever the server sends, nothing is in force that the honest log does not have.

use std::collections::BTreeMap;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use policyhub::client::RECONNECT_MAX;
use policyhub::client::name::NamespaceId;
use policyhub::client::{
    Active, ActiveSetOptions, Keys, State, Status, Target, TokenSource, Update, View, Watcher, WatcherOptions,
};
use tokio::sync::watch;

use super::hostile_server::{Act, HostileServer, send};
use super::signer::{content_of, set_digest, versions};
use super::watching::DEADLINE;
use policyhub::client::pb::watch_active_response::Message;

/// Number of yields to the runtime after which everything that can happen has happened.
const TURNS: u32 = 2_000;

/// Tokio's clock, paused. For tests that start paused: there, time advances by itself, except while a thread is blocked.
#[derive(Debug)]
pub struct PausedClock {
    _held: Sender<()>,
    /// Becomes true when nothing happened for too long by the wall clock.
    late: watch::Receiver<bool>,
}

impl PausedClock {
    pub fn stopped() -> Self {
        let (held, released) = channel::<()>();
        let (late, is_late) = watch::channel(false);
        let (alive, ended) = channel::<()>();
        std::thread::spawn(move || {
            if ended.recv_timeout(DEADLINE) == Err(RecvTimeoutError::Timeout) {
                late.send_replace(true);
            }
        });
        tokio::task::spawn_blocking(move || {
            let _ = released.recv();
            drop(alive);
        });
        Self { _held: held, late: is_late }
    }

    /// Waits as long as the longest pause of a watcher.
    pub async fn longest_pause(&self) {
        tokio::time::advance(RECONNECT_MAX).await;
    }

    async fn before_late<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut late = self.late.clone();
        tokio::select! {
            done = future => Some(done),
            _ = late.wait_for(|late| *late) => None,
        }
    }
}

/// A watcher and its server.
#[derive(Debug)]
pub struct WatcherFixture<'a> {
    pub hostile: HostileServer,
    pub watcher: Watcher,
    pub view: View,
    clock: &'a PausedClock,
}

impl<'a> WatcherFixture<'a> {
    /// Returns a watcher that holds the set of a revision and then receives `lie` on the same stream. Revision 0: it holds nothing.
    pub async fn holding(clock: &'a PausedClock, revision: i64, lie: impl FnOnce(&HostileServer) -> Vec<Act>) -> Self {
        Self::with(clock, false, revision, lie).await
    }

    /// Returns such a watcher that learns its keys from the server.
    pub async fn learning(clock: &'a PausedClock, revision: i64, lie: impl FnOnce(&HostileServer) -> Vec<Act>) -> Self {
        Self::with(clock, true, revision, lie).await
    }

    async fn with(
        clock: &'a PausedClock,
        learns: bool,
        revision: i64,
        lie: impl FnOnce(&HostileServer) -> Vec<Act>,
    ) -> Self {
        let (hostile, endpoint) = HostileServer::listen().await;
        let truth = (revision > 0).then(|| send(Message::Snapshot(hostile.signer.snapshot(revision))));
        let lie = lie(&hostile);
        hostile.script().streams.push_front(truth.into_iter().chain(lie).collect());
        let watcher = Watcher::open(WatcherOptions {
            source: Target::new(endpoint).with_token(TokenSource::Text("secret".to_owned())).into(),
            namespace: NamespaceId::parse("namespace", "default").expect("an id"),
            keys: if learns { Keys::Learned } else { Keys::Pinned(hostile.signer.keys()) },
            set: ActiveSetOptions::default(),
            every_activation: true,
            subscriber_id: "shop-1".to_owned(),
            attributes: BTreeMap::new(),
            directory: None,
        })
        .expect("a watcher");
        let mut fixture = Self { hostile, view: watcher.view(), watcher, clock };
        if revision > 0 {
            fixture.take(revision).await;
        }
        fixture
    }

    /// Accepts the next update, which must be the set of a revision.
    pub async fn take(&mut self, revision: i64) {
        let update = self.next("the truth").await;
        assert_eq!(update.active.cursor.revision, revision);
        assert_same(&update.active, revision);
        self.watcher.accept().await;
        self.holds(revision);
    }

    pub async fn next(&mut self, what: &str) -> Update {
        let next = self.clock.before_late(self.watcher.next()).await;
        next.unwrap_or_else(|| panic!("{what}: no update ever; {:?}", self.view.status()))
    }

    /// Checks that exactly the set of a revision is in force; 0: nothing.
    #[track_caller]
    pub fn holds(&self, revision: i64) {
        match self.view.active() {
            None => assert_eq!(revision, 0, "nothing is in force"),
            Some(active) => assert_same(&active, revision),
        }
    }

    /// Drives the watcher until its status is as wanted. Fails when an update is offered meanwhile.
    pub async fn until(&mut self, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        let looked = self.until_or_update(what, wanted).await;
        looked.unwrap_or_else(|update| panic!("{what}: offered {update:?}"))
    }

    /// Drives the watcher until its status is as wanted, or returns the update that is offered before.
    pub async fn until_or_update(
        &mut self,
        what: &str,
        wanted: impl Fn(&Status) -> bool,
    ) -> Result<Status, Box<Update>> {
        let mut view = self.view.clone();
        let looking = async {
            while !wanted(&view.status()) {
                assert!(view.changed().await);
            }
            view.status()
        };
        tokio::select! {
            update = self.watcher.next() => Err(Box::new(update)),
            status = self.clock.before_late(looking) => {
                Ok(status.unwrap_or_else(|| panic!("{what}: never; {:?}", self.view.status())))
            }
        }
    }

    /// Drives the watcher until it has opened this many streams and has none open.
    pub async fn until_cut(&mut self, what: &str, streams: usize) -> Status {
        let hostile = self.hostile.clone();
        self.until(what, |status| !status.is_connected && hostile.script().asked.len() >= streams).await
    }

    /// Drives the watcher while the clock stands still; nothing may happen.
    pub async fn idle(&mut self) {
        let turns = async {
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            update = self.watcher.next() => panic!("offered {update:?}"),
            () = turns => {}
        }
    }

    /// Makes the server honest: the watcher must reach the newest set, accept only honest sets on the way, and report no error.
    pub async fn converges(&mut self, what: &str) {
        self.clock.longest_pause().await;
        self.hostile.become_honest();
        while self.view.active().is_none_or(|active| active.cursor.revision < 10) {
            let update = self.next(what).await;
            assert_same(&update.active, update.active.cursor.revision);
            self.watcher.accept().await;
        }
        self.until(what, |status| status.state == State::Ready && status.problem.is_empty() && status.is_connected)
            .await;
        self.holds(10);
    }

    /// Returns how many streams were requested, and whether the last request asked for a snapshot.
    pub fn asked(&self) -> (usize, bool) {
        let received = self.hostile.script();
        (received.asked.len(), received.asked.last().is_some_and(|request| request.targets[0].resume.is_none()))
    }

    pub async fn advance(&self, time: Duration) {
        tokio::time::advance(time).await;
    }
}

#[track_caller]
fn assert_same(active: &Active, revision: i64) {
    let expected = versions(revision);
    let found = active.policies.values().map(|policy| (policy.policy.to_string(), policy.version)).collect();
    assert_eq!(expected, found);
    assert_eq!(active.digest, set_digest(&expected));
    for policy in active.policies.values() {
        assert_eq!(policy.content, Some(content_of(policy.policy.as_str(), policy.version)));
    }
}
