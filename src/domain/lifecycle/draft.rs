//! Draft and AbandonDraft (DESIGN rules 1–3, 6).

use super::super::command;
use super::super::digest::Digest;
use super::super::error::{Error, Reason, Result};
use super::super::etag::Etag;
use super::super::policy::Policy;
use super::super::version::Version;
use super::{check_etag, check_note, check_open};

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
/// `LABEL_CONTENT_CONFLICT`, `TOO_MANY_OPEN_DRAFTS`, `VERSION_NOT_FOUND` for the base, `INVALID_ARGUMENT`.
pub fn draft(facts: DraftFacts<'_>, request: &command::Draft, digest: &Digest) -> Result<DraftDecision> {
    check_request(request)?;
    let policy = facts.policy;
    let takes_over = policy.settings.max_open_drafts == 1;
    if let Some(holder) = facts.label_holder {
        if &holder.digest == digest {
            return Ok(DraftDecision::Existing);
        }
        if !(takes_over && holder.state.is_open()) {
            return Err(label_conflict(holder, digest));
        }
    }
    if !facts.base_exists {
        let base = policy.name.version(request.base_version);
        return Err(Error::new(Reason::VersionNotFound, format!("base version {base} does not exist")).about(base));
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

fn check_request(request: &command::Draft) -> Result<()> {
    check_note("change_note", &request.change_note)?;
    if request.base_version < 0 {
        return Err(Error::invalid("base_version", "must not be negative"));
    }
    Ok(())
}

fn label_conflict(holder: &Version, digest: &Digest) -> Error {
    let label = holder.label.as_ref().map(ToString::to_string).unwrap_or_default();
    Error::new(
        Reason::LabelContentConflict,
        format!("label {label} is taken by {} with other content; choose another label", holder.name()),
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

/// The one open version a caller means who named just the policy.
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
    use bytes::Bytes;

    use super::super::model::{digest, new_policy, policy_name};
    use super::*;
    use crate::domain::limits::NOTE_MAX_BYTES;

    fn request(note_bytes: usize, base_version: i64) -> command::Draft {
        command::Draft {
            policy: policy_name(0),
            content: Bytes::new(),
            content_type: String::new(),
            label: None,
            change_note: "n".repeat(note_bytes),
            requires: Vec::new(),
            base_version,
            allow_missing: false,
        }
    }

    #[test]
    fn a_request_is_bounded() {
        let policy = new_policy(0);
        let facts = DraftFacts { policy: &policy, open: &[], label_holder: None, base_exists: true };
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
}
