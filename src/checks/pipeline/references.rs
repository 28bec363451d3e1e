//! The check `references`: what the references of a content name is there.

use std::collections::{BTreeMap, BTreeSet};

use super::other_policies::{OtherPolicies, OtherPolicy};
use super::parse::parse_content;
use super::step::{CheckSubject, Step};
use crate::checks::document::Document;
use crate::checks::references::{Reference, ReferenceMember};
use crate::domain::limits::{REFERENCED_CONTENT_MAX_BYTES, REFERENCED_POLICIES_MAX, REFERENCES_MAX};
use crate::domain::name::PolicyId;
use crate::domain::policy::PolicyKind;
use crate::domain::report::{Check, CheckFinding, CheckResult, REFERENCES_CHECK, Severity};

const FORM_HINT: &str = "write #/a/b for a place in this content, or policy#/a/b for one in the active version of another policy; \
                         reference_keys of the policy names the members that are read";
const OWN_HINT: &str = "correct the reference, or add what it names";
const SEVERAL_HINT: &str = "make several policies of it";

/// Resolves every reference of the content.
pub(super) fn check(subject: &CheckSubject<'_>) -> Step {
    let skipped = |why| Step::Done(Check::new(REFERENCES_CHECK, CheckResult::Skipped, why));
    if !matches!(subject.input.kind, PolicyKind::Json | PolicyKind::Yaml) {
        return skipped("references are read in JSON and YAML alone");
    }
    let Some(document) = &subject.document else {
        return skipped("not resolved: the content does not parse");
    };
    let members = &subject.references.members;
    if members.is_empty() {
        return skipped("the content has no references");
    }
    let mut findings = Vec::from_iter(over_a_limit(subject));
    if findings.is_empty() {
        let missing = missing_in_others(members, subject.others);
        let unresolved = |(index, member)| unresolved(member, document, subject.others, missing.get(&index));
        findings = members.iter().enumerate().filter_map(unresolved).collect();
        // A check keeps the first findings: those that make it fail come first.
        findings.sort_by_key(|finding| finding.severity != Severity::Error);
    }
    if findings.is_empty() {
        let message = format!("references that resolve: {}", members.len());
        return Step::Done(Check::new(REFERENCES_CHECK, CheckResult::Passed, message));
    }
    Step::Done(Check::of(REFERENCES_CHECK, CheckResult::of(&findings), findings))
}

/// Returns why the references are not resolved at all: there is more to them than a check may do.
fn over_a_limit(subject: &CheckSubject<'_>) -> Option<CheckFinding> {
    let policies = subject.references.policies().collect::<BTreeSet<_>>().len();
    if subject.references.has_more {
        let message = format!("the content has over {REFERENCES_MAX} references");
        return Some(CheckFinding::new(Severity::Error, message).with_hint(SEVERAL_HINT));
    }
    if policies > REFERENCED_POLICIES_MAX {
        let message = format!("the content refers to {policies} other policies, over {REFERENCED_POLICIES_MAX}");
        return Some(CheckFinding::new(Severity::Error, message).with_hint(SEVERAL_HINT));
    }
    let bytes = subject.others.referenced_bytes;
    if bytes > REFERENCED_CONTENT_MAX_BYTES {
        let message = format!(
            "the contents of other policies that it refers to have {bytes} bytes, over {REFERENCED_CONTENT_MAX_BYTES}"
        );
        return Some(subject.others.missing(message).with_hint(SEVERAL_HINT));
    }
    None
}

fn unresolved(
    member: &ReferenceMember,
    document: &Document,
    others: &OtherPolicies,
    missing_there: Option<&String>,
) -> Option<CheckFinding> {
    let text = &member.text;
    let own = |message: String, hint: &str| CheckFinding::new(Severity::Error, message).with_hint(hint);
    let finding = match &member.reference {
        Err(why) if text.is_empty() => own(format!("a reference {why}"), FORM_HINT),
        Err(why) => own(format!("reference {text:?} {why}"), FORM_HINT),
        Ok(Reference { policy: Some(policy), .. }) if others.own.as_ref() == Some(policy) => own(
            format!("reference {text:?} names its own policy, whose active version this one replaces"),
            "write it without the policy before #",
        ),
        Ok(reference @ Reference { policy: None, .. }) => {
            let missing = reference.resolve_in(&document.value).err()?;
            own(format!("reference {text:?} does not resolve: nothing is at {missing} of this content"), OWN_HINT)
        }
        Ok(Reference { policy: Some(policy), .. }) => {
            let why = missing_there?;
            let hint = format!(
                "correct the reference, or activate a version of {policy} that has it, alone before this one or together with it"
            );
            others.missing(format!("reference {text:?} does not resolve: {why}")).with_hint(hint)
        }
    };
    Some(finding.at_pointer(&member.pointer))
}

/// Returns why references to other policies lead to nothing there, by the index of the member. Each content is parsed once and dropped
/// before the next one: parsed, a content takes up to hundreds of times its bytes.
fn missing_in_others(members: &[ReferenceMember], others: &OtherPolicies) -> BTreeMap<usize, String> {
    let mut by_policy: BTreeMap<&PolicyId, Vec<(usize, &Reference)>> = BTreeMap::new();
    for (index, member) in members.iter().enumerate() {
        if let Ok(reference @ Reference { policy: Some(policy), .. }) = &member.reference
            && others.own.as_ref() != Some(policy)
        {
            by_policy.entry(policy).or_default().push((index, reference));
        }
    }
    let mut missing = BTreeMap::new();
    for (policy, references) in by_policy {
        let parsed = parse_other(policy, others.active.get(policy).and_then(Option::as_ref));
        for (index, reference) in references {
            let why = match &parsed {
                Err(why) => Some(why.clone()),
                Ok((version, document)) => reference
                    .resolve_in(&document.value)
                    .err()
                    .map(|at| format!("nothing is at {at} of version {version} of {policy}, which is active")),
            };
            missing.extend(why.map(|why| (index, why)));
        }
    }
    missing
}

fn none_active(policy: &PolicyId) -> String {
    format!("{policy} has no active version")
}

fn parse_other(policy: &PolicyId, active: Option<&OtherPolicy>) -> Result<(i64, Document), String> {
    let active = active.ok_or_else(|| none_active(policy))?;
    let (version, content) = (active.version, active.content.as_deref().unwrap_or_default());
    if !matches!(active.kind, PolicyKind::Json | PolicyKind::Yaml) {
        return Err(format!("version {version} of {policy}, which is active, is {}", active.kind.as_str()));
    }
    let document = parse_content(active.kind, active.has_several_files, content).document;
    let document = document.ok_or_else(|| format!("version {version} of {policy}, which is active, does not parse"))?;
    Ok((version, document))
}
