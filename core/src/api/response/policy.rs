//! Policies and namespaces.

use super::cursor;
use super::import::namespace_import;
use crate::api::pb;
use crate::api::time::timestamp;
use crate::domain::event::Head;
use crate::domain::import::Import;
use crate::domain::outcome::Namespace;
use crate::domain::pointed_policy::PointedPolicy;
use crate::domain::policy::{BumpRule, PolicyKind};
use crate::domain::quota::Quotas;

/// Returns the answer of GetNamespace: a namespace with the histories that were imported into it.
#[must_use]
pub fn found_namespace(from: Namespace, imports: Vec<Import>) -> pb::GetNamespaceResponse {
    let imports = imports.into_iter().map(namespace_import).collect();
    pb::GetNamespaceResponse { namespace: Some(pb::Namespace { imports, ..namespace(from) }) }
}

/// Returns a namespace without the histories that were imported into it.
#[must_use]
pub fn namespace(from: Namespace) -> pb::Namespace {
    let etag = from.etag().to_string();
    pb::Namespace {
        quotas: Some(quotas(from.quotas)),
        name: from.id.name(),
        description: from.description,
        head: Some(cursor(Head { cursor: from.cursor, hash: from.head_hash })),
        head_hash: from.head_hash.to_vec().into(),
        etag,
        create_time: Some(timestamp(from.create_time)),
        imports: Vec::new(),
    }
}

fn quotas(from: Quotas) -> pb::NamespaceQuotas {
    let count = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
    pb::NamespaceQuotas {
        max_policies: from.max_policies,
        max_versions: from.max_versions,
        max_content_bytes: from.max_content_bytes,
        max_streams: count(from.max_streams),
        writes_per_second: count(from.writes_per_second),
        reads_per_second: count(from.reads_per_second),
    }
}

impl From<PointedPolicy> for pb::GetPolicyResponse {
    fn from(found: PointedPolicy) -> Self {
        Self { policy: Some(policy(found)) }
    }
}

/// Returns a policy.
#[must_use]
pub fn policy(from: PointedPolicy) -> pb::Policy {
    let PointedPolicy { policy: from, activation } = from;
    let kind = match from.kind {
        PolicyKind::Json => pb::PolicyKind::Json,
        PolicyKind::Yaml => pb::PolicyKind::Yaml,
        PolicyKind::Cedar => pb::PolicyKind::Cedar,
        PolicyKind::Rego => pb::PolicyKind::Rego,
        PolicyKind::Opaque => pb::PolicyKind::Opaque,
        PolicyKind::Template => pb::PolicyKind::Template,
    };
    let bump_rule = match from.settings.bump_rule {
        BumpRule::Any => pb::BumpRule::Unspecified,
        BumpRule::Next => pb::BumpRule::Next,
    };
    let count = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
    let etag = from.etag().to_string();
    pb::Policy {
        name: from.name.to_string(),
        kind: kind.into(),
        description: from.description,
        settings: Some(pb::PolicySettings {
            max_open_drafts: count(from.settings.max_open_drafts),
            json_schema: from.settings.json_schema,
            allow_backport: from.settings.allow_backport,
            bump_rule: bump_rule.into(),
            allow_draft_fallback: from.settings.allow_draft_fallback,
            required_approvals: count(from.settings.required_approvals),
            require_change_note: from.settings.require_change_note,
            require_base_active: from.settings.require_base_active,
            reference_keys: from.settings.reference_keys,
        }),
        active_version: from.active_version,
        activation: activation.map(Into::into),
        latest_version: from.latest_version,
        etag,
        create_time: Some(timestamp(from.create_time)),
        update_time: Some(timestamp(from.update_time)),
    }
}
