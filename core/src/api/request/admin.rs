//! Requests of `AdminService`.

use super::collect_errors::collect_errors;
use super::fields::{count, etag, namespace, update_paths};
use super::sync::optional_position;
use crate::api::filter::{ListQuery, parse_asked};
use crate::api::page::ListIdentity;
use crate::api::pb;
use crate::domain::audit::Finding;
use crate::domain::command::{
    ActivateKey, CreateNamespace, PageRequest, PrepareKey, QuotasPatch, RevokeKey, ThawNamespace, UpdateNamespace,
};
use crate::domain::digest::Digest;
use crate::domain::event::{Cursor, Position};
use crate::domain::filter::Filter;
use crate::domain::key::{KeyInfo, SIGNING_KEYS};
use crate::domain::limits::FINDINGS_MAX;
use crate::domain::listing::{KEYS, NAMESPACES};
use crate::domain::name::NamespaceId;
use crate::domain::outcome::Namespace;
use crate::domain::quota::Quotas;
use crate::domain::revocation::{EndedCredential, RevokeToken};
use crate::domain::{Error, Result};

/// Length of an RFC 7638 thumbprint by SHA-256 in base64url.
const KEY_ID_CHARS: usize = 43;

/// Reads a CreateNamespace request.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn create_namespace(request: pb::CreateNamespaceRequest) -> Result<CreateNamespace> {
    let given = request.namespace.unwrap_or_default();
    let namespace = NamespaceId::parse("namespace_id", &request.namespace_id);
    let (namespace, quotas) = collect_errors(namespace, quotas(given.quotas.unwrap_or_default()))?;
    Ok(CreateNamespace { namespace, description: given.description, quotas })
}

/// Reads an UpdateNamespace request. Paths of the mask: `description`, `quotas`, `quotas.{field}`; `*` for all, none for those that are
/// populated (AIP-134).
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn update_namespace(request: pb::UpdateNamespaceRequest) -> Result<UpdateNamespace> {
    let given = request.namespace.ok_or_else(|| Error::invalid("namespace", "is required"))?;
    let named = collect_errors(namespace("namespace.name", &given.name), etag(&given.etag));
    let from = given.quotas.unwrap_or_default();
    let populated = [
        ("description", !given.description.is_empty()),
        ("quotas.max_policies", from.max_policies != 0),
        ("quotas.max_versions", from.max_versions != 0),
        ("quotas.max_content_bytes", from.max_content_bytes != 0),
        ("quotas.max_streams", from.max_streams != 0),
        ("quotas.writes_per_second", from.writes_per_second != 0),
        ("quotas.reads_per_second", from.reads_per_second != 0),
    ];
    let paths = update_paths(request.update_mask, &["description", "quotas"], &populated)?;
    let ((namespace, etag), new) = collect_errors(named, quotas(from))?;
    let mut update = UpdateNamespace { namespace, description: None, quotas: QuotasPatch::default(), etag };
    for path in paths {
        let patch = &mut update.quotas;
        match path.as_str() {
            "description" => update.description = Some(given.description.clone()),
            "quotas" => {
                *patch = QuotasPatch {
                    max_policies: Some(new.max_policies),
                    max_versions: Some(new.max_versions),
                    max_content_bytes: Some(new.max_content_bytes),
                    max_streams: Some(new.max_streams),
                    writes_per_second: Some(new.writes_per_second),
                    reads_per_second: Some(new.reads_per_second),
                }
            }
            "quotas.max_policies" => patch.max_policies = Some(new.max_policies),
            "quotas.max_versions" => patch.max_versions = Some(new.max_versions),
            "quotas.max_content_bytes" => patch.max_content_bytes = Some(new.max_content_bytes),
            "quotas.max_streams" => patch.max_streams = Some(new.max_streams),
            "quotas.writes_per_second" => patch.writes_per_second = Some(new.writes_per_second),
            "quotas.reads_per_second" => patch.reads_per_second = Some(new.reads_per_second),
            other => return Err(Error::invalid("update_mask", format!("path {other:?} can't be changed"))),
        }
    }
    Ok(update)
}

fn quotas(from: pb::NamespaceQuotas) -> Result<Quotas> {
    fn whole(name: &str, value: i64) -> Result<i64> {
        let negative = || Error::invalid(format!("namespace.quotas.{name}"), "must not be negative");
        if value < 0 { Err(negative()) } else { Ok(value) }
    }
    let small = |name: &str, value: i32| count(&format!("namespace.quotas.{name}"), value);
    let stored = collect_errors(
        whole("max_policies", from.max_policies),
        collect_errors(whole("max_versions", from.max_versions), whole("max_content_bytes", from.max_content_bytes)),
    );
    let rates = collect_errors(
        small("writes_per_second", from.writes_per_second),
        small("reads_per_second", from.reads_per_second),
    );
    let metered = collect_errors(small("max_streams", from.max_streams), rates);
    let ((max_policies, (max_versions, max_content_bytes)), (max_streams, (writes_per_second, reads_per_second))) =
        collect_errors(stored, metered)?;
    Ok(Quotas { max_policies, max_versions, max_content_bytes, max_streams, writes_per_second, reads_per_second })
}

/// Reads a VerifyLog request: the namespace, and the event to begin after.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn verify_log(request: &pb::VerifyLogRequest) -> Result<(NamespaceId, Position)> {
    let (namespace, after) =
        collect_errors(namespace("parent", &request.parent), optional_position("after", request.after))?;
    Ok((namespace, after.unwrap_or(Cursor::NONE.into())))
}

/// Reads a ListNamespaces request.
///
/// # Errors
/// `INVALID_ARGUMENT`, `INVALID_PAGE_TOKEN`.
pub fn list_namespaces(
    request: &pb::ListNamespacesRequest,
) -> Result<(ListIdentity, PageRequest<NamespaceId>, Filter<Namespace>)> {
    let ListQuery { filter, key, .. } = parse_asked(&NAMESPACES, None, &request.filter, &request.order_by)?;
    let list = ListIdentity::new(["ListNamespaces", &key]);
    let page = list.page(request.page_size, &request.page_token, |key| NamespaceId::parse("key", key).ok())?;
    Ok((list, page, filter))
}

/// Reads a ListSigningKeys request.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn list_signing_keys(request: &pb::ListSigningKeysRequest) -> Result<Filter<KeyInfo>> {
    Ok(parse_asked(&KEYS, None, &request.filter, &request.order_by)?.filter)
}

/// Reads a RevokeToken request.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn revoke_token(request: pb::RevokeTokenRequest) -> Result<RevokeToken> {
    let pb::RevokeTokenRequest { token_id, subject, reason, .. } = request;
    let ended = match (token_id.is_empty(), subject.is_empty()) {
        (false, true) => EndedCredential::Token(token_id),
        (true, false) => EndedCredential::Subject(subject),
        (true, true) => return Err(Error::invalid("token_id", "is required, or a subject")),
        (false, false) => return Err(Error::invalid("token_id", "can't be given with a subject")),
    };
    Ok(RevokeToken { ended, reason })
}

/// Reads a ThawNamespace request.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn thaw_namespace(request: pb::ThawNamespaceRequest) -> Result<ThawNamespace> {
    let pb::ThawNamespaceRequest { name, reason, accepted_findings, accepted_findings_digest, .. } = request;
    let namespace = namespace("name", &name)?;
    if accepted_findings.len() > FINDINGS_MAX {
        return Err(Error::invalid("accepted_findings", format!("are over {FINDINGS_MAX}")));
    }
    let accepted_digest = optional_digest("accepted_findings_digest", &accepted_findings_digest)?;
    if accepted_digest.is_some() && !accepted_findings.is_empty() {
        return Err(Error::invalid("accepted_findings", "must be empty beside accepted_findings_digest"));
    }
    let (mut accepted, mut positions) = (Vec::new(), Vec::new());
    for pb::LogFinding { cursor, row, message, digest } in accepted_findings {
        let named = optional_position("accepted_findings.cursor", cursor)?;
        let digest = optional_digest("accepted_findings.digest", &digest)?;
        accepted.push(Finding { revision: named.map_or(0, |named| named.cursor.revision), row, message, digest });
        positions.extend(named);
    }
    Ok(ThawNamespace { namespace, reason, accepted, positions, accepted_digest })
}

fn optional_digest(field: &str, text: &str) -> Result<Option<Digest>> {
    if text.is_empty() { Ok(None) } else { Digest::parse(field, text).map(Some) }
}

/// Reads a PrepareSigningKey request.
#[must_use]
pub fn prepare_key(request: pb::PrepareSigningKeyRequest) -> PrepareKey {
    PrepareKey { algorithm: request.algorithm }
}

/// Reads an ActivateSigningKey request.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn activate_key(request: pb::ActivateSigningKeyRequest) -> Result<ActivateKey> {
    Ok(ActivateKey { key_id: key_id(&request.name)?, reason: request.reason })
}

/// Reads a RevokeSigningKey request.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn revoke_key(request: pb::RevokeSigningKeyRequest) -> Result<RevokeKey> {
    Ok(RevokeKey { key_id: key_id(&request.name)?, reason: request.reason, resign: request.resign })
}

/// Reads a thumbprint: 43 characters of base64url.
/// Takes the name of a key. Returns its id.
fn key_id(name: &str) -> Result<String> {
    let given = name.strip_prefix(SIGNING_KEYS).and_then(|rest| rest.strip_prefix('/')).unwrap_or_default();
    let is_one =
        given.len() == KEY_ID_CHARS && given.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let rule = "must be signingKeys/{thumbprint}, which is 43 characters of base64url";
    if is_one { Ok(given.to_owned()) } else { Err(Error::invalid_text("name", name, rule)) }
}
