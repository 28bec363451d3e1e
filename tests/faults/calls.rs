//! Single calls with one try each: each try is recorded, so no layer below may retry.

use std::net::SocketAddr;
use std::time::Duration;

use policyhub::api::pb;
use policyhub::api::pb::admin_service_client::AdminServiceClient;
use policyhub::api::pb::policy_service_client::PolicyServiceClient;
use policyhub::api::pb::sync_service_client::SyncServiceClient;
use policyhub::client::name::PolicyId;
use policyhub::client::signing::{KeySet, active_set_digest};
use policyhub::client::{ClientError, trusted_keys};
use policyhub::domain::digest::Digest;
use tonic::client::Grpc;
use tonic::codegen::InterceptedService;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;

use super::check::record::{Cursor, Effect, Marks, OperationOutcome, Pointers, RecordedEvent, RecordedMove, Replica};

/// The first namespace of every schedule; most schedules have only this one.
pub const NAMESPACE: &str = "namespaces/default";
/// How long one try may take before its caller gives up.
pub const TRY_MAX: Duration = Duration::from_millis(3_500);
const CONNECT_MAX: Duration = Duration::from_secs(2);
const ANSWER_MAX_BYTES: usize = 64 * 1024 * 1024;

/// An active set: from all pages of ListActive, or from one answer of the older GetActive.
#[derive(Clone, PartialEq, prost::Message)]
struct AnsweredSet {
    #[prost(message, optional, tag = "1")]
    cursor: Option<pb::Cursor>,
    #[prost(message, repeated, tag = "2")]
    bundles: Vec<pb::Bundle>,
    #[prost(bool, tag = "5")]
    degraded: bool,
    #[prost(bool, tag = "7")]
    in_doubt: bool,
}

/// The bearer token of every call.
#[derive(Debug, Clone)]
pub struct FaultBearer(MetadataValue<Ascii>);

impl Interceptor for FaultBearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

type FaultTransport = InterceptedService<Channel, FaultBearer>;

/// A caller whose connection is made on demand, and again when it broke.
#[derive(Debug, Clone)]
pub struct FaultCaller {
    /// The namespace that it reads and writes: namespaces/{namespace}
    pub namespace: String,
    /// The address of its server.
    pub address: SocketAddr,
    pub policy: PolicyServiceClient<FaultTransport>,
    pub sync: SyncServiceClient<FaultTransport>,
    pub admin: AdminServiceClient<FaultTransport>,
    transport: FaultTransport,
}

/// The answer to a try of a write: the revision, and the version it made or published.
pub type Answer = Result<Effect, Status>;

impl FaultCaller {
    /// Returns a caller of the server behind an address.
    pub fn new(address: SocketAddr, token: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an endpoint");
        let channel = endpoint.connect_timeout(CONNECT_MAX).tcp_nodelay(true).connect_lazy();
        let bearer = FaultBearer(format!("Bearer {token}").parse().expect("a token"));
        let transport = InterceptedService::new(channel, bearer);
        Self {
            namespace: NAMESPACE.to_owned(),
            address,
            policy: PolicyServiceClient::new(transport.clone()),
            sync: SyncServiceClient::new(transport.clone()).max_decoding_message_size(ANSWER_MAX_BYTES),
            admin: AdminServiceClient::new(transport.clone()),
            transport,
        }
    }

    /// Returns the same caller on the same connection, for another namespace.
    pub fn of(&self, namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..self.clone() }
    }

    /// Returns the current active set of a replica, and whether the answer is marked as possibly old.
    pub async fn get_set(&self) -> Result<(Replica, bool), ClientError> {
        let (said, marks) = self.get_marked_set().await?;
        Ok((said, marks.degraded || marks.in_doubt))
    }

    /// Returns the current active set with the marks of the answer.
    pub async fn get_marked_set(&self) -> Result<(Replica, Marks), ClientError> {
        let answer = match self.list_set().await {
            Err(error) if error.code() == Code::Unimplemented => self.get_old_set().await?,
            answer => answer?,
        };
        let pointers = pointers(answer.bundles.iter());
        let marks = Marks { degraded: answer.degraded, in_doubt: answer.in_doubt };
        let cursor = cursor(answer.cursor.as_ref()).unwrap_or_default();
        let set_digest = digest_of_set(&pointers);
        Ok((Replica { cursor, pointers, set_digest }, marks))
    }

    /// Reads every page of the active set. A mark of any page counts for all.
    async fn list_set(&self) -> Result<AnsweredSet, ClientError> {
        let (mut set, mut page_token) = (AnsweredSet::default(), String::new());
        loop {
            let parent = self.namespace.clone();
            let request = pb::ListActiveRequest { parent, page_size: 1_000, page_token, ..Default::default() };
            let mut sync = self.sync.clone();
            let page = tried(sync.list_active(request)).await?.into_inner();
            set.cursor = page.cursor;
            set.bundles.extend(page.bundles);
            set.degraded |= page.degraded;
            set.in_doubt |= page.in_doubt;
            if page.next_page_token.is_empty() {
                return Ok(set);
            }
            page_token = page.next_page_token;
        }
    }

    /// Reads the active set of a server from before ListActive.
    async fn get_old_set(&self) -> Result<AnsweredSet, ClientError> {
        let request = Request::new(pb::GetActiveRequest { name: self.namespace.clone(), ..Default::default() });
        let path = PathAndQuery::from_static("/policyhub.v1.SyncService/GetActive");
        let mut calls = Grpc::new(self.transport.clone()).max_decoding_message_size(ANSWER_MAX_BYTES);
        calls.ready().await.map_err(|error| ClientError::from(Status::unavailable(error.to_string())))?;
        let answer =
            tried(calls.unary(request, path, ProstCodec::<pb::GetActiveRequest, AnsweredSet>::default())).await?;
        Ok(answer.into_inner())
    }

    /// Returns the keys that bundles, statements and checkpoints are verified with.
    pub async fn keys(&self) -> Result<KeySet, ClientError> {
        let mut admin = self.admin.clone();
        let listed = tried(admin.list_signing_keys(pb::ListSigningKeysRequest::default())).await?.into_inner();
        trusted_keys(&listed)
    }

    /// Returns the whole log.
    pub async fn log(&self) -> Result<Vec<RecordedEvent>, ClientError> {
        let mut events = Vec::new();
        let mut page_token = String::new();
        loop {
            let parent = self.namespace.clone();
            let request = pb::ListEventsRequest { parent, page_size: 500, page_token, ..Default::default() };
            let mut policy = self.policy.clone().max_decoding_message_size(ANSWER_MAX_BYTES);
            let page = tried(policy.list_events(request)).await?.into_inner();
            events.extend(page.events.into_iter().map(event));
            if page.next_page_token.is_empty() {
                return Ok(events);
            }
            page_token = page.next_page_token;
        }
    }
}

/// Makes one try, ended after [`TRY_MAX`].
pub async fn tried<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<Response<T>, ClientError> {
    match tokio::time::timeout(TRY_MAX, call).await {
        Ok(answer) => answer.map_err(ClientError::from),
        Err(_) => Err(ClientError::from(Status::deadline_exceeded("the caller gave up"))),
    }
}

/// Returns the outcome of a try. Only a server's answer with its own reason counts as a refusal.
pub fn outcome(answer: Answer) -> OperationOutcome {
    match answer {
        Ok(effect) => OperationOutcome::Acknowledged(effect),
        Err(status) => {
            let error = ClientError::from(status);
            // After an expired deadline the outcome is unknown, as docs/errors.md says.
            if ["", "OUTCOME_UNKNOWN", "DEADLINE_EXCEEDED"].contains(&error.reason()) {
                OperationOutcome::Unknown(error.to_string())
            } else {
                OperationOutcome::Refused(error.reason().to_owned())
            }
        }
    }
}

/// Returns the cursor of a wire message.
pub fn cursor(wire: Option<&pb::Cursor>) -> Option<Cursor> {
    wire.map(|cursor| Cursor { epoch: cursor.epoch, revision: cursor.revision })
}

/// Returns the id in the name of a policy or a version.
pub fn policy_of(name: &str) -> String {
    name.split('/').nth(3).unwrap_or_default().to_owned()
}

/// Returns the digest of a set, as reports name it.
fn digest_of_set(pointers: &Pointers) -> String {
    let entries: Vec<(PolicyId, i64, Digest)> = pointers
        .iter()
        .map(|(policy, (version, digest))| {
            let digest = Digest::parse("digest", digest).expect("a digest");
            (PolicyId::parse("policy", policy).expect("an id"), *version, digest)
        })
        .collect();
    active_set_digest(entries.iter().map(|(policy, version, digest)| (policy, *version, digest))).to_string()
}

/// Returns the pointers of bundles.
pub fn pointers<'a>(bundles: impl IntoIterator<Item = &'a pb::Bundle>) -> Pointers {
    bundles.into_iter().map(|bundle| (policy_of(&bundle.name), (bundle.version, bundle.digest.clone()))).collect()
}

fn event(event: pb::Event) -> RecordedEvent {
    // The request id is only in the hashed bytes.
    let payload: serde_json::Value = serde_json::from_slice(&event.payload).unwrap_or_default();
    let moved = event.changes.iter().map(|change| RecordedMove {
        policy: policy_of(&change.policy),
        version: change.version,
        digest: change.digest.clone(),
        previous: change.previous_version,
    });
    RecordedEvent {
        cursor: cursor(event.cursor.as_ref()).unwrap_or_default(),
        request_id: payload["request_id"].as_str().unwrap_or_default().to_owned(),
        moved: moved.collect(),
        versions: event.versions.iter().map(|each| (each.version_name.clone(), each.digest.clone())).collect(),
        has_root: !payload["active_set_root"].is_null(),
        payload: event.payload.to_vec(),
        prev_hash: event.prev_hash.to_vec(),
        hash: event.hash.to_vec(),
    }
}
