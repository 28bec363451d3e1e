//! Draft and AbandonDraft (docs/lifecycle.md#rule-1 to #rule-3, #rule-6).

use std::collections::BTreeSet;

use super::super::command;
use super::super::digest::Digest;
use super::super::error::{Error, Reason, Result};
use super::super::etag::Etag;
use super::super::name::PolicyId;
use super::super::policy::Policy;
use super::super::template::TemplateSource;
use super::super::version::{Requirement, Version, VersionState};
use super::preconditions::{check_etag, check_note, check_open};

/// What a draft is decided on.
#[derive(Debug, Clone, Copy)]
pub struct DraftFacts<'a> {
    /// The policy.
    pub policy: &'a Policy,
    /// Its drafts and staged versions, in order of their numbers.
    pub open: &'a [Version],
    /// The live version that holds the label asked for.
    pub label_holder: Option<&'a Version>,
    /// Whether the base version exists; true when none is named.
    pub base_exists: bool,
    /// Who staged the open version that the draft would end; empty when nobody knows.
    pub stager: &'a str,
    /// The template that the content was made from, if it was.
    pub template: Option<&'a TemplateSource>,
}

impl DraftFacts<'_> {
    /// Returns the staged version that a new draft would end without a word: somebody checked it, and may have had it approved.
    #[must_use]
    pub fn staged(policy: &Policy, open: &[Version], request: &command::Draft) -> Option<usize> {
        let ends_it = policy.settings.max_open_drafts == 1 && !request.supersede_staged;
        open.iter().position(|version| ends_it && version.state == VersionState::Staged)
    }
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DraftDecision {
    /// The version that holds the label has the same bytes: it is the answer.
    Existing,
    /// A new version.
    New {
        /// Its number.
        number: i64,
        /// Open versions that end for it.
        superseded: Vec<i64>,
    },
}

/// Decides a draft.
///
/// # Errors
/// `LABEL_CONTENT_CONFLICT`, `TOO_MANY_OPEN_DRAFTS`, `VERSION_STAGED`, `VERSION_NOT_FOUND` for the base, `INVALID_ARGUMENT`.
pub fn draft(facts: DraftFacts<'_>, request: &command::Draft, digest: &Digest) -> Result<DraftDecision> {
    let policy = facts.policy;
    check_request(policy, request)?;
    let takes_over = policy.settings.max_open_drafts == 1;
    if let Some(holder) = facts.label_holder {
        let Some(what) = difference(holder, request, digest, facts.template) else {
            return Ok(DraftDecision::Existing);
        };
        if !(takes_over && holder.state.is_open()) {
            return Err(label_conflict(holder, digest, what));
        }
    }
    if !facts.base_exists {
        let base = policy.name.version(request.base_version);
        return Err(Error::new(Reason::VersionNotFound, format!("base version {base} does not exist")).about(base));
    }
    if let Some(staged) = DraftFacts::staged(policy, facts.open, request).and_then(|index| facts.open.get(index)) {
        return Err(staged_stays(staged, facts.stager));
    }
    let superseded = if takes_over { facts.open.iter().map(|version| version.number).collect() } else { Vec::new() };
    let limit = policy.settings.max_open_drafts as usize;
    if limit > 1 && facts.open.len() >= limit {
        return Err(Error::new(
            Reason::TooManyOpenDrafts,
            format!("{} has {} open drafts; publish or abandon one", policy.name, facts.open.len()),
        )
        .with("limit", limit)
        .about(&policy.name));
    }
    Ok(DraftDecision::New { number: policy.latest_version + 1, superseded })
}

/// Checks that a draft starts from the active version, in a policy that requires it. The log does not hold the base of a draft, so this is
/// decided when it is written, and not again when the log is verified.
///
/// # Errors
/// `EXPECTED_ACTIVE_MISMATCH`, with both versions.
pub fn check_base_is_active(policy: &Policy, base_version: i64) -> Result<()> {
    let active = policy.active_version;
    if !policy.settings.require_base_active || base_version == active {
        return Ok(());
    }
    let name = &policy.name;
    let base =
        if base_version == 0 { "names no base".to_owned() } else { format!("starts from version {base_version}") };
    let rule = if active == 0 {
        format!("{name} has nothing active, and the draft {base}: draft without a base")
    } else {
        format!("{name} has version {active} active, and the draft {base}: look at what is active, and start from that")
    };
    Err(Error::new(Reason::ExpectedActiveMismatch, rule)
        .with("policy", name)
        .with("base_version", base_version)
        .with("expected_active", base_version)
        .with("current_active", active)
        .about(name))
}

fn check_request(policy: &Policy, request: &command::Draft) -> Result<()> {
    check_note("change_note", &request.change_note)?;
    if policy.settings.require_change_note && request.change_note.trim().is_empty() {
        return Err(Error::invalid("change_note", "is required by the policy: say what changed and why"));
    }
    if let Some(kind) = request.kind.filter(|kind| *kind != policy.kind) {
        return Err(Error::invalid(
            "kind",
            format!("is {}, and the policy is {}", kind.as_str(), policy.kind.as_str()),
        ));
    }
    policy.kind.check_content_type(&request.content_type)?;
    check_requires(&policy.name.policy, &request.requires)?;
    if request.base_version < 0 {
        return Err(Error::invalid("base_version", "must not be negative"));
    }
    Ok(())
}

/// Refuses requirements that could never hold, or that two lists could say differently.
fn check_requires(own: &PolicyId, requires: &[Requirement]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for (index, requirement) in requires.iter().enumerate() {
        let rule = if requirement.policy == *own {
            "must be another policy than the one that is drafted"
        } else if !seen.insert(&requirement.policy) {
            "is named twice: write one requirement, such as \">=1.2, <2\""
        } else {
            continue;
        };
        return Err(Error::invalid(format!("requires[{index}].policy"), rule));
    }
    Ok(())
}

fn staged_stays(staged: &Version, stager: &str) -> Error {
    let who = if stager.is_empty() { String::new() } else { format!(" by {stager}") };
    let when = staged.stage_time.map(|time| format!(" at {time}")).unwrap_or_default();
    let message = format!(
        "{} was staged{who}{when}, and the policy has one draft at a time: publish or abandon it, or give supersede_staged \
         to end it",
        staged.name()
    );
    Error::new(Reason::VersionStaged, message)
        .with("version", staged.number)
        .with("staged_by", stager)
        .with("stage_time", staged.stage_time.map(|time| time.to_string()).unwrap_or_default())
        .about(staged.name())
}

/// Returns what a request for the label of a version says that the version does not; none: the version is what was asked for. Who says
/// nothing of annotations, requirements, adoption and template takes what is there.
fn difference(
    holder: &Version,
    request: &command::Draft,
    digest: &Digest,
    template: Option<&TemplateSource>,
) -> Option<&'static str> {
    if &holder.digest != digest {
        Some("other content")
    } else if !request.annotations.is_empty() && request.annotations != holder.annotations {
        Some("other annotations")
    } else if !request.requires.is_empty() && request.requires != holder.requires {
        Some("other requirements")
    } else if request.adopted.is_some() && request.adopted != holder.adopted {
        Some("another adoption")
    } else if template.is_some() && template != holder.template.as_ref() {
        Some("another template or other parameters")
    } else {
        None
    }
}

fn label_conflict(holder: &Version, digest: &Digest, what: &str) -> Error {
    let label = holder.label.as_ref().map(ToString::to_string).unwrap_or_default();
    Error::new(
        Reason::LabelContentConflict,
        format!("label {label} is taken by {} with {what}; choose another label", holder.name()),
    )
    .with("label", label)
    .with("version", holder.number)
    .with("state", holder.state.as_str())
    .with("existing_digest", &holder.digest)
    .with("given_digest", digest)
    .about(holder.name())
}

/// Decides whether a draft may end.
///
/// # Errors
/// `ETAG_MISMATCH`, `VERSION_NOT_OPEN`.
pub fn abandon(version: &Version, etag: Option<&Etag>) -> Result<()> {
    check_etag(etag, &version.etag(), &version.name())?;
    check_open(version)
}

/// Returns the one open version a caller means who named just the policy.
///
/// # Errors
/// `NO_OPEN_DRAFT`, `SEVERAL_OPEN_DRAFTS` naming them.
pub fn resolve_open<'a>(policy: &Policy, open: &'a [Version]) -> Result<&'a Version> {
    match open {
        [only] => Ok(only),
        [] => Err(Error::new(Reason::NoOpenDraft, format!("{} has no open draft; draft one first", policy.name))
            .about(&policy.name)),
        several => {
            let numbers: Vec<String> = several.iter().map(|version| version.number.to_string()).collect();
            Err(Error::new(
                Reason::SeveralOpenDrafts,
                format!("{} has several open drafts ({}); name the version", policy.name, numbers.join(", ")),
            )
            .with("versions", numbers.join(","))
            .about(&policy.name))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::model::{digest, draft_request, label, new_policy, new_version, policy_name};
    use super::*;
    use crate::domain::annotations::Annotations;
    use crate::domain::limits::NOTE_MAX_BYTES;
    use crate::domain::policy::PolicyKind;

    fn request(note_bytes: usize, base_version: i64) -> command::Draft {
        let change_note = "n".repeat(note_bytes);
        command::Draft { change_note, base_version, ..draft_request(policy_name(0)) }
    }

    #[test]
    fn a_draft_is_of_the_kind_of_its_policy() {
        for (kind, content_type, said, field) in [
            (PolicyKind::Json, "", None, None),
            (PolicyKind::Json, "application/vnd.x+json; charset=utf-8", Some(PolicyKind::Json), None),
            (PolicyKind::Json, "application/yaml", None, Some("content_type")),
            (PolicyKind::Yaml, "text/plain", None, Some("content_type")),
            (PolicyKind::Yaml, "text/yaml", Some(PolicyKind::Json), Some("kind")),
            (PolicyKind::Opaque, "application/vnd.cedar", None, None),
            (PolicyKind::Opaque, "application/json", Some(PolicyKind::Opaque), None),
        ] {
            let policy = Policy { kind, ..new_policy(0) };
            let facts = DraftFacts {
                policy: &policy,
                open: &[],
                label_holder: None,
                base_exists: true,
                stager: "",
                template: None,
            };
            let request = command::Draft { content_type: content_type.to_owned(), kind: said, ..request(0, 0) };
            let error = draft(facts, &request, &digest(0)).err();
            let named = error.as_ref().map(|error| error.violations[0].field.as_str());
            assert_eq!(named, field, "{kind:?} {content_type}");
        }
    }

    #[test]
    fn a_request_is_bounded() {
        let policy = new_policy(0);
        let facts = DraftFacts {
            policy: &policy,
            open: &[],
            label_holder: None,
            base_exists: true,
            stager: "",
            template: None,
        };
        let refused = |request: command::Draft| {
            let error = draft(facts, &request, &digest(0)).err()?;
            assert_eq!(error.reason, Reason::InvalidArgument, "{error}");
            Some(error.violations.into_iter().map(|each| each.field).collect::<Vec<_>>())
        };
        assert_eq!(refused(request(NOTE_MAX_BYTES, 0)), None);
        assert_eq!(refused(request(NOTE_MAX_BYTES + 1, 0)), Some(vec!["change_note".to_owned()]));
        let nul = command::Draft { change_note: "a\0b".to_owned(), ..request(0, 0) };
        assert_eq!(refused(nul), Some(vec!["change_note".to_owned()]));
        assert_eq!(refused(request(0, -1)), Some(vec!["base_version".to_owned()]));
    }

    #[test]
    fn a_label_stands_for_content_and_annotations() {
        let annotations = |owner: &str| Annotations::new("a", [("owner".to_owned(), owner.to_owned())]).expect("one");
        let policy = new_policy(0);
        let kept = new_version(policy_name(0), 1, Some(label(0)), digest(0));
        let holder = Version { annotations: annotations("a"), ..kept };
        let facts = DraftFacts {
            policy: &policy,
            open: &[],
            label_holder: Some(&holder),
            base_exists: true,
            stager: "",
            template: None,
        };
        let ask = |annotations| draft(facts, &command::Draft { annotations, ..request(0, 0) }, &digest(0));
        assert_eq!(ask(annotations("a")).ok(), Some(DraftDecision::Existing));
        assert_eq!(ask(Annotations::default()).ok(), Some(DraftDecision::Existing), "nothing was said of them");
        let refused = ask(annotations("b")).expect_err("another owner");
        assert_eq!(refused.reason, Reason::LabelContentConflict);
        assert!(refused.message.contains("other annotations"), "{refused}");
    }
}
