//! A watch over a real connection: what is asked for, and that nothing unverified comes out.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::StreamExt as _;
use tokio::sync::Semaphore;
use tonic::codegen::tokio_stream::{self, wrappers::TcpListenerStream};
use tonic::{Request, Response, Status};

use super::*;
use crate::active_set::tests::signed_messages::{MessageSigner, activation_message, namespace};
use policyhub_core::api::pb::sync_service_server::{SyncService, SyncServiceServer};

pub type ScriptedItem = Result<pb::WatchActiveResponse, Status>;

/// Answers every watch with the same messages, or the next of `streams` and then silence, and remembers what was asked and
/// reported.
#[derive(Clone, Default)]
pub struct ScriptedServer {
    pub messages: Vec<ScriptedItem>,
    pub streams: Arc<Mutex<VecDeque<Vec<ScriptedItem>>>>,
    pub asked: Arc<Mutex<Vec<(String, pb::WatchActiveRequest)>>>,
    /// The reports that were taken.
    pub reported: Arc<Mutex<Vec<pb::ReportStatusRequest>>>,
    /// How many reports came, taken or not.
    pub reports_begun: Arc<AtomicUsize>,
    /// Each report waits for a permit of it.
    pub report_gate: Arc<Mutex<Option<Arc<Semaphore>>>>,
    /// Answers to the first reports, in order.
    pub report_refusals: Arc<Mutex<VecDeque<Status>>>,
}

#[tonic::async_trait]
impl SyncService for ScriptedServer {
    type WatchActiveStream = futures_util::stream::BoxStream<'static, ScriptedItem>;

    async fn watch_active(
        &self,
        request: Request<pb::WatchActiveRequest>,
    ) -> Result<Response<Self::WatchActiveStream>, Status> {
        let token = request.metadata().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        self.asked.lock().expect("lock").push((token.to_owned(), request.get_ref().clone()));
        let next = self.streams.lock().expect("lock").pop_front();
        Ok(Response::new(match next {
            Some(messages) => tokio_stream::iter(messages).chain(futures_util::stream::pending()).boxed(),
            None => tokio_stream::iter(self.messages.clone()).boxed(),
        }))
    }

    async fn get_active(&self, _: Request<pb::GetActiveRequest>) -> Result<Response<pb::GetActiveResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_active(&self, _: Request<pb::ListActiveRequest>) -> Result<Response<pb::ListActiveResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn report_status(
        &self,
        request: Request<pb::ReportStatusRequest>,
    ) -> Result<Response<pb::ReportStatusResponse>, Status> {
        self.reports_begun.fetch_add(1, Ordering::Relaxed);
        let gate = self.report_gate.lock().expect("lock").clone();
        if let Some(gate) = gate {
            gate.acquire().await.expect("an open gate").forget();
        }
        if let Some(status) = self.report_refusals.lock().expect("lock").pop_front() {
            return Err(status);
        }
        self.reported.lock().expect("lock").push(request.into_inner());
        Ok(Response::new(pb::ReportStatusResponse { stored: true }))
    }

    async fn list_subscribers(
        &self,
        _: Request<pb::ListSubscribersRequest>,
    ) -> Result<Response<pb::ListSubscribersResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_convergence(
        &self,
        _: Request<pb::GetConvergenceRequest>,
    ) -> Result<Response<pb::GetConvergenceResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn record_run(&self, _: Request<pb::RecordRunRequest>) -> Result<Response<pb::RecordRunResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn complete_run(
        &self,
        _: Request<pb::CompleteRunRequest>,
    ) -> Result<Response<pb::CompleteRunResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_run(&self, _: Request<pb::GetRunRequest>) -> Result<Response<pb::GetRunResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_runs(&self, _: Request<pb::ListRunsRequest>) -> Result<Response<pb::ListRunsResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

#[expect(clippy::disallowed_methods, reason = "the server of a test")]
pub async fn listen(script: ScriptedServer) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = tonic::transport::Server::builder().add_service(SyncServiceServer::new(script));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    format!("http://{address}")
}

async fn serve(script: ScriptedServer) -> RpcClient {
    let endpoint = listen(script).await;
    RpcClient::connect(&endpoint, Some("secret".to_owned()), None).await.expect("connected")
}

fn options(signer: &MessageSigner, resume: Option<Cursor>) -> WatchOptions {
    let set = ActiveSetOptions { latest: true, ..Default::default() };
    let attributes = [("app".to_owned(), "shop".to_owned())].into();
    let subscriber_id = "runtime-1".to_owned();
    WatchOptions {
        namespace: namespace(),
        keys: signer.keys(),
        learn_keys: false,
        set,
        resume,
        subscriber_id,
        attributes,
    }
}

/// Given a request for a heartbeat each 30 s, a silence of three of these ends the stream, and none that the server alone makes longer.
#[tokio::test]
async fn a_longer_interval_counts_only_for_who_asked_for_it() {
    let signer = MessageSigner::new();
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    for (asked, said, silence_max) in [
        (None, 10, 30),
        (None, 30, 30),
        (seconds(30), 30, 90),
        (seconds(30), 10, 30),
        (seconds(30), 3_600, 90),
        (seconds(3_600), 3_600, 90),
    ] {
        let opened = policyhub_core::api::response::opened(Duration::from_secs(said));
        let script = ScriptedServer { streams: Arc::new(Mutex::new([vec![Ok(opened)]].into())), ..Default::default() };
        let set = ActiveSetOptions { heartbeat_interval: asked, ..Default::default() };
        let options = WatchOptions { set, ..options(&signer, None) };
        let mut watch = watch(&serve(script.clone()).await, options).await.expect("a watch");
        watch.next().await.expect("no error").expect("a message");
        assert_eq!(watch.connection.silence_max, Duration::from_secs(silence_max), "{asked:?}, {said}");
        let sent = script.asked.lock().expect("lock")[0].1.heartbeat_interval;
        assert_eq!(sent.map(|sent| sent.seconds.unsigned_abs()), asked.map(|asked| asked.as_secs().min(30)));
    }
}

#[tokio::test]
async fn only_verified_messages_come_out() {
    let signer = MessageSigner::new();
    let mut forged = signer.activation_after(&[("a", 2, 6)], 7, &[("a", 3, 2)]);
    forged.bundles[0].content = "forged".into();
    let script = ScriptedServer {
        messages: vec![
            Ok(signer.last_part(vec![signer.active("a", 1, 3)], 5, &[("a", 1, 3)])),
            Ok(activation_message(signer.activation_after(&[("a", 1, 3)], 6, &[("a", 2, 1)]))),
            Ok(activation_message(forged)),
        ],
        ..Default::default()
    };
    let asked = Arc::clone(&script.asked);
    let client = serve(script).await;
    let mut stream = watch(&client, options(&signer, None)).await.expect("a stream");
    let (_, first) = stream.next().await.expect("verified").expect("a message");
    assert!(matches!(first, SetChange::Replaced { .. }));
    let (_, second) = stream.next().await.expect("verified").expect("a message");
    assert!(matches!(second, SetChange::Activated { .. }));
    assert!(matches!(stream.next().await, Err(WatchError::Refused { .. })));
    assert_eq!(stream.set().cursor(), Some(Cursor { epoch: 1, revision: 6 }));
    let asked = asked.lock().expect("lock");
    let (token, request) = asked.first().expect("a request");
    assert_eq!(token, "Bearer secret");
    assert_eq!((request.targets[0].parent.as_str(), request.mode()), ("namespaces/default", pb::WatchMode::Latest));
    assert_eq!((request.targets[0].resume, request.subscriber_id.as_str()), (None, "runtime-1"));
    assert_eq!(request.attributes.get("app").map(String::as_str), Some("shop"));
}

#[tokio::test]
async fn a_resumed_watch_needs_no_snapshot_and_ends_as_the_server_says() {
    let signer = MessageSigner::new();
    let activation = activation_message(signer.activation(7, &[("a", 2, 1)]));
    let script =
        ScriptedServer { messages: vec![Ok(activation), Err(Status::out_of_range("gone"))], ..Default::default() };
    let asked = Arc::clone(&script.asked);
    let client = serve(script).await;
    let resume = Some(Cursor { epoch: 1, revision: 6 });
    let mut stream = watch(&client, options(&signer, resume)).await.expect("a stream");
    assert!(stream.next().await.expect("verified").is_some());
    match stream.next().await {
        Err(WatchError::Call(error)) => assert_eq!(error.code, Code::OutOfRange),
        other => panic!("{other:?}"),
    }
    let asked = asked.lock().expect("lock");
    assert_eq!(
        asked.first().and_then(|(_, request)| request.targets[0].resume),
        Some(pb::Cursor { epoch: 1, revision: 6, ..Default::default() })
    );
}

#[tokio::test]
async fn an_orderly_end_is_no_error() {
    let signer = MessageSigner::new();
    let client = serve(ScriptedServer::default()).await;
    let mut stream = watch(&client, options(&signer, None)).await.expect("a stream");
    assert!(stream.next().await.expect("an end").is_none());
}
