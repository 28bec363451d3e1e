//! The calls that most tests make, in one line each.

use policyhub::client::pb::activate_target::To;
use policyhub::client::signing::{KeySet, PublicKey};
use policyhub::client::{Client, ClientError, pb};
use tonic::Code;

/// The namespace of the tests.
pub const NAMESPACE: &str = "namespaces/default";

/// A response that carries a revision.
pub trait Revision {
    /// Returns the revision; 0 when nothing was written.
    fn revision(&self) -> i64;
}

impl Revision for Option<pb::Cursor> {
    fn revision(&self) -> i64 {
        self.map_or(0, |cursor| cursor.revision)
    }
}

/// A resource with a name.
pub trait NamedEvent {
    /// Returns the last part of the resource's name.
    fn id(&self) -> String;
}

fn last_part(name: &str) -> String {
    name.rsplit('/').next().unwrap_or_default().to_owned()
}

impl NamedEvent for pb::SigningKey {
    fn id(&self) -> String {
        last_part(&self.name)
    }
}

impl NamedEvent for pb::Run {
    fn id(&self) -> String {
        last_part(&self.name)
    }
}

impl NamedEvent for pb::Subscriber {
    fn id(&self) -> String {
        last_part(&self.name)
    }
}

/// Returns a policy's name.
pub fn policy(id: &str) -> String {
    format!("{NAMESPACE}/policies/{id}")
}

/// Returns a version's name.
pub fn version(id: &str, version: impl std::fmt::Display) -> String {
    format!("{NAMESPACE}/policies/{id}/versions/{version}")
}

/// Returns a request to draft YAML that creates the policy when it is absent.
pub fn draft_request(id: &str, content: &str) -> pb::DraftRequest {
    pb::DraftRequest {
        parent: policy(id),
        content: content.to_owned().into(),
        content_type: "application/yaml".to_owned(),
        allow_missing: true,
        ..Default::default()
    }
}

/// Returns a request to draft for an existing policy, in the kind that the policy has.
pub fn draft_of_its_kind(id: &str, content: &str) -> pb::DraftRequest {
    pb::DraftRequest { content_type: String::new(), ..draft_request(id, content) }
}

/// Drafts and returns the version.
pub async fn draft(client: &Client, id: &str, content: &str) -> pb::Version {
    client.draft(draft_request(id, content)).await.expect("a draft").version.expect("a version")
}

/// Drafts, publishes and returns the published version.
pub async fn publish(client: &Client, id: &str, content: &str) -> pb::Version {
    let drafted = draft(client, id, content).await;
    let request = pb::PublishRequest { name: drafted.name, etag: drafted.etag, ..Default::default() };
    client.publish(request).await.expect("a publication").version.expect("a version")
}

/// Activates one version and returns the revision.
pub async fn activate(client: &Client, id: &str, version: i64) -> i64 {
    try_activate(client, id, version, None).await.expect("an activation").cursor.revision()
}

/// Activates one version if `expected` is active.
pub async fn try_activate(
    client: &Client,
    id: &str,
    version: i64,
    expected: Option<i64>,
) -> Result<pb::ActivateResponse, ClientError> {
    let target = pb::ActivateTarget { policy: policy(id), to: Some(To::Version(version)), expected_active: expected };
    let request = pb::ActivateRequest {
        parent: NAMESPACE.to_owned(),
        targets: vec![target],
        reason: "a test".to_owned(),
        ..Default::default()
    };
    client.activate(request).await
}

/// Drafts, publishes, activates and returns the version.
pub async fn release(client: &Client, id: &str, content: &str) -> pb::Version {
    let published = publish(client, id, content).await;
    activate(client, id, published.version).await;
    published
}

/// Returns the number of the active version of a policy, 0 for none.
pub async fn active(client: &Client, id: &str) -> i64 {
    let request = pb::GetPolicyRequest { name: policy(id) };
    client.get_policy(request).await.expect("a policy").policy.expect("a policy").active_version
}

/// Returns the error of a refused call. Fails when its code is INTERNAL or UNKNOWN, or when it has no message.
pub fn refusal<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> ClientError {
    let error = answer.expect_err("the call must be refused");
    assert!(!matches!(error.code(), Code::Internal | Code::Unknown), "a user's mistake was answered with {error:?}");
    assert!(!error.reason().is_empty() && !error.message().is_empty(), "no reason or no message: {error:?}");
    error
}

/// Returns a refusal with exactly this code and reason.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(answer: Result<T, ClientError>, code: Code, reason: &str) -> ClientError {
    let error = refusal(answer);
    assert_eq!((error.code(), error.reason()), (code, reason), "{error:?}");
    error
}

/// Checks that a call is refused with INVALID_ARGUMENT and names exactly these fields.
#[track_caller]
pub fn refused_fields<T: std::fmt::Debug>(answer: Result<T, ClientError>, fields: &[&str]) {
    let error = refused(answer, Code::InvalidArgument, "INVALID_ARGUMENT");
    let named: Vec<&str> = error.violations().iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(named, fields, "{error:?}");
    assert!(error.violations().iter().all(|violation| !violation.description.is_empty()), "{error:?}");
}

/// Returns the reason of a call that must fail.
pub fn reason<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> String {
    refusal(answer).reason().to_owned()
}

/// Creates a policy of a kind with these settings and returns it.
pub async fn create(client: &Client, id: &str, kind: pb::PolicyKind, settings: pb::PolicySettings) -> pb::Policy {
    let policy = pb::Policy { kind: kind.into(), settings: Some(settings), ..Default::default() };
    let request = pb::CreatePolicyRequest {
        parent: NAMESPACE.to_owned(),
        policy_id: id.to_owned(),
        policy: Some(policy),
        ..Default::default()
    };
    client.create_policy(request).await.expect("a policy").policy.expect("a policy")
}

/// Replaces the settings of a policy and returns it.
pub async fn set(client: &Client, id: &str, settings: pb::PolicySettings) -> pb::Policy {
    let given = pb::Policy { name: policy(id), settings: Some(settings), ..Default::default() };
    let mask = prost_types::FieldMask { paths: vec!["settings".to_owned()] };
    let request = pb::UpdatePolicyRequest { policy: Some(given), update_mask: Some(mask), ..Default::default() };
    client.update_policy(request).await.expect("a policy").policy.expect("a policy")
}

/// Returns a policy.
pub async fn get(client: &Client, id: &str) -> pb::Policy {
    client.get_policy(pb::GetPolicyRequest { name: policy(id) }).await.expect("a policy").policy.expect("a policy")
}

/// Returns a version with its content.
pub async fn get_version(client: &Client, id: &str, which: impl std::fmt::Display) -> pb::Version {
    let request = pb::GetVersionRequest { name: version(id, which), ..Default::default() };
    client.get_version(request).await.expect("a version").version.expect("a version")
}

/// Returns a request to roll back; version 0 means the version before the active one.
pub fn rollback_request(id: &str, version: i64) -> pb::RollbackRequest {
    let to = (version != 0).then_some(pb::rollback_request::To::Version(version));
    pb::RollbackRequest { name: policy(id), to, reason: "it was better".to_owned(), ..Default::default() }
}

/// Returns a request to activate these policies, each at a version, or at none for 0.
pub fn targets(all: &[(&str, i64)]) -> pb::ActivateRequest {
    let to = |version: i64| {
        if version == 0 { pb::activate_target::To::None(()) } else { pb::activate_target::To::Version(version) }
    };
    let target = |(policy, version): &(&str, i64)| pb::ActivateTarget {
        policy: (*policy).to_owned(),
        to: Some(to(*version)),
        expected_active: None,
    };
    pb::ActivateRequest {
        parent: NAMESPACE.to_owned(),
        targets: all.iter().map(target).collect(),
        reason: "new season".to_owned(),
        ..Default::default()
    }
}

/// Returns a request to publish a version by its number.
pub fn publish_request(id: &str, number: i64) -> pb::PublishRequest {
    pb::PublishRequest { name: version(id, number), ..Default::default() }
}

/// Abandons a draft and returns it.
pub async fn abandon(client: &Client, id: &str, number: i64) -> pb::Version {
    let request = pb::AbandonDraftRequest { name: version(id, number), ..Default::default() };
    client.abandon_draft(request).await.expect("an end").version.expect("a version")
}

/// Removes the pointer of a policy and returns the revision.
pub async fn deactivate(client: &Client, id: &str) -> i64 {
    let request = pb::DeactivateRequest { name: policy(id), reason: "a test".to_owned(), ..Default::default() };
    client.deactivate(request).await.expect("a deactivation").cursor.revision()
}

/// Returns the revision at the head of the tests' namespace.
pub async fn head(client: &Client) -> i64 {
    let request = pb::GetNamespaceRequest { name: NAMESPACE.to_owned() };
    let namespace = client.get_namespace(request).await.expect("a namespace").namespace.expect("a namespace");
    namespace.head.expect("a head").revision
}

/// Returns every event after a revision, in order, from all pages.
pub async fn events(client: &Client, parent: &str, after_revision: i64) -> Vec<pb::Event> {
    let after = Some(pb::Cursor::of_revision(after_revision));
    let mut request = pb::ListEventsRequest { parent: parent.to_owned(), page_size: 100, after, ..Default::default() };
    let mut events = Vec::new();
    loop {
        let page = client.list_events(request.clone()).await.expect("events");
        events.extend(page.events);
        if page.next_page_token.is_empty() {
            return events;
        }
        request.page_token = page.next_page_token;
    }
}

/// What a verifier must know: the bundle keys, the event key and the store.
#[derive(Debug)]
pub struct VerifyKeys {
    pub keys: KeySet,
    pub seal_key: PublicKey,
    pub store: String,
}

/// Reads the keys and the store's id through the API, as any verifier would.
pub async fn trust(client: &Client) -> VerifyKeys {
    let listed = client.list_signing_keys(pb::ListSigningKeysRequest::default()).await.expect("keys");
    let of = |purpose: pb::KeyPurpose| -> Vec<PublicKey> {
        let keys = listed.keys.iter().filter(|key| key.purpose == purpose as i32);
        keys.map(|key| PublicKey::from_jwk(&serde_json::from_str(&key.jwk).expect("JSON")).expect("a key")).collect()
    };
    let [seal_key] = of(pb::KeyPurpose::Seal).try_into().expect("one key seals");
    VerifyKeys { keys: KeySet::from_keys(of(pb::KeyPurpose::Bundle)), seal_key, store: listed.store }
}
