//! A subscriber's cursor: each stream pulls its messages when its socket takes them; nothing is pushed.

use std::sync::Arc;

use bytes::Bytes;

use super::change_signal::Listener;
use super::encode::WatchFilter;
use super::feed::Feed;
use super::fingerprints::resume_point_gone;
use super::frame::Frame;
use super::freshness::{Freshness, PollResult};
use super::pages::LogPage;
use super::ring::After;
use super::sent_key_statements::SentKeyStatements;
use super::view::{ActiveView, Snapshot};
use crate::defect::{Defect, planted};
use crate::domain::command::StartWatch;
use crate::domain::event::{Cursor, Head, Position};
use crate::domain::time::Micros;
use crate::domain::{Error, Reason, Result};

/// Revisions after which a planted defect freezes a stream.
const FROZEN_AFTER_REVISIONS: i64 = 10;

/// What the watches of one stream have in common.
#[derive(Debug, Clone)]
pub struct StreamContext {
    /// The number of the connection. Streams with the same one are woken together.
    pub connection: u64,
    /// How many heartbeat intervals of the server are one of this stream.
    pub heartbeat_multiple: u32,
    /// The key statements that were sent; none when the stream did not ask for them.
    pub keys: Option<Arc<SentKeyStatements>>,
}

/// The watch of one namespace by one stream.
#[derive(Debug)]
pub struct Subscription {
    feed: Arc<Feed>,
    filter: Arc<WatchFilter>,
    latest: bool,
    /// The cursor at which the watch began: its resume point, or that of its snapshot.
    since: Cursor,
    /// Everything up to here was sent; `None` until the snapshot was.
    at: Option<Position>,
    /// Whether the event at its resume point must still be compared with the log: this replica has not read so far.
    is_unverified: bool,
    /// The snapshot that is being sent.
    snapshot: Option<SnapshotProgress>,
    /// The page of the log that is being sent, for a subscriber behind the ring.
    page: Option<Arc<LogPage>>,
    signals: Listener,
    /// Heartbeat ticks that this stream has answered, or that came before it opened.
    ticks: u64,
    /// The key statements that were sent; none when the stream did not ask for them.
    keys: Option<Arc<SentKeyStatements>>,
}

#[derive(Debug)]
struct SnapshotProgress {
    view: Arc<ActiveView>,
    snapshot: Arc<Snapshot>,
    next_part: usize,
    /// Time at which the view was known to be current.
    checked: Micros,
}

impl SnapshotProgress {
    fn begin(feed: &Feed, filter: &Arc<WatchFilter>) -> Self {
        let (view, Freshness { checked, .. }) = feed.view();
        Self { snapshot: view.snapshot(filter), view, next_part: 0, checked }
    }
}

/// The next messages of a subscriber.
#[derive(Debug)]
pub enum WatchStep {
    /// These messages, in order and without others in between.
    Messages(Vec<Bytes>),
    /// No message until the head moves.
    CaughtUp,
}

impl Subscription {
    pub(super) fn open(feed: Arc<Feed>, watch: &StartWatch, stream: StreamContext) -> Result<Self> {
        let StreamContext { connection, heartbeat_multiple, keys } = stream;
        // Subscribe before the cursor is compared, so that a change in between is not missed.
        let signals = feed.signals().listen(connection, heartbeat_multiple);
        // A stream that resumes at the head gets a heartbeat at once; a snapshot has its own checkpoint.
        let ticks = signals.ticks().wrapping_sub(u64::from(watch.resume.is_some()));
        let epoch = feed.head().cursor.epoch;
        if let Some(Position { cursor, .. }) = watch.resume
            && cursor.epoch != epoch
        {
            return Err(resume_point_gone(cursor, epoch));
        }
        let filter = Arc::new(WatchFilter::of(watch));
        let (latest, since) = (watch.latest, watch.resume.map(|at| at.cursor).unwrap_or_default());
        let is_unverified = watch.resume.is_some_and(|at| at.event.is_some());
        let next = |at: Position| Cursor { revision: at.cursor.revision + 1, ..at.cursor }.into();
        let at = if planted(Defect::ResumeOffByOne) { watch.resume.map(next) } else { watch.resume };
        Ok(Self { feed, filter, latest, since, at, is_unverified, snapshot: None, page: None, signals, ticks, keys })
    }

    /// Checks once that the event at the resume point is unchanged, as soon as this replica has read so far.
    ///
    /// # Errors
    /// `RESUME_POINT_GONE`, `DATABASE_UNAVAILABLE`.
    pub(super) async fn check_resume_point(&mut self) -> Result<()> {
        if let Some(at) = self.at.filter(|at| self.is_unverified && at.cursor <= self.feed.head().cursor) {
            self.feed.check(at).await?;
            self.is_unverified = false;
        }
        Ok(())
    }

    /// Returns the messages that are due now. Never waits for a change; reads the database only when it is behind the ring.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`, `DATA_LOSS`, `KEY_STATE_WRONG`, `CONCURRENT_CHANGE`; `NAMESPACE_NOT_FOUND` for one that is gone.
    pub async fn step(&mut self) -> Result<WatchStep> {
        let statements = if planted(Defect::HeartbeatAhead) { self.heartbeat()? } else { self.new_key_statements() };
        if !statements.is_empty() {
            return Ok(WatchStep::Messages(statements));
        }
        let WatchStep::Messages(messages) = self.next_step().await? else { return Ok(WatchStep::CaughtUp) };
        // A new key may have begun to sign while these were made.
        let mut all = self.new_key_statements();
        all.extend(messages);
        Ok(WatchStep::Messages(all))
    }

    /// Returns the key statements that this stream asked for and does not have.
    fn new_key_statements(&self) -> Vec<Bytes> {
        self.keys.as_ref().map(|keys| keys.new_statements(self.feed.source())).unwrap_or_default()
    }

    /// Begins the snapshot of a watch that needs one before its first message is asked for. Only the planted defect does.
    pub(super) fn begin_snapshot(&mut self) {
        if self.at.is_none() {
            self.snapshot = Some(SnapshotProgress::begin(&self.feed, &self.filter));
        }
    }

    async fn next_step(&mut self) -> Result<WatchStep> {
        // Only signals from here on count as new.
        self.signals.mark_seen();
        if self.feed.freshness().last_poll == PollResult::Deleted {
            return Err(self.feed.namespace().not_found());
        }
        if self.is_unverified {
            Box::pin(self.check_resume_point()).await?;
        }
        loop {
            if self.snapshot.is_some() || self.at.is_none() {
                return match self.part() {
                    Err(error) if error.reason == Reason::KeyStateWrong => Box::pin(self.signed_again(error)).await,
                    part => part.map(|part| WatchStep::Messages(vec![part])),
                };
            }
            let Some(at) = self.at else { continue };
            let frame = match self.paged(at) {
                Some(frame) => frame,
                None => match self.feed.after(self.at.unwrap_or(at).cursor) {
                    (After::Next(frame), _) => frame,
                    (After::CaughtUp, head) => {
                        // Skip events that moved no pointer; a cursor ahead of the head stays.
                        self.pass_over(head);
                        return Ok(WatchStep::CaughtUp);
                    }
                    (After::Behind, head) if !self.latest && planted(Defect::DropOnFull) => {
                        self.at = Some(head.into());
                        continue;
                    }
                    (After::Behind, _) if !self.latest => {
                        // Boxed: thousands of streams that never read the database need not carry its state.
                        match Box::pin(self.read_page()).await {
                            Ok(()) => continue,
                            // The next events may be lost: the stream waits until an operator decides.
                            Err(error) => match Box::pin(self.feed.source().store.or_suspected_loss(error)).await {
                                error if error.reason == Reason::StoreInDoubt => return Ok(WatchStep::CaughtUp),
                                error => return Err(error),
                            },
                        }
                    }
                    (After::Behind | After::EpochBefore, _) => {
                        self.at = None;
                        continue;
                    }
                },
            };
            let source = self.feed.source();
            if frame.concerns(&self.filter) && !frame.is_believed(source) {
                // The subscriber would reject it: it gets a snapshot of the current active set instead.
                (self.at, self.page) = (None, None);
                continue;
            }
            let messages = frame.messages(self.feed.namespace(), &self.filter, source)?;
            self.at = Some(frame.head().into());
            if let Some(messages) = messages {
                source.counts.messages_taken.add();
                return Ok(WatchStep::Messages(messages));
            }
        }
    }

    /// Returns the next frame of the current page. A page that was sent completely is dropped, and the cursor moves past its last events,
    /// which moved no pointer.
    fn paged(&mut self, at: Position) -> Option<Arc<Frame>> {
        let page = self.page.as_ref()?;
        if let Some(frame) = page.after(at.cursor) {
            return Some(Arc::clone(frame));
        }
        let end = page.end;
        // Keep the page until the ring is reached: the next page must follow its end.
        if !matches!(self.feed.after(end.cursor), (After::Behind, _)) {
            self.page = None;
        }
        self.pass_over(end);
        None
    }

    /// Moves the cursor to the end of what was read, past events that moved no pointer.
    fn pass_over(&mut self, end: Head) {
        if self.at.is_none_or(|at| at.cursor < end.cursor) {
            self.at = Some(end.into());
        }
    }

    async fn read_page(&mut self) -> Result<()> {
        let at = self.at.map(|at| at.cursor).unwrap_or_default();
        let known = self.page.take().map(|page| page.end).filter(|end| end.cursor == at);
        self.page = Some(self.feed.page(at, known, !self.filter.wants_all()).await?);
        Ok(())
    }

    /// Returns the next part of the snapshot, and begins a snapshot if there is none.
    ///
    /// # Errors
    /// `KEY_STATE_WRONG` while something in the set is signed by a revoked key.
    fn part(&mut self) -> Result<Bytes> {
        let source = self.feed.source();
        let taking = self.snapshot.get_or_insert_with(|| SnapshotProgress::begin(&self.feed, &self.filter));
        taking.snapshot.check_trusted(source)?;
        source.counts.messages_taken.add();
        let part = taking.next_part;
        if !taking.snapshot.is_last(part) {
            taking.next_part += 1;
            return Ok(taking.snapshot.part(self.feed.namespace(), part, source));
        }
        // Use the time at which this view was last current: a slow reader must not get a fresh checkpoint.
        let (newest, Freshness { checked, .. }) = self.feed.view();
        let checked = if newest.head() == taking.view.head() { checked } else { taking.checked };
        let checkpoint = self.feed.checkpoint(&taking.view, checked)?;
        let message = taking.snapshot.last(self.feed.namespace(), &taking.view, &self.filter, &checkpoint, source);
        self.since = taking.view.head().cursor;
        let sent_up_to = if planted(Defect::SnapshotThenSubscribe) { self.feed.head() } else { taking.view.head() };
        self.at = Some(sent_up_to.into());
        (self.snapshot, self.page) = (None, None);
        Ok(message)
    }

    /// Handles a snapshot that has something signed by a revoked key. It was signed again before the revocation, if at all: the stream
    /// waits for the log to continue, and begins a new snapshot.
    async fn signed_again(&mut self, refusal: Error) -> Result<WatchStep> {
        let Some(taking) = self.snapshot.take() else { return Err(refusal) };
        if taking.next_part > 0 {
            let message = "the keys changed while the snapshot was taken; watch again";
            return Err(Error::new(Reason::ConcurrentChange, message));
        }
        let namespace = self.feed.namespace();
        let heads = self.feed.source().store.heads(std::slice::from_ref(namespace)).await?;
        let goes_on = heads.into_iter().any(|(_, head)| head.cursor > taking.view.head().cursor);
        if goes_on { Ok(WatchStep::CaughtUp) } else { Err(refusal) }
    }

    /// Returns the number of revisions from the cursor at which the watch began to its cursor of now.
    fn sent_revisions(&self) -> i64 {
        self.at.map_or(0, |at| at.cursor.revision - self.since.revision)
    }

    /// Logs that the reader read nothing for too long, and from where it can resume.
    pub fn give_up(&self) {
        self.feed.source().counts.streams_given_up.add();
        let namespace = self.feed.namespace();
        tracing::info!(%namespace, resume = ?self.at.map(|at| at.cursor), "closed a watch whose reader took nothing");
    }

    /// Waits until the head has moved since the last step, or a heartbeat is due.
    pub async fn moved(&mut self) {
        if planted(Defect::FrozenStream) && self.sent_revisions() >= FROZEN_AFTER_REVISIONS {
            // The fault harness counts only schedules in which a server logged this.
            tracing::warn!("a planted defect froze a stream");
            std::future::pending::<()>().await;
        }
        self.signals.changed().await;
    }

    /// Returns the heartbeat that is due at this cursor, after the key statements that must precede it; none when it is not this stream's
    /// turn, or while other messages are due first.
    ///
    /// # Errors
    /// `INTERNAL` when signing fails.
    pub fn heartbeat(&mut self) -> Result<Vec<Bytes>> {
        let ticks = self.signals.ticks();
        let is_due = ticks != self.ticks;
        let Some(mut at) = self.at.filter(|_| is_due).map(|at| at.cursor) else { return Ok(Vec::new()) };
        if planted(Defect::HeartbeatAhead) {
            at = self.feed.head().cursor;
        }
        let Some(heartbeat) = self.feed.heartbeat(at, &self.filter)? else { return Ok(Vec::new()) };
        self.ticks = ticks;
        self.feed.source().counts.messages_taken.add();
        let mut messages = self.new_key_statements();
        messages.push(heartbeat);
        Ok(messages)
    }
}
