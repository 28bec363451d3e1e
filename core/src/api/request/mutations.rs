//! The mutations of `PolicyService`.

use super::collect_errors::{at_most, collect_all_errors, collect_errors};
use super::fields::{count, etag, exact_version, namespace, policy, policy_or_version, update_paths};
use super::sync::optional_position;
use crate::api::pb;
use crate::api::pb::activate_target::To;
use crate::api::time::micros;
use crate::domain::adopted::Adopted;
use crate::domain::annotations::Annotations;
use crate::domain::command::{
    AbandonDraft, Activate, ActivationTarget, ApproveVersion, CreatePolicy, Deactivate, Draft, FromTemplate,
    PointerTarget, Publish, PublishVersions, RejectVersion, Rollback, RollbackTarget, SettingsPatch, Stage,
    UpdatePolicy, VersionToPublish,
};
use crate::domain::digest::Digest;
use crate::domain::error::REQUIRED;
use crate::domain::label::Label;
use crate::domain::limits::{
    ACTIVATION_TARGETS_MAX, APPROVALS_PER_VERSION_MAX, PUBLISH_VERSIONS_MAX, REFERENCE_KEY_MAX_BYTES,
    REFERENCE_KEYS_MAX, REQUIRES_MAX, TEMPLATE_PARAMETERS_MAX_BYTES, VERSION_REQ_MAX_CHARS,
};
use crate::domain::name::{PolicyId, PolicyName, VersionName, VersionRef};
use crate::domain::policy::{BumpRule, PolicyKind, PolicySettings};
use crate::domain::version::Requirement;
use crate::domain::{Error, Result};

/// Reads a kind; none when it is not given.
fn kind(field: &str, value: i32) -> Result<Option<PolicyKind>> {
    match pb::PolicyKind::try_from(value) {
        Ok(pb::PolicyKind::Unspecified) => Ok(None),
        Ok(pb::PolicyKind::Json) => Ok(Some(PolicyKind::Json)),
        Ok(pb::PolicyKind::Yaml) => Ok(Some(PolicyKind::Yaml)),
        Ok(pb::PolicyKind::Cedar) => Ok(Some(PolicyKind::Cedar)),
        Ok(pb::PolicyKind::Rego) => Ok(Some(PolicyKind::Rego)),
        Ok(pb::PolicyKind::Opaque) => Ok(Some(PolicyKind::Opaque)),
        Ok(pb::PolicyKind::Template) => Ok(Some(PolicyKind::Template)),
        Err(_) => Err(Error::invalid(field, "is not a kind this server knows")),
    }
}

fn bump_rule(value: i32) -> Result<BumpRule> {
    match pb::BumpRule::try_from(value) {
        Ok(pb::BumpRule::Unspecified) => Ok(BumpRule::Any),
        Ok(pb::BumpRule::Next) => Ok(BumpRule::Next),
        Err(_) => Err(Error::invalid("policy.settings.bump_rule", "is not a rule this server knows")),
    }
}

fn required_approvals(value: i32) -> Result<u32> {
    let field = "policy.settings.required_approvals";
    let required = count(field, value)?;
    if required as usize > APPROVALS_PER_VERSION_MAX {
        return Err(Error::invalid(field, format!("must be at most {APPROVALS_PER_VERSION_MAX}")));
    }
    Ok(required)
}

fn reference_keys(keys: Vec<String>) -> Result<Vec<String>> {
    let field = "policy.settings.reference_keys";
    at_most(field, &keys, REFERENCE_KEYS_MAX)?;
    for (index, key) in keys.iter().enumerate() {
        let rule = if key.is_empty() || key.len() > REFERENCE_KEY_MAX_BYTES || key.chars().any(char::is_control) {
            format!("must have 1 to {REFERENCE_KEY_MAX_BYTES} bytes without control characters")
        } else if keys.iter().take(index).any(|before| before == key) {
            "is named twice".to_owned()
        } else {
            continue;
        };
        return Err(Error::invalid(format!("{field}[{index}]"), rule));
    }
    Ok(keys)
}

fn settings(from: pb::PolicySettings) -> Result<PolicySettings> {
    let counts = collect_errors(
        count("policy.settings.max_open_drafts", from.max_open_drafts),
        required_approvals(from.required_approvals),
    );
    let rest = collect_errors(bump_rule(from.bump_rule), reference_keys(from.reference_keys));
    let ((max_open_drafts, required_approvals), (bump_rule, reference_keys)) = collect_errors(counts, rest)?;
    Ok(PolicySettings {
        max_open_drafts,
        json_schema: from.json_schema,
        allow_backport: from.allow_backport,
        bump_rule,
        allow_draft_fallback: from.allow_draft_fallback,
        required_approvals,
        require_change_note: from.require_change_note,
        require_base_active: from.require_base_active,
        reference_keys,
    })
}

/// Reads a CreatePolicy request.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn create_policy(request: pb::CreatePolicyRequest) -> Result<CreatePolicy> {
    let given = request.policy.unwrap_or_default();
    let name = collect_errors(namespace("parent", &request.parent), PolicyId::parse("policy_id", &request.policy_id));
    let decided = collect_errors(kind("policy.kind", given.kind), settings(given.settings.unwrap_or_default()));
    let ((namespace, policy), (kind, settings)) = collect_errors(name, decided)?;
    let policy = PolicyName { namespace, policy };
    let kind = kind.unwrap_or(PolicyKind::Opaque);
    Ok(CreatePolicy { policy, kind, description: given.description, settings })
}

/// Reads an UpdatePolicy request. Paths of the mask: `kind`, `description`, `settings`, `settings.{field}`; `*` for all, none for those that are
/// populated (AIP-134).
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn update_policy(request: pb::UpdatePolicyRequest) -> Result<UpdatePolicy> {
    let given = request.policy.ok_or_else(|| Error::invalid("policy", "is required"))?;
    let named = collect_errors(policy("policy.name", &given.name), etag(&given.etag));
    let from = given.settings.unwrap_or_default();
    let populated = [
        ("kind", given.kind != 0),
        ("description", !given.description.is_empty()),
        ("settings.max_open_drafts", from.max_open_drafts != 0),
        ("settings.json_schema", !from.json_schema.is_empty()),
        ("settings.allow_backport", from.allow_backport),
        ("settings.bump_rule", from.bump_rule != 0),
        ("settings.allow_draft_fallback", from.allow_draft_fallback),
        ("settings.required_approvals", from.required_approvals != 0),
        ("settings.require_change_note", from.require_change_note),
        ("settings.require_base_active", from.require_base_active),
        ("settings.reference_keys", !from.reference_keys.is_empty()),
    ];
    let all: &[&str] =
        if given.kind == 0 { &["description", "settings"] } else { &["kind", "description", "settings"] };
    let paths = update_paths(request.update_mask, all, &populated)?;
    let ((policy, etag), new) = collect_errors(named, settings(from))?;
    let mut update = UpdatePolicy { policy, kind: None, description: None, settings: SettingsPatch::default(), etag };
    for path in paths {
        let patch = &mut update.settings;
        match path.as_str() {
            "kind" => {
                update.kind =
                    Some(kind("policy.kind", given.kind)?.ok_or_else(|| Error::invalid("policy.kind", "is required"))?)
            }
            "description" => update.description = Some(given.description.clone()),
            "settings" => {
                *patch = SettingsPatch {
                    max_open_drafts: Some(new.max_open_drafts),
                    json_schema: Some(new.json_schema.clone()),
                    allow_backport: Some(new.allow_backport),
                    bump_rule: Some(new.bump_rule),
                    allow_draft_fallback: Some(new.allow_draft_fallback),
                    required_approvals: Some(new.required_approvals),
                    require_change_note: Some(new.require_change_note),
                    require_base_active: Some(new.require_base_active),
                    reference_keys: Some(new.reference_keys.clone()),
                }
            }
            "settings.max_open_drafts" => patch.max_open_drafts = Some(new.max_open_drafts),
            "settings.json_schema" => patch.json_schema = Some(new.json_schema.clone()),
            "settings.allow_backport" => patch.allow_backport = Some(new.allow_backport),
            "settings.bump_rule" => patch.bump_rule = Some(new.bump_rule),
            "settings.allow_draft_fallback" => patch.allow_draft_fallback = Some(new.allow_draft_fallback),
            "settings.required_approvals" => patch.required_approvals = Some(new.required_approvals),
            "settings.require_change_note" => patch.require_change_note = Some(new.require_change_note),
            "settings.require_base_active" => patch.require_base_active = Some(new.require_base_active),
            "settings.reference_keys" => patch.reference_keys = Some(new.reference_keys.clone()),
            other => return Err(Error::invalid("update_mask", format!("path {other:?} can't be changed"))),
        }
    }
    Ok(update)
}

fn requirement((index, from): (usize, pb::Requirement)) -> Result<Requirement> {
    let invalid = |rule: String| Error::invalid_text(format!("requires[{index}].version_req"), &from.version_req, rule);
    let version_req = if from.version_req.len() > VERSION_REQ_MAX_CHARS {
        Err(invalid(format!("is over {VERSION_REQ_MAX_CHARS} characters")))
    } else {
        let parsed = semver::VersionReq::parse(&from.version_req);
        parsed.map_err(|error| invalid(format!("is no SemVer requirement: {error}")))
    };
    let policy = PolicyId::parse(&format!("requires[{index}].policy"), &from.policy);
    collect_errors(policy, version_req).map(|(policy, version_req)| Requirement { policy, version_req })
}

/// Reads a Draft request.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn draft(request: pb::DraftRequest) -> Result<Draft> {
    let label = (!request.label.is_empty()).then(|| Label::parse("label", &request.label)).transpose();
    at_most("requires", &request.requires, REQUIRES_MAX)?;
    let requires = collect_all_errors(request.requires.into_iter().enumerate().map(requirement));
    let annotations =
        collect_errors(Annotations::new("annotations", request.annotations), request.adopted.map(adopted).transpose());
    let received =
        collect_errors(collect_errors(kind("kind", request.kind), annotations), collect_errors(label, requires));
    let (policy, ((kind, (annotations, adopted)), (label, requires))) =
        collect_errors(policy("parent", &request.parent), received)?;
    let from_template = request.from_template.map(|from| from_template(from, &policy)).transpose()?;
    if from_template.is_some() && !request.content.is_empty() {
        return Err(Error::invalid("content", "must be empty with from_template: the server makes it"));
    }
    Ok(Draft {
        policy,
        content: request.content,
        content_type: request.content_type,
        label,
        change_note: request.change_note,
        requires,
        annotations,
        base_version: request.base_version,
        allow_missing: request.allow_missing,
        kind,
        supersede_staged: request.supersede_staged,
        adopted,
        from_template,
    })
}

fn from_template(from: pb::FromTemplate, policy: &PolicyName) -> Result<FromTemplate> {
    const FIELD: &str = "from_template.template";
    let template = if from.template.contains("/versions/") {
        VersionName::parse(FIELD, &from.template)?
    } else {
        VersionName { policy: PolicyName::parse(FIELD, &from.template)?, version: VersionRef::Active }
    };
    if template.policy.namespace != policy.namespace {
        let rule = format!("must be of the namespace of the draft, {}", policy.namespace);
        return Err(Error::invalid(FIELD, rule));
    }
    if from.parameters.len() > TEMPLATE_PARAMETERS_MAX_BYTES {
        let rule = format!("is over {TEMPLATE_PARAMETERS_MAX_BYTES} bytes");
        return Err(Error::invalid("from_template.parameters", rule));
    }
    Ok(FromTemplate { template, parameters: from.parameters })
}

fn adopted(from: pb::Adopted) -> Result<Adopted> {
    let create_time = from.create_time.map(|time| micros("adopted.create_time", time)).transpose()?;
    Adopted::new(from.author, create_time)
}

/// Reads an AbandonDraft request.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn abandon_draft(request: pb::AbandonDraftRequest) -> Result<AbandonDraft> {
    let (version, etag) = collect_errors(exact_version("name", &request.name), etag(&request.etag))?;
    Ok(AbandonDraft { version, etag, reason: request.reason })
}

/// Reads a Stage request.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn stage(request: &pb::StageRequest) -> Result<Stage> {
    let (target, etag) = collect_errors(policy_or_version("name", &request.name), etag(&request.etag))?;
    Ok(Stage { target, etag })
}

/// Reads an ApproveVersion request.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn approve_version(request: pb::ApproveVersionRequest) -> Result<ApproveVersion> {
    let (version, digest) = reviewed(&request.name, &request.digest)?;
    Ok(ApproveVersion { version, digest, reason: request.reason })
}

/// Reads a RejectVersion request.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn reject_version(request: pb::RejectVersionRequest) -> Result<RejectVersion> {
    let (version, digest) = reviewed(&request.name, &request.digest)?;
    Ok(RejectVersion { version, digest, reason: request.reason })
}

/// Reads which version a review is about. Name and digest are required: nobody decides about what they have not seen.
fn reviewed(name: &str, digest: &str) -> Result<(VersionName, Digest)> {
    collect_errors(exact_version("name", name), Digest::parse("digest", digest))
}

/// Reads a Publish request.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn publish(request: pb::PublishRequest) -> Result<Publish> {
    let (target, etag) = collect_errors(policy_or_version("name", &request.name), etag(&request.etag))?;
    let pb::PublishRequest { activate, reason, break_glass, expected_active, .. } = request;
    Ok(Publish { target, etag, activate, reason, break_glass, expected_active })
}

/// Reads a PublishVersions request. What is wrong with the name or the etag of one version is a refusal of that version.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn publish_versions(request: pb::PublishVersionsRequest) -> Result<PublishVersions> {
    let listed = match request.versions.len() {
        0 => Err(Error::invalid("versions", REQUIRED)),
        _ => at_most("versions", &request.versions, PUBLISH_VERSIONS_MAX),
    };
    let (namespace, ()) = collect_errors(namespace("parent", &request.parent), listed)?;
    let one = |from: pb::VersionToPublish| {
        // Name the field as Publish of this version alone would.
        let field = "name";
        let target =
            collect_errors(policy_or_version(field, &from.name), etag(&from.etag)).and_then(|(target, etag)| {
                let is_here = *target.namespace() == namespace;
                let elsewhere = || Error::invalid(field, format!("must be in {}", namespace.name()));
                if is_here { Ok((target, etag)) } else { Err(elsewhere()) }
            });
        VersionToPublish { name: from.name, etag: from.etag, target }
    };
    let versions = request.versions.into_iter().map(one).collect();
    Ok(PublishVersions { namespace, versions, reason: request.reason })
}

/// Reads an Activate request.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn activate(request: pb::ActivateRequest) -> Result<Activate> {
    let namespace = namespace("parent", &request.parent)?;
    at_most("targets", &request.targets, ACTIVATION_TARGETS_MAX)?;
    let target = |(index, from): (usize, pb::ActivateTarget)| {
        let policy = PolicyId::parse_within(&format!("targets[{index}].policy"), &namespace, &from.policy)?;
        let to = match from.to {
            Some(To::Version(number)) => PointerTarget::Number(number),
            Some(To::Label(text)) => {
                PointerTarget::Label(policy.parse_label(&format!("targets[{index}].label"), &text)?)
            }
            Some(To::None(())) => PointerTarget::None,
            // No version has this number, so it is refused with the other violations.
            None => PointerTarget::Number(0),
        };
        Ok(ActivationTarget { policy, to, expected_active: from.expected_active })
    };
    let targets = collect_all_errors(request.targets.into_iter().enumerate().map(target))?;
    let unmoved_since = optional_position("unmoved_since", request.unmoved_since)?;
    let pb::ActivateRequest { reason, skip_validation, .. } = request;
    Ok(Activate { namespace, targets, reason, unmoved_since, skip_validation })
}

/// Reads a Rollback request.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn rollback(request: pb::RollbackRequest) -> Result<Rollback> {
    let copy_forward = match pb::RollbackMode::try_from(request.mode) {
        Ok(pb::RollbackMode::Unspecified | pb::RollbackMode::Pointer) => false,
        Ok(pb::RollbackMode::CopyForward) => true,
        Err(_) => return Err(Error::invalid("mode", "is not a mode this server knows")),
    };
    let (policy, unmoved_since) =
        collect_errors(policy("name", &request.name), optional_position("unmoved_since", request.unmoved_since))?;
    let to = match &request.to {
        Some(pb::rollback_request::To::Version(number)) => Some(RollbackTarget::Number(*number)),
        Some(pb::rollback_request::To::Label(label)) => {
            Some(RollbackTarget::Label(policy.policy.parse_label("label", label)?))
        }
        None => None,
    };
    Ok(Rollback {
        policy,
        to,
        copy_forward,
        reason: request.reason,
        skip_validation: request.skip_validation,
        expected_active: request.expected_active,
        unmoved_since,
    })
}

/// Reads a Deactivate request.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn deactivate(request: pb::DeactivateRequest) -> Result<Deactivate> {
    let policy = policy("name", &request.name)?;
    Ok(Deactivate { policy, expected_active: request.expected_active, reason: request.reason })
}
