//! Single calls, one try each: what happened to a try is what is recorded, so nobody may try again underneath.

use std::net::SocketAddr;
use std::time::Duration;

use policyhub::api::pb;
use policyhub::api::pb::admin_service_client::AdminServiceClient;
use policyhub::api::pb::policy_service_client::PolicyServiceClient;
use policyhub::api::pb::sync_service_client::SyncServiceClient;
use policyhub::client::signing::KeySet;
use policyhub::client::{ClientError, trusted_keys};
use tonic::codegen::InterceptedService;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use super::check::record::{Cursor, Effect, Event, Marks, Moved, Outcome, Pointers, Replica};

/// The first namespace of every schedule; the only one of most.
pub const NAMESPACE: &str = "namespaces/default";
/// How long one try may take before its caller gives up.
pub const TRY_MAX: Duration = Duration::from_millis(3_500);
const CONNECT_MAX: Duration = Duration::from_secs(2);
const ANSWER_MAX_BYTES: usize = 64 * 1024 * 1024;

/// The bearer token of every call.
#[derive(Debug, Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

type Transport = InterceptedService<Channel, Bearer>;

/// A connection that is made when it is needed, and again when it broke.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The namespace that it reads and writes: namespaces/{namespace}
    pub namespace: String,
    /// Where its server is reached.
    pub address: SocketAddr,
    pub policy: PolicyServiceClient<Transport>,
    pub sync: SyncServiceClient<Transport>,
    pub admin: AdminServiceClient<Transport>,
}

/// What a try of a write answers with: the revision, and the version it made or published.
pub type Answer = Result<Effect, Status>;

impl Caller {
    /// A caller of the server behind an address.
    pub fn new(address: SocketAddr, token: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an endpoint");
        let channel = endpoint.connect_timeout(CONNECT_MAX).tcp_nodelay(true).connect_lazy();
        let bearer = Bearer(format!("Bearer {token}").parse().expect("a token"));
        let transport = InterceptedService::new(channel, bearer);
        Self {
            namespace: NAMESPACE.to_owned(),
            address,
            policy: PolicyServiceClient::new(transport.clone()),
            sync: SyncServiceClient::new(transport.clone()).max_decoding_message_size(ANSWER_MAX_BYTES),
            admin: AdminServiceClient::new(transport),
        }
    }

    /// The same caller on the same connection, for another namespace.
    pub fn of(&self, namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..self.clone() }
    }

    /// The active set, as a replica says it now, and whether it says that this may be old.
    pub async fn get_set(&self) -> Result<(Replica, bool), ClientError> {
        let (said, marks) = self.get_marked_set().await?;
        Ok((said, marks.degraded || marks.in_doubt))
    }

    /// The same, with what it says about itself.
    pub async fn get_marked_set(&self) -> Result<(Replica, Marks), ClientError> {
        let request = pb::GetActiveRequest { name: self.namespace.clone(), ..Default::default() };
        let mut sync = self.sync.clone();
        let answer = tried(sync.get_active(request)).await?.into_inner();
        let active = answer.bundles.iter().filter_map(|active| active.bundle.as_ref());
        let pointers =
            active.map(|bundle| (policy_of(&bundle.name), (bundle.version, bundle.digest.clone()))).collect();
        let marks = Marks { degraded: answer.degraded, in_doubt: answer.in_doubt };
        let cursor = cursor(answer.cursor.as_ref()).unwrap_or_default();
        Ok((Replica { cursor, pointers, set_digest: answer.active_set_digest }, marks))
    }

    /// The keys that bundles, statements and checkpoints are verified with.
    pub async fn keys(&self) -> Result<KeySet, ClientError> {
        let mut admin = self.admin.clone();
        let listed = tried(admin.list_signing_keys(pb::ListSigningKeysRequest {})).await?.into_inner();
        trusted_keys(&listed)
    }

    /// The whole log.
    pub async fn log(&self) -> Result<Vec<Event>, ClientError> {
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

/// One try, ended after [`TRY_MAX`].
pub async fn tried<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<Response<T>, ClientError> {
    match tokio::time::timeout(TRY_MAX, call).await {
        Ok(answer) => answer.map_err(ClientError::from),
        Err(_) => Err(ClientError::from(Status::deadline_exceeded("the caller gave up"))),
    }
}

/// What a try came to. Only what the server itself says, with a reason of its own, counts as said.
pub fn outcome(answer: Answer) -> Outcome {
    match answer {
        Ok(effect) => Outcome::Acknowledged(effect),
        Err(status) => {
            let error = ClientError::from(status);
            // What a server said of a deadline that passed leaves open what became of the call, as docs/errors.md says.
            if ["", "OUTCOME_UNKNOWN", "DEADLINE_EXCEEDED"].contains(&error.reason.as_str()) {
                Outcome::Unknown(error.to_string())
            } else {
                Outcome::Refused(error.reason)
            }
        }
    }
}

/// The place on the wire.
pub fn cursor(wire: Option<&pb::Cursor>) -> Option<Cursor> {
    wire.map(|cursor| Cursor { epoch: cursor.epoch, revision: cursor.revision })
}

/// The id in the name of a policy or a version.
pub fn policy_of(name: &str) -> String {
    name.split('/').nth(3).unwrap_or_default().to_owned()
}

/// Bundles as pointers.
pub fn pointers<'a>(bundles: impl IntoIterator<Item = &'a pb::Bundle>) -> Pointers {
    bundles.into_iter().map(|bundle| (policy_of(&bundle.name), (bundle.version, bundle.digest.clone()))).collect()
}

fn event(event: pb::Event) -> Event {
    // The request id is in the hashed bytes alone.
    let payload: serde_json::Value = serde_json::from_slice(&event.payload).unwrap_or_default();
    let moved = event.changes.iter().map(|change| Moved {
        policy: policy_of(&change.policy),
        version: change.version,
        digest: change.digest.clone(),
        previous: change.previous_version,
    });
    Event {
        cursor: cursor(event.cursor.as_ref()).unwrap_or_default(),
        request_id: payload["request_id"].as_str().unwrap_or_default().to_owned(),
        moved: moved.collect(),
        versions: event.versions.iter().map(|each| (each.version.clone(), each.digest.clone())).collect(),
        payload: event.payload.to_vec(),
        prev_hash: event.prev_hash.to_vec(),
        hash: event.hash.to_vec(),
    }
}
