//! A gRPC server that sends what a test scripts, byte by byte if needed.
//!
//! After its script is played, the next stream waits until the server may be honest. It ends with the runtime of its test.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::Request;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use http::{HeaderMap, HeaderValue, Response};
use http_body::Frame;
use policyhub::client::pb;
use prost::Message as _;
use tokio::sync::watch;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Status};

use super::signer::{HandSigner, message};
use pb::watch_active_response::Message;

/// A step of a scripted stream.
#[derive(Debug, Clone)]
pub enum Act {
    /// Sends these bytes.
    Bytes(Bytes),
    /// Sends these bytes repeatedly without end.
    Forever(Bytes),
    /// Sends nothing until a report arrives, which shows that the earlier messages were received.
    UntilReported,
    /// Ends the stream with this status, in trailers.
    Fail(Status),
    /// Ends the stream with these trailers.
    Trailers(HeaderMap),
    /// Refuses the call with this status, before the stream. Only as the first step.
    Refuse(Status),
    /// Does not answer at all. Only as the first step.
    Hang,
    /// Answers with another HTTP status. Only as the first step.
    Http(u16),
    /// Ends the stream without trailers. Only as the last step.
    Stop,
    /// Resets the stream.
    Break,
    /// Sends nothing, for ever.
    Silence,
    /// Sends nothing until the server may be honest.
    Gate,
}

/// The hostile server. Clones share their state.
#[derive(Debug, Clone)]
pub struct HostileServer {
    /// Signs the log that the server sends when it is honest.
    pub signer: Arc<HandSigner>,
    script: Arc<Mutex<HostileScript>>,
    honest: Arc<watch::Sender<bool>>,
    is_heard: Arc<watch::Sender<bool>>,
}

/// What the server will send, and what it received.
#[derive(Debug, Default)]
pub struct HostileScript {
    /// The scripted streams, in order.
    pub streams: VecDeque<Vec<Act>>,
    /// The script of every stream after those in `streams`.
    pub always: Option<Vec<Act>>,
    /// Pages of ListActive, one for each call.
    pub listed: VecDeque<pb::ListActiveResponse>,
    /// Answers to other calls, by method name. Each answer is used for every call.
    pub answers: HashMap<&'static str, Vec<Act>>,
    /// The answer to reports; without one, reports are accepted.
    pub report: Option<Vec<Act>>,
    /// The answer to requests for keys; without one, the server's own key.
    pub keys: Option<Vec<Act>>,
    /// The watch requests that were received.
    pub asked: Vec<pb::WatchActiveRequest>,
    /// The reports that were received.
    pub reports: Vec<pb::ReportStatusRequest>,
    /// The number of requests for keys.
    pub keys_asked: usize,
}

impl HostileServer {
    /// Starts a server and returns it with its address.
    pub async fn listen() -> (Self, String) {
        let signer = Arc::new(HandSigner::new());
        let flag = || Arc::new(watch::Sender::new(false));
        let hostile = Self { signer, script: Arc::default(), honest: flag(), is_heard: flag() };
        let answering = hostile.clone();
        let router = Router::new().fallback(move |request: Request| answering.clone().answer(request));
        (hostile, serve(router).await)
    }

    pub fn script(&self) -> MutexGuard<'_, HostileScript> {
        self.script.lock().expect("the lies")
    }

    /// Makes the server honest from now on.
    pub fn become_honest(&self) {
        let mut script = self.script();
        script.streams.clear();
        (script.always, script.report, script.keys) = (None, None, None);
        drop(script);
        self.honest.send_replace(true);
    }

    async fn answer(self, request: Request) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let body = axum::body::to_bytes(request.into_body(), 64 * 1024).await.expect("a request");
        let body = body.slice(5..);
        let method = path.rsplit('/').next().unwrap_or_default();
        let script = self.script().answers.get(method).cloned();
        let acts = match path.as_str() {
            _ if script.is_some() => script.unwrap_or_default(),
            "/policyhub.v1.SyncService/WatchActive" => {
                let request = pb::WatchActiveRequest::decode(body).expect("a request");
                let mut script = self.script();
                script.asked.push(request.clone());
                let lie = script.streams.pop_front().or_else(|| script.always.clone());
                lie.unwrap_or_else(|| self.truth(request.targets[0].resume))
            }
            "/policyhub.v1.SyncService/ListActive" => match self.script().listed.pop_front() {
                Some(page) => vec![send_grpc(&page)],
                None => vec![Act::Refuse(Status::unavailable("no page is left"))],
            },
            "/policyhub.v1.SyncService/ReportStatus" => {
                let mut script = self.script();
                script.reports.push(pb::ReportStatusRequest::decode(body).expect("a report"));
                self.is_heard.send_replace(true);
                script.report.clone().unwrap_or_else(|| vec![send_grpc(&pb::ReportStatusResponse { stored: true })])
            }
            "/policyhub.v1.AdminService/ListSigningKeys" => {
                let mut script = self.script();
                script.keys_asked += 1;
                script.keys.clone().unwrap_or_else(|| vec![send_grpc(&keys_of(&self.signer))])
            }
            _ => vec![Act::Refuse(Status::unimplemented(path))],
        };
        if matches!(acts.first(), Some(Act::Hang)) {
            std::future::pending::<()>().await;
        }
        self.respond(acts)
    }

    /// Returns the whole log after a cursor, and a heartbeat at its head.
    fn truth(&self, resume: Option<pb::Cursor>) -> Vec<Act> {
        let mut acts = vec![Act::Gate];
        match resume {
            None => acts.push(send(Message::Snapshot(self.signer.snapshot(10)))),
            Some(place) => {
                let later = super::signer::LOG.iter().map(|(place, _)| place.1).filter(|at| *at > place.revision);
                acts.extend(later.map(|revision| send(Message::Activation(self.signer.logged(revision)))));
            }
        }
        acts.extend([send(Message::Heartbeat(self.signer.heartbeat(10, 0))), Act::Silence]);
        acts
    }

    fn respond(&self, acts: Vec<Act>) -> Response<Body> {
        match acts.first() {
            Some(Act::Refuse(status)) => return status.clone().into_http(),
            Some(Act::Http(status)) => {
                return Response::builder().status(*status).body(Body::empty()).expect("a response");
            }
            _ => {}
        }
        let (honest, heard) = (self.honest.subscribe(), self.is_heard.subscribe());
        let ends = acts.iter().any(|act| matches!(act, Act::Fail(_) | Act::Trailers(_) | Act::Stop | Act::Break));
        let end = (!ends).then(|| Act::Fail(Status::ok("")));
        let acts = stream::iter(acts.into_iter().chain(end)).flat_map(|act| match act {
            Act::Forever(bytes) => stream::repeat(Act::Bytes(bytes)).boxed(),
            act => stream::iter([act]).boxed(),
        });
        let frames = acts.filter_map(move |act| play(act, honest.clone(), heard.clone()));
        let response = Response::builder().header("content-type", "application/grpc");
        response.body(Body::new(Frames(frames.boxed()))).expect("a response")
    }
}

async fn play(
    act: Act,
    mut honest: watch::Receiver<bool>,
    mut heard: watch::Receiver<bool>,
) -> Option<Result<Frame<Bytes>, Status>> {
    match act {
        Act::Bytes(bytes) => Some(Ok(Frame::data(bytes))),
        Act::Fail(status) => {
            let mut trailers = HeaderMap::new();
            status.add_header(&mut trailers).expect("a status");
            Some(Ok(Frame::trailers(trailers)))
        }
        Act::Trailers(trailers) => Some(Ok(Frame::trailers(trailers))),
        Act::Break => Some(Err(Status::internal("broken"))),
        Act::Silence => std::future::pending().await,
        Act::Gate => {
            let _ = honest.wait_for(|honest| *honest).await;
            None
        }
        Act::UntilReported => {
            let _ = heard.wait_for(|heard| *heard).await;
            None
        }
        Act::Forever(_) | Act::Refuse(_) | Act::Hang | Act::Http(_) | Act::Stop => None,
    }
}

/// A response body of these frames.
pub(super) struct Frames(pub(super) BoxStream<'static, Result<Frame<Bytes>, Status>>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.0.poll_next_unpin(context)
    }
}

/// Returns a message in gRPC framing: flag, length and payload.
pub fn send_grpc(message: &impl prost::Message) -> Act {
    frame(0, &message.encode_to_vec())
}

/// Returns a gRPC frame with any flag.
pub fn frame(flag: u8, payload: &[u8]) -> Act {
    Act::Bytes(framed(flag, payload))
}

/// Returns the bytes of a gRPC frame.
pub fn framed(flag: u8, payload: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(flag);
    bytes.put_u32(u32::try_from(payload.len()).expect("a message"));
    bytes.put_slice(payload);
    bytes.freeze()
}

/// Serves gRPC for as long as the test's runtime lives and returns the address.
pub async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = Server::builder().add_routes(Routes::from(router));
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    format!("http://{address}")
}

/// Returns a message of a watch.
pub fn send(kind: Message) -> Act {
    send_grpc(&message(kind))
}

/// Returns the keys of a signer, as a server lists them.
pub fn keys_of(signer: &HandSigner) -> pb::ListSigningKeysResponse {
    let public = signer.key.public();
    let key = pb::SigningKey {
        name: format!("signingKeys/{}", public.key_id()),
        algorithm: public.algorithm().as_str().to_owned(),
        purpose: pb::KeyPurpose::Bundle.into(),
        state: pb::KeyState::Active.into(),
        jwk: public.to_jwk().to_string(),
        ..Default::default()
    };
    pb::ListSigningKeysResponse { keys: vec![key], store: signer.store.clone(), ..Default::default() }
}

/// Returns trailers with these values, unchanged.
pub fn trailers(values: &[(&'static str, &[u8])]) -> Act {
    let value = |bytes: &[u8]| HeaderValue::from_bytes(bytes).expect("a value");
    Act::Trailers(values.iter().map(|(name, bytes)| (http::HeaderName::from_static(name), value(bytes))).collect())
}

/// The status codes other than OK that tests use.
pub const CODES: [Code; 8] = [
    Code::Unavailable,
    Code::ResourceExhausted,
    Code::Unauthenticated,
    Code::PermissionDenied,
    Code::Unimplemented,
    Code::Internal,
    Code::DataLoss,
    Code::DeadlineExceeded,
];
