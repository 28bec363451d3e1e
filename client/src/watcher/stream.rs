//! A watcher and its streams: one after the other, each verified, with pauses in between that no server can abolish.
//!
//! Invariant: a refusal ends the stream it came over, and the next one begins with a snapshot, compared with what is held.

use std::sync::Arc;

use tonic::Code;

use super::{
    Active, ClientError, Duration, Instant, Opening, Reason, RefusalCause, Rejected, RuntimeReport, SetChange,
    StoreState, Update, WatchError, WatchSession, Watcher, clocks_differ, look_at_pins,
};
use crate::pinned_file::PINNED_FILE_INTERVAL;
use crate::refusal::Refusal;
use crate::watch::open_stream;
use policyhub_core::api::pb;
use policyhub_core::domain::event::{Cursor, Position};
use policyhub_core::signing::VerifyError;

/// Between two lines that say that a key statement was left aside. Shorter: a server fills the log.
const LEFT_ASIDE_INTERVAL: Duration = Duration::from_secs(60);

impl Watcher {
    /// Takes one message, or makes one try of a connection.
    pub(super) async fn step(&mut self) {
        let Some(session) = &mut self.session else {
            // The refusal of a stream is reported over its connection, before the next one is opened.
            if self.reporter.is_sending() {
                self.reporter.answered().await;
            } else {
                self.connect().await;
            }
            return;
        };
        let came = tokio::select! {
            is_another_due = self.reporter.answered() => {
                if is_another_due {
                    self.tell();
                }
                return;
            }
            came = session.connection.next(&mut self.set, &mut self.pinned) => came,
        };
        // Save the pins before anything that a new key signed is saved.
        self.save_pins();
        match came {
            Ok(Some((message, change))) => {
                self.note_store(&message);
                self.take(change);
                self.retry_id();
            }
            Ok(None) => {
                let ended = ClientError::local(Code::Unavailable, "the server ended the stream");
                self.drop_connection(&ended);
                self.end_stream(&ended.message, Duration::ZERO);
            }
            Err(WatchError::Call(error)) => self.failed(&error),
            Err(WatchError::Refused { refusal, cursor }) => self.refuse(refusal, cursor),
        }
    }

    /// Waits until it is time, and opens a stream. Who stops waiting and comes back goes on with the same try.
    async fn connect(&mut self) {
        self.wait_for_turn().await;
        if self.opening.is_none() {
            look_at_pins(&mut self.pinned, &mut self.set, true).await;
            self.save_pins();
            self.opening = Some(self.begin_opening());
        }
        let Some(opening) = &mut self.opening else { return };
        let opened = opening.0.as_mut().await;
        self.opening = None;
        match opened {
            Ok(session) => {
                self.session = Some(session);
                self.publish(|_| {});
            }
            Err(error) => self.failed(&error),
        }
    }

    /// Waits for the end of the pause, or for a file of keys that changes: what was refused for its key may be taken now.
    async fn wait_for_turn(&mut self) {
        loop {
            let look = tokio::time::sleep(PINNED_FILE_INTERVAL);
            tokio::select! {
                () = self.pauses.wait() => return,
                () = look, if self.pinned.is_some() && self.opening.is_none() => {}
            }
            if look_at_pins(&mut self.pinned, &mut self.set, true).await {
                return self.save_pins();
            }
        }
    }

    fn begin_opening(&mut self) -> Opening {
        self.set.begin_stream();
        let resume = if self.needs_snapshot { None } else { self.set.resume_point() };
        let (subscriber_id, attributes) = self.reporter.begin_stream();
        let request = self.set.request(subscriber_id, attributes, resume);
        let (source, learn_keys) = (self.source.clone(), self.learn_keys);
        Opening(Box::pin(async move {
            let (client, connection) = open_stream(&source, request, learn_keys).await?;
            Ok(WatchSession { client, connection, since: Instant::now() })
        }))
    }

    fn take(&mut self, change: SetChange) {
        match change {
            SetChange::SnapshotPart { .. }
            | SetChange::ActivationPart { .. }
            | SetChange::Opened { .. }
            | SetChange::Unknown => {}
            SetChange::Keys { newest, refused } => self.note_keys(newest, refused),
            SetChange::Replaced { .. } | SetChange::Activated { .. } => {
                self.needs_snapshot = false;
                self.evaluate();
                self.save_mark();
                self.compare_clocks();
                // Report also what was put in force without the runtime.
                self.tell();
            }
            SetChange::Alive { is_newest, .. } => {
                if !self.compare_clocks() && is_newest {
                    self.record_caught_up();
                }
                self.tell();
            }
            SetChange::Reconnect { reason, backoff } => {
                let asked = format!("the server asks to come back: {reason}");
                self.drop_connection(&ClientError::local(Code::Unavailable, asked.clone()));
                self.end_stream(&asked, backoff);
            }
        }
    }

    /// Puts what the set holds now where [`Watcher::next`] finds it, unless the runtime has it or could not use it.
    fn evaluate(&mut self) {
        let newest = Update { active: Arc::new(self.newest()), from_disk: false };
        let is_last = |last: &Update| last.active.is_of_same_activations(&newest.active);
        if !self.every_activation {
            self.waiting.clear();
        } else if self.waiting.back().is_some_and(is_last) {
            // The same policies at a newer cursor: no activation that the runtime waits for.
            self.waiting.pop_back();
        }
        self.waiting.push_back(newest);
        self.pass_over_known();
    }

    /// Takes the sets from the front that need no answer of the runtime: it has them, or could not use them. What it was
    /// offered comes first: its answer may change which those are.
    pub(super) fn pass_over_known(&mut self) {
        while self.offered.is_none()
            && let Some(first) = self.waiting.front()
        {
            let first = &first.active;
            if self.rejected.as_ref().is_some_and(|rejected| rejected.active.is_of_same_activations(first)) {
                // If it were activated again, it would be offered again.
                self.waiting.pop_front();
            } else if self.in_force().is_some_and(|held| self.needs_no_answer(&held, first))
                && let Some(same) = self.waiting.pop_front()
            {
                // The same policies at a newer cursor, by newer signatures perhaps: nothing for the runtime to do.
                self.put_in_force(same.active, same.from_disk);
            } else {
                break;
            }
        }
        self.publish(|_| {});
    }

    /// Returns whether a newer set is what a runtime has already.
    fn needs_no_answer(&self, held: &Active, newer: &Active) -> bool {
        if self.every_activation { held.is_of_same_activations(newer) } else { held.digest == newer.digest }
    }

    /// Records that a checkpoint proved that nothing is newer than what the set holds.
    fn record_caught_up(&mut self) {
        let moved = self.set.cursor() != self.published.borrow().newest;
        if moved || self.unsaved {
            self.save_mark();
        }
        if self.unsaved
            && let Some(active) = self.in_force()
            && let Err(error) = self.save(&active)
        {
            return self.publish(|published| published.problem = format!("failed to save the set: {error}"));
        }
        let is_verified_again = std::mem::take(&mut self.reported_refusal) && !self.reporter.has_unsent();
        if (is_verified_again || self.reporter.should_repeat())
            && let Some(report) = self.current_report()
        {
            self.reporter.set(report);
        }
        let refused = self.rejected.as_ref().map(|rejected| RefusalCause::Runtime(rejected.reason.clone()));
        let problem = self.keys_problem();
        self.publish(|published| {
            published.problem = problem;
            // The stream verifies again; what the runtime could not use is still what is newest.
            published.refused = refused;
        });
    }

    /// Shows what the server says of its store, when that changed.
    fn note_store(&mut self, message: &pb::WatchActiveResponse) {
        let held = self.published.borrow().store;
        if let Some(store) = StoreState::of(message).filter(|store| *store != held) {
            self.publish(|published| published.store = store);
        }
    }

    /// Says that checkpoints come from the future. True: they do, and prove nothing.
    fn compare_clocks(&mut self) -> bool {
        let Some(ahead) = self.set.clock_ahead_seconds() else { return false };
        self.publish(|published| published.problem = clocks_differ(ahead));
        true
    }

    /// Records that a message did not verify: what is in force stays, the refusal is reported, and the next stream begins with a snapshot.
    fn refuse(&mut self, refusal: Refusal, cursor: Option<Cursor>) {
        let client = self.session.as_ref().map(|session| session.client.clone());
        self.needs_snapshot = true;
        if self.set.cursor().is_some_and(|held| held < self.set.newest_verified()) {
            self.save_mark();
        }
        let text = refusal.to_string();
        let is_unproven = matches!(refusal, Refusal::Signature { .. });
        self.publish(|published| published.refused = Some(RefusalCause::Stream(refusal)));
        self.end_stream(&text, Duration::ZERO);
        // It is reported once, because nothing proves the cursor.
        let held = self.in_force().unwrap_or_default();
        let cursor = cursor.filter(|cursor| *cursor > held.cursor).map(Position::from);
        // A message without a newer cursor, such as a heartbeat by an unknown key: of what is in force nothing can be proven.
        // Another history than the one held is DIVERGED here, and no rejection of what is in force.
        let at = cursor.or_else(|| Some(held.position()).filter(|at| is_unproven && at.cursor > Cursor::NONE));
        if let (Some(client), Some(at)) = (client, at) {
            self.reported_refusal = true;
            let report = RuntimeReport { at, digest: self.digest_in_force(), rejection: Some(text) };
            self.reporter.start_refusal(report, &client, &self.namespace.name());
        }
    }

    /// Says in the log what became of a key statement. One that is older than the pinned keys is nothing to talk about.
    fn note_keys(&mut self, newest: Option<Cursor>, refused: Option<VerifyError>) {
        if let Some(Cursor { epoch, revision }) = newest {
            tracing::info!(epoch, serial = revision, keys = self.set.keys().keys().len(), "took a key statement");
        } else if let Some(error) = refused.filter(|error| !is_of_before(*error)) {
            // A server may send many of them at no cost.
            if self.left_aside.is_none_or(|said| said.elapsed() >= LEFT_ASIDE_INTERVAL) {
                self.left_aside = Some(Instant::now());
                tracing::warn!(%error, "left a key statement aside; others within a minute are not told of");
            }
        }
    }

    fn failed(&mut self, error: &ClientError) {
        if error.reason == Reason::ResumePointGone.as_str() {
            self.needs_snapshot = true;
        }
        if error.reason == Reason::SubscriberIdTaken.as_str() {
            self.reporter.refuse_id();
        }
        self.drop_connection(error);
        self.end_stream(&error.to_string(), error.retry_after.unwrap_or_default());
    }

    /// Says that the connection of the stream is of no use any more, to all who share it.
    fn drop_connection(&self, error: &ClientError) {
        if let Some(session) = &self.session {
            self.source.drop_connection(&session.client, error);
        }
    }

    /// Ends a stream that has been without the subscriber id for long enough: the next one asks under it again.
    fn retry_id(&mut self) {
        if self.session.as_ref().is_some_and(|session| self.reporter.should_retry_id(session.since.elapsed())) {
            self.end_stream("asking again under the subscriber id that a server refused", Duration::ZERO);
        }
    }

    /// Ends the stream. The next try comes after what the server asked for and a jitter on top, both bounded.
    fn end_stream(&mut self, problem: &str, asked: Duration) {
        self.pauses.ended(self.session.take().map(|session| session.since), asked);
        self.publish(|published| {
            problem.clone_into(&mut published.problem);
            published.store = StoreState::default();
        });
    }

    /// Begins to report what was not reported yet.
    pub(super) fn tell(&mut self) {
        if let Some(session) = &self.session {
            self.reporter.start(&session.client, &self.namespace.name());
        }
    }

    /// Reports what was not reported yet, and waits for the answer.
    pub(super) async fn report(&mut self) {
        if self.reporter.is_sending() {
            self.reporter.answered().await;
        }
        self.tell();
        if self.reporter.is_sending() {
            self.reporter.answered().await;
        }
    }

    /// Returns what to report when a checkpoint has just proven that nothing is newer than what the set holds; none while a set waits for the
    /// runtime. The cursor is that of the checkpoint: which event stands there is signed.
    fn current_report(&self) -> Option<RuntimeReport> {
        if let Some(Rejected { active, reason }) = &self.rejected {
            let (at, digest) = (active.cursor.into(), self.digest_in_force());
            return Some(RuntimeReport { at, digest, rejection: Some(reason.clone()) });
        }
        let held = self.in_force()?;
        let at = self.set.position()?;
        (held.digest == self.set.digest()).then(|| RuntimeReport { at, digest: held.digest.clone(), rejection: None })
    }
}

/// Returns whether a key statement was left aside because it is older than the pinned keys: the server sends such to everyone.
fn is_of_before(error: VerifyError) -> bool {
    matches!(error, VerifyError::KeyUnknown | VerifyError::PinNotStated)
}
