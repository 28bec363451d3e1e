//! One watch: what it received, and what is due next.
//!
//! It is pulled by its connection and holds a cursor for each namespace: no task and no queue of its own.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::stream::{Stream, unfold};
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::Status;

use super::messages;
use super::signer::TestSigner;
use super::state::{HubState, SharedState, over};
use crate::clock::now_seconds;
use policyhub_core::api::status::status;
use policyhub_core::api::{pb, request, response};
use policyhub_core::domain::Result as DomainResult;
use policyhub_core::domain::command::StartWatch;
use policyhub_core::domain::event::Cursor;

type StreamItem = Result<pb::WatchActiveResponse, Status>;

/// An open watch.
#[derive(Debug)]
struct TestStream {
    shared: Arc<SharedState>,
    changes: watch::Receiver<()>,
    namespaces: Vec<WatchedNamespace>,
    /// What is to be sent before anything else.
    due: VecDeque<pb::WatchActiveResponse>,
    /// How often streams had been ended when it was opened.
    disconnects: u64,
    heartbeat_at: Instant,
    has_ended: bool,
}

/// The watch of one namespace.
#[derive(Debug)]
struct WatchedNamespace {
    watch: StartWatch,
    /// Is the last revision that was sent; none before the snapshot.
    at: Option<Cursor>,
}

/// Opens a watch.
///
/// # Errors
/// `INVALID_ARGUMENT`; `NAMESPACE_NOT_FOUND` and `RESUME_POINT_GONE` when no namespace of the request can be watched.
pub(super) fn open(
    shared: Arc<SharedState>,
    asked: &pb::WatchActiveRequest,
) -> Result<impl Stream<Item = StreamItem> + use<>, Status> {
    request::watch_size(asked).map_err(status)?;
    request::watcher(asked).map_err(status)?;
    let watches = request::watch(asked).map_err(status)?;
    let key_cursor = request::key_cursor(asked).map_err(status)?;
    // Listening begins before anything is read: a change in between is heard.
    let changes = shared.listen();
    let mut due = VecDeque::from([response::opened(shared.heartbeat_interval)]);
    if key_cursor.is_some_and(|cursor| cursor < TestSigner::KEY_CURSOR) {
        due.push_back(response::key_statement(shared.signer.key_statement().to_owned()));
    }
    let (mut namespaces, mut refused) = (Vec::new(), None);
    let disconnects = shared.read(|state| {
        for watch in watches {
            let parent = watch.namespace.name();
            match WatchedNamespace::open(state, watch) {
                Ok(watch) => namespaces.push(watch),
                Err(error) => {
                    due.push_back(response::watch_ended(parent, error.clone()));
                    refused = Some(error);
                }
            }
        }
        state.disconnects
    });
    if let Some(error) = refused.filter(|_| namespaces.is_empty()) {
        return Err(status(error));
    }
    // A stream that resumes hears at once whether what it holds is the newest; a snapshot brings a checkpoint of its own.
    let is_resumed = namespaces.iter().any(|watch| watch.at.is_some());
    let heartbeat_at = if is_resumed { Instant::now() } else { Instant::now() + shared.heartbeat_interval };
    let stream = TestStream { shared, changes, namespaces, due, disconnects, heartbeat_at, has_ended: false };
    Ok(unfold(stream, |mut stream| async move { Some((stream.next().await?, stream)) }))
}

impl WatchedNamespace {
    fn open(state: &HubState, watch: StartWatch) -> DomainResult<Self> {
        let log = state.log(&watch.namespace)?;
        let at = watch.resume.map(|position| log.at(position)).transpose()?.map(|found| found.head.cursor);
        Ok(Self { watch, at })
    }

    /// Returns what is due: the snapshot, or the next activation that the watch wants to hear of.
    fn news(&mut self, state: &HubState, signer: &TestSigner) -> DomainResult<Vec<pb::WatchActiveResponse>> {
        let log = state.log(&self.watch.namespace)?;
        let Some(mut at) = self.at else {
            let newest = log.newest();
            let checkpoint = signer.checkpoint(log.namespace(), newest.head, newest.root(), now_seconds())?;
            self.at = Some(newest.head.cursor);
            return Ok(messages::snapshot(newest, &self.watch, &checkpoint));
        };
        let mut received = Vec::new();
        while let Some(next) = log.after(at).filter(|_| received.is_empty()) {
            at = next.head.cursor;
            received = messages::activation(next, &self.watch);
        }
        self.at = Some(at);
        Ok(received)
    }

    fn heartbeat(&self, state: &HubState, signer: &TestSigner) -> DomainResult<pb::WatchActiveResponse> {
        let log = state.log(&self.watch.namespace)?;
        let newest = log.newest();
        let checkpoint = signer.checkpoint(log.namespace(), newest.head, newest.root(), now_seconds())?;
        Ok(messages::heartbeat(newest, &self.watch, &checkpoint))
    }
}

impl TestStream {
    /// Waits for the next message; none after the end.
    async fn next(&mut self) -> Option<StreamItem> {
        if self.has_ended {
            return None;
        }
        loop {
            // A change that comes from here on is a new one.
            self.changes.mark_unchanged();
            match self.take() {
                Ok(Some(message)) => return Some(Ok(self.as_sent(message))),
                Ok(None) => {}
                Err(status) => {
                    self.has_ended = true;
                    return Some(Err(status));
                }
            }
            tokio::select! {
                changed = self.changes.changed() => if changed.is_err() { return None },
                () = tokio::time::sleep_until(self.heartbeat_at), if !self.shared.read(|state| state.is_paused) => {}
            }
        }
    }

    /// Takes what is due now; nothing while there is none, or while the hub is paused.
    fn take(&mut self) -> Result<Option<pb::WatchActiveResponse>, Status> {
        let Self { shared, namespaces, due, .. } = self;
        let is_silent = shared.read(|state| {
            if state.is_over {
                return Err(over());
            }
            if state.disconnects != self.disconnects {
                return Err(Status::unavailable("the testing hub ended its streams"));
            }
            Ok(state.is_paused)
        })?;
        if is_silent {
            return Ok(None);
        }
        if due.is_empty() {
            shared
                .read(|state| {
                    for watch in namespaces.iter_mut() {
                        due.extend(watch.news(state, &shared.signer)?);
                    }
                    // StreamItem everything there is: under the same lock, so that the newest state is what was told.
                    if due.is_empty() && self.heartbeat_at <= Instant::now() {
                        for watch in namespaces.iter() {
                            due.push_back(watch.heartbeat(state, &shared.signer)?);
                        }
                        self.heartbeat_at = Instant::now() + shared.heartbeat_interval;
                    }
                    Ok(())
                })
                .map_err(status)?;
        }
        Ok(due.pop_front())
    }

    /// Breaks what puts something in force, when the test asked for that.
    fn as_sent(&self, mut message: pb::WatchActiveResponse) -> pb::WatchActiveResponse {
        if let Some(document) = messages::document(&mut message)
            && self.shared.takes_tamper()
        {
            messages::break_signature(document);
        }
        message
    }
}
