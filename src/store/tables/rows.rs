//! Conversions between rows and domain types. A row that can't be read is DATA_LOSS: it is never served and never guessed.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::domain::annotations::Annotations;
use crate::domain::digest::{Digest, Hash};
use crate::domain::event::{Cursor, Event, Head};
use crate::domain::label::Label;
use crate::domain::name::{NamespaceId, PolicyId, PolicyName};
use crate::domain::outcome::Namespace;
use crate::domain::policy::Policy;
use crate::domain::quota::{Quotas, Usage};
use crate::domain::subscriber::{Profile, Subscriber, SubscriberId, SubscriberStatus};
use crate::domain::time::Micros;
use crate::domain::version::{Version, VersionState};
use crate::domain::{Error, Result};
use crate::store::authenticated::Authenticated;
use crate::store::entity::{events, namespaces, policies, subscribers, versions};

/// Returns an error converter that names the stored value which can't be read.
pub(in crate::store) fn unreadable(what: &str) -> impl Fn(Error) -> Error + '_ {
    move |error| Error::data_loss(format!("unreadable {what}: {}", error.message))
}

/// Parses JSON that the store wrote.
pub(in crate::store) fn json<T: DeserializeOwned>(what: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::data_loss(format!("unreadable {what}: {error}")))
}

/// Serializes a value as JSON.
pub(in crate::store) fn to_json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::internal(format!("failed to write JSON: {error}")))
}

/// Parses an enum that is stored as its serde name.
pub(in crate::store) fn parse_enum<T: DeserializeOwned>(what: &str, text: &str) -> Result<T> {
    serde_json::from_value(serde_json::Value::String(text.to_owned()))
        .map_err(|error| Error::data_loss(format!("unreadable {what}: {error}")))
}

pub(in crate::store) fn hash(what: &str, bytes: &[u8]) -> Result<Hash> {
    bytes.try_into().map_err(|_| Error::data_loss(format!("unreadable {what}: {} bytes", bytes.len())))
}

pub(in crate::store) fn policy_name(namespace: &str, policy: &str) -> Result<PolicyName> {
    Ok(PolicyName {
        namespace: NamespaceId::parse("namespace", namespace).map_err(unreadable("namespace"))?,
        policy: PolicyId::parse("policy", policy).map_err(unreadable("policy"))?,
    })
}

pub(in crate::store) fn namespace(Authenticated(row): Authenticated<namespaces::Model>) -> Result<Namespace> {
    let head = head(&row)?;
    Ok(Namespace {
        id: namespace_id(&row.id)?,
        description: row.description,
        quotas: quotas(&row.settings)?,
        cursor: head.cursor,
        head_hash: head.hash,
        edits: row.etag,
        create_time: Micros(row.create_time),
    })
}

/// The JSON of `namespaces.settings`.
#[derive(Default, Serialize, Deserialize)]
struct StoredSettings {
    #[serde(default, skip_serializing_if = "is_unsaid")]
    quotas: Quotas,
}

fn is_unsaid(quotas: &Quotas) -> bool {
    *quotas == Quotas::default()
}

pub(in crate::store) fn settings(quotas: Quotas) -> Result<String> {
    to_json(&StoredSettings { quotas })
}

pub(in crate::store) fn quotas(settings: &str) -> Result<Quotas> {
    Ok(json::<StoredSettings>("settings", settings)?.quotas)
}

pub(in crate::store) fn usage(row: &namespaces::Model) -> Usage {
    Usage { policies: row.policies, versions: row.versions, content_bytes: row.content_bytes }
}

/// Returns the id in a row of which nothing else is used.
pub(in crate::store) fn namespace_id(id: &str) -> Result<NamespaceId> {
    NamespaceId::parse("namespace", id).map_err(unreadable("namespace"))
}

pub(in crate::store) fn head(row: &namespaces::Model) -> Result<Head> {
    let cursor = Cursor { epoch: row.epoch, revision: row.head_revision };
    Ok(Head { cursor, hash: hash("head hash", &row.head_hash)? })
}

pub(in crate::store) fn policy(Authenticated(row): Authenticated<policies::Model>) -> Result<Policy> {
    Ok(Policy {
        name: policy_name(&row.namespace, &row.id)?,
        kind: parse_enum("kind", &row.kind)?,
        description: row.description,
        settings: json("settings", &row.settings)?,
        latest_version: row.latest_version,
        active_version: row.active_version,
        active_revision: row.active_revision,
        edits: row.etag,
        create_time: Micros(row.create_time),
        update_time: Micros(row.update_time),
    })
}

pub(in crate::store) fn version(Authenticated(row): Authenticated<versions::Model>) -> Result<Version> {
    let label = row.label.map(|label| Label::parse("label", &label)).transpose().map_err(unreadable("label"))?;
    Ok(Version {
        policy: policy_name(&row.namespace, &row.policy)?,
        number: row.number,
        state: VersionState::parse(&row.state).ok_or_else(|| Error::data_loss("unreadable state"))?,
        label,
        digest: Digest::parse("digest", &row.digest).map_err(unreadable("digest"))?,
        size_bytes: row.size_bytes,
        content_type: row.content_type,
        change_note: row.change_note,
        requires: json("requires", &row.requires)?,
        base_version: row.base_version,
        source_version: row.source_version,
        author: row.author,
        publisher: row.publisher,
        manifest: row.manifest,
        edits: row.etag,
        create_time: Micros(row.create_time),
        stage_time: row.stage_time.map(Micros),
        publish_time: row.publish_time.map(Micros),
        origin_manifests: row
            .origin_manifests
            .map_or_else(|| Ok(Vec::new()), |text| json("origin_manifests", &text))?,
        annotations: row.annotations.map_or_else(|| Ok(Annotations::default()), |text| json("annotations", &text))?,
        adopted: row.adopted.map(|text| json("adopted", &text)).transpose()?,
        template: row.template.map(|text| json("template", &text)).transpose()?,
    })
}

pub(in crate::store) fn version_row(version: &Version) -> Result<versions::Model> {
    Ok(versions::Model {
        namespace: version.policy.namespace.to_string(),
        policy: version.policy.policy.to_string(),
        number: version.number,
        state: version.state.as_str().to_owned(),
        label: version.label.as_ref().map(ToString::to_string),
        digest: version.digest.to_string(),
        size_bytes: version.size_bytes,
        content_type: version.content_type.clone(),
        change_note: version.change_note.clone(),
        requires: to_json(&version.requires)?,
        base_version: version.base_version,
        source_version: version.source_version,
        author: version.author.clone(),
        publisher: version.publisher.clone(),
        manifest: version.manifest.clone(),
        etag: version.edits,
        create_time: version.create_time.0,
        stage_time: version.stage_time.map(|time| time.0),
        publish_time: version.publish_time.map(|time| time.0),
        origin_manifests: Some(&version.origin_manifests).filter(|all| !all.is_empty()).map(to_json).transpose()?,
        annotations: Some(&version.annotations).filter(|all| !all.is_empty()).map(to_json).transpose()?,
        adopted: version.adopted.as_ref().map(to_json).transpose()?,
        template: version.template.as_ref().map(to_json).transpose()?,
        tag: Vec::new(),
    })
}

pub(in crate::store) fn event(row: events::Model) -> Result<Event> {
    Ok(Event {
        namespace: NamespaceId::parse("namespace", &row.namespace).map_err(unreadable("namespace"))?,
        cursor: Cursor { epoch: row.epoch, revision: row.revision },
        payload: row.payload,
        prev_hash: hash("prev_hash", &row.prev_hash)?,
        hash: hash("hash", &row.hash)?,
        seal: row.seal,
        seal_key_id: row.seal_key_id,
        statement: row.statement,
    })
}

/// Converts a row of a subscriber, given the end of its lease and when it was last seen, for which its replica may count.
pub(in crate::store) fn subscriber(
    row: subscribers::Model,
    (lease_end, last_seen): (Micros, Micros),
) -> Result<Subscriber> {
    let digest = (!row.digest.is_empty()).then(|| Digest::parse("digest", &row.digest)).transpose();
    Ok(Subscriber {
        id: SubscriberId::parse("id", &row.id).map_err(unreadable("subscriber"))?,
        owner: row.owner,
        profile: Profile { attributes: json("labels", &row.labels)?, policies: json("policies", &row.policies)? },
        status: SubscriberStatus {
            applied: Cursor { epoch: row.applied_epoch, revision: row.applied_revision },
            applied_matches: row.applied_matches,
            rejected: Cursor { epoch: row.rejected_epoch, revision: row.rejected_revision },
            reason: row.reason,
            digest: digest.map_err(unreadable("digest"))?,
            refused: Cursor { epoch: row.refused_epoch, revision: row.refused_revision },
            refusal: row.refused_reason,
        },
        last_seen,
        lease_end,
    })
}
