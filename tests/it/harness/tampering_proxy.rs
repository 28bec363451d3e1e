//! A man in the middle of a live gRPC connection: it passes calls on to a real server and rewrites the messages of watches.
//!
//! It has no signing key. Its tasks end with the runtime of the test.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use http::Response;
use http_body::Frame;
use policyhub::client::pb::watch_active_response::Message;
use policyhub::client::{Client, ClientError, pb};
use prost::Message as _;
use tokio::sync::watch;
use tonic::body::Body;
use tonic::{Code, Status, Streaming};

use super::hostile_server::{Frames, framed, serve};

/// What the proxy does with the messages of watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trick {
    /// Passes all of them on.
    Honest,
    /// Leaves out activations.
    Drop,
    /// Sends an old message of the stream before each new one.
    Replay,
    /// Sends each activation after the heartbeat that follows it.
    Reorder,
    /// Replaces newer bundles by the oldest bundle it has seen of each policy.
    OldBundles,
    /// Replaces every cursor by 1:2^62.
    FarPlaces,
    /// Leaves out the last bundle of each message.
    Omit,
    /// Sends nothing and keeps the messages until the trick changes.
    Freeze,
}

/// The proxy. Clones share their state.
#[derive(Debug, Clone)]
pub struct TamperingProxy {
    server: Client,
    trick: Arc<watch::Sender<Trick>>,
    /// The oldest bundle of each policy that passed through.
    seen: Arc<Mutex<BTreeMap<String, pb::Bundle>>>,
    received: Arc<Mutex<usize>>,
}

impl TamperingProxy {
    /// Starts a proxy in front of a server and returns its address. `server` carries the token of the client behind the proxy.
    pub async fn before(server: Client) -> (Self, String) {
        let trick = Arc::new(watch::Sender::new(Trick::Honest));
        let man = Self { server, trick, seen: Arc::default(), received: Arc::default() };
        let answering = man.clone();
        let router = Router::new().fallback(move |request: Request| answering.clone().answer(request));
        (man, serve(router).await)
    }

    /// Sets the trick from now on.
    pub fn play(&self, trick: Trick) {
        *self.received.lock().expect("a number") = 0;
        self.trick.send_replace(trick);
    }

    /// Returns how many messages differed from the server's since the last change of the trick.
    pub fn lies(&self) -> usize {
        *self.received.lock().expect("a number")
    }

    async fn answer(self, request: Request) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let body = axum::body::to_bytes(request.into_body(), 64 * 1024).await.expect("a request").slice(5..);
        let answer = match path.as_str() {
            "/policyhub.v1.SyncService/WatchActive" => {
                let request = pb::WatchActiveRequest::decode(body).expect("a request");
                return match self.server.watch_active(request).await {
                    Ok(messages) => self.respond(messages),
                    Err(error) => refused(&error),
                };
            }
            "/policyhub.v1.SyncService/ReportStatus" => {
                let request = pb::ReportStatusRequest::decode(body).expect("a report");
                self.server.report_status(request).await.map(|answer| answer.encode_to_vec())
            }
            "/policyhub.v1.AdminService/ListSigningKeys" => self
                .server
                .list_signing_keys(pb::ListSigningKeysRequest::default())
                .await
                .map(|answer| answer.encode_to_vec()),
            _ => Err(ClientError::from(Status::unimplemented(path))),
        };
        match answer {
            Ok(answer) => response(stream::iter([framed(0, &answer)])),
            Err(error) => refused(&error),
        }
    }

    fn respond(self, messages: Streaming<pb::WatchActiveResponse>) -> Response<Body> {
        let telling = RewrittenStream { trick: self.trick.subscribe(), man: self, earlier: Vec::new(), held: None };
        let frames = stream::unfold((messages, telling), |(mut messages, mut telling)| async {
            let message = messages.message().await.ok().flatten()?;
            let _ = telling.trick.wait_for(|trick| *trick != Trick::Freeze).await;
            let said = telling.rewritten(message);
            let frames = said.iter().map(|message| framed(0, &message.encode_to_vec()));
            Some((stream::iter(frames.collect::<Vec<Bytes>>()), (messages, telling)))
        });
        response(frames.flatten())
    }
}

fn refused(error: &ClientError) -> Response<Body> {
    Status::new(error.code(), error.message()).into_http()
}

/// Returns a response of these messages with status OK.
fn response(messages: impl stream::Stream<Item = Bytes> + Send + 'static) -> Response<Body> {
    let mut trailers = http::HeaderMap::new();
    Status::new(Code::Ok, "").add_header(&mut trailers).expect("a status");
    let frames = messages.map(Frame::data).chain(stream::iter([Frame::trailers(trailers)])).map(Ok);
    let response = Response::builder().header("content-type", "application/grpc");
    response.body(Body::new(Frames(frames.boxed()))).expect("a response")
}

/// One stream.
struct RewrittenStream {
    man: TamperingProxy,
    trick: watch::Receiver<Trick>,
    /// The earlier messages of the stream.
    earlier: Vec<pb::WatchActiveResponse>,
    /// An activation that is held back.
    held: Option<pb::WatchActiveResponse>,
}

impl RewrittenStream {
    /// Returns the messages that replace this one.
    fn rewritten(&mut self, message: pb::WatchActiveResponse) -> Vec<pb::WatchActiveResponse> {
        self.note(&message);
        let trick = *self.trick.borrow();
        let is_activation = matches!(message.message, Some(Message::Activation(_)));
        let received = match trick {
            Trick::Honest | Trick::Freeze => vec![message.clone()],
            Trick::Drop if is_activation => Vec::new(),
            Trick::Reorder if is_activation => {
                self.held = Some(message.clone());
                Vec::new()
            }
            Trick::Reorder => [message.clone()].into_iter().chain(self.held.take()).collect(),
            Trick::Replay => {
                let proven = |said: &&pb::WatchActiveResponse| {
                    matches!(said.message, Some(Message::Heartbeat(_) | Message::Activation(_)))
                };
                let old = self.earlier.iter().find(proven).filter(|_| is_activation).cloned();
                [message.clone()].into_iter().chain(old).collect()
            }
            Trick::Drop => vec![message.clone()],
            Trick::OldBundles | Trick::FarPlaces | Trick::Omit => vec![self.changed(trick, message.clone())],
        };
        if received != [message.clone()] {
            *self.man.received.lock().expect("a number") += 1;
        }
        self.earlier.push(message);
        received
    }

    /// Keeps the oldest bundle of each policy.
    fn note(&self, message: &pb::WatchActiveResponse) {
        let mut seen = self.man.seen.lock().expect("bundles");
        for bundle in bundles(message) {
            seen.entry(policy_of(bundle)).or_insert_with(|| bundle.clone());
        }
    }

    fn changed(&self, trick: Trick, mut message: pb::WatchActiveResponse) -> pb::WatchActiveResponse {
        let seen = self.man.seen.lock().expect("bundles");
        let old = |bundle: &mut pb::Bundle| bundle.clone_from(seen.get(&policy_of(bundle)).expect("was seen"));
        let far = |cursor: &mut Option<pb::Cursor>| {
            *cursor = Some(pb::Cursor { epoch: 1, revision: 1 << 62, fingerprint: 0 })
        };
        match (trick, &mut message.message) {
            (Trick::OldBundles, Some(Message::Snapshot(part))) => {
                part.bundles.iter_mut().for_each(old);
            }
            (Trick::OldBundles, Some(Message::Activation(part))) => part.bundles.iter_mut().for_each(old),
            (Trick::FarPlaces, Some(Message::Snapshot(part))) => far(&mut part.cursor),
            (Trick::FarPlaces, Some(Message::Activation(part))) => far(&mut part.cursor),
            (Trick::FarPlaces, Some(Message::Heartbeat(heartbeat))) => far(&mut heartbeat.cursor),
            (Trick::Omit, Some(Message::Snapshot(part))) => drop(part.bundles.pop()),
            (Trick::Omit, Some(Message::Activation(part))) => drop(part.bundles.pop()),
            _ => {}
        }
        message
    }
}

fn bundles(message: &pb::WatchActiveResponse) -> Vec<&pb::Bundle> {
    match &message.message {
        Some(Message::Snapshot(part)) => part.bundles.iter().collect(),
        Some(Message::Activation(part)) => part.bundles.iter().collect(),
        _ => Vec::new(),
    }
}

fn policy_of(bundle: &pb::Bundle) -> String {
    bundle.name.split('/').nth(3).expect("a policy").to_owned()
}
