//! ApproveVersion and RejectVersion, and which approvals count (docs/security.md#t33).
//!
//! Invariant: what counts is counted anew at each publication, from what was given and from the policy and the version as
//! they are then. Nothing has to be undone when either changes.

use std::collections::BTreeSet;

use super::super::approval::Approval;
use super::super::command;
use super::super::digest::Digest;
use super::super::error::{Error, Reason, Result};
use super::super::limits::{APPROVAL_TTL_SECONDS, APPROVALS_PER_VERSION_MAX};
use super::super::policy::Policy;
use super::super::principal::identity_in;
use super::super::time::Micros;
use super::super::version::{Version, VersionState};
use super::preconditions::check_open;

/// Holds what an approval is decided on.
#[derive(Debug, Clone, Copy)]
pub struct ApproveFacts<'a> {
    /// The policy.
    pub policy: &'a Policy,
    /// The version.
    pub version: &'a Version,
    /// Every approval it was given before; proven.
    pub approvals: &'a [Approval],
    /// Says who brought the version from another store; none: it was made here.
    pub importer: Option<&'a str>,
    /// Id of this store: its people's versions may come back through an import.
    pub store: &'a str,
    /// Says who approves.
    pub approver: &'a str,
    /// Is the time from which the expiry is counted.
    pub now: Micros,
    /// Says where its event will stand.
    pub revision: i64,
}

/// Decides an approval. The same approver's older one makes room for it.
///
/// # Errors
/// `VERSION_NOT_OPEN`, `VERSION_NOT_STAGED`, `DIGEST_MISMATCH`, `SELF_APPROVAL`, `LIMIT_EXCEEDED`.
pub fn approve(facts: ApproveFacts<'_>, request: &command::ApproveVersion) -> Result<Approval> {
    let ApproveFacts { policy, version, approvals, importer, store, approver, now, revision } = facts;
    if !version.is_imported() {
        check_open(version)?;
    }
    if !is_reviewable(version) {
        let message = format!("{} is not staged yet: its checks have not passed", version.name());
        return Err(Error::new(Reason::VersionNotStaged, message)
            .with("state", version.state.as_str())
            .about(version.name()));
    }
    check_digest(version, &request.digest)?;
    if approver == identity_in(store, &version.author) {
        let message = format!("{approver} wrote {}; somebody else must approve it", version.name());
        return Err(Error::new(Reason::SelfApproval, message).with("author", approver).about(version.name()));
    }
    // The importer chose the archive, and so its content.
    if importer == Some(approver) {
        let message = format!("{approver} imported {}; somebody else must approve it", version.name());
        return Err(Error::new(Reason::SelfApproval, message).with("author", approver).about(version.name()));
    }
    let counted = counting(policy, version, approvals, now);
    if counted.iter().filter(|other| other.approver != approver).count() >= APPROVALS_PER_VERSION_MAX {
        let message = format!("{} has {APPROVALS_PER_VERSION_MAX} approvals, the most it can", version.name());
        return Err(Error::new(Reason::LimitExceeded, message)
            .with("limit", APPROVALS_PER_VERSION_MAX)
            .about(version.name()));
    }
    Ok(Approval {
        approver: approver.to_owned(),
        digest: version.digest.clone(),
        policy_edits: policy.edits,
        reason: request.reason.clone(),
        create_time: now,
        expire_time: Micros(now.0.saturating_add(APPROVAL_TTL_SECONDS * 1_000_000)),
        revision,
    })
}

/// Decides a rejection. Its author may: it ends the version as abandoning it does.
///
/// # Errors
/// `VERSION_NOT_OPEN`, `DIGEST_MISMATCH`.
pub fn reject(version: &Version, request: &command::RejectVersion) -> Result<()> {
    check_open(version)?;
    check_digest(version, &request.digest)
}

/// Returns whether a version can be approved: it is staged, or another store published it and it has yet to be in force here.
fn is_reviewable(version: &Version) -> bool {
    version.state == VersionState::Staged || version.is_imported()
}

/// Holds what putting an imported version in force is decided on.
#[derive(Debug, Clone, Copy)]
pub struct Review<'a> {
    /// Every approval that it was given here, whether it still counts or not; proven.
    pub approvals: &'a [Approval],
    /// Says whether it was in force here before.
    pub was_active: bool,
    /// Decides which approvals have expired.
    pub now: Micros,
}

/// Decides whether a version may be put in force that another store published: the first time it needs the approvals that
/// its policy asks for, since what another store approved is that store's word. Answers those that counted; none for a
/// version that was published here, whose publication had them.
///
/// # Errors
/// `APPROVALS_MISSING`.
pub fn reviewed(policy: &Policy, version: &Version, review: Review<'_>) -> Result<Vec<Approval>> {
    if !version.is_imported() || review.was_active || policy.settings.required_approvals == 0 {
        return Ok(Vec::new());
    }
    let counted = counting(policy, version, review.approvals, review.now);
    check_approvals(policy, version, counted.len())?;
    Ok(counted)
}

/// Returns the approvals that count now: of a version that can be approved, of this very digest, by others than its author, each approver once,
/// not expired, and given under the policy as it is.
#[must_use]
pub fn counting(policy: &Policy, version: &Version, approvals: &[Approval], now: Micros) -> Vec<Approval> {
    if !is_reviewable(version) {
        return Vec::new();
    }
    let mut approvers = BTreeSet::new();
    let counted = approvals.iter().filter(|approval| {
        approval.digest == version.digest
            && approval.approver != version.author
            && approval.policy_edits == policy.edits
            && now < approval.expire_time
            && approvers.insert(&approval.approver)
    });
    counted.cloned().collect()
}

/// Checks that there are enough approvals.
///
/// # Errors
/// `APPROVALS_MISSING`.
pub(super) fn check_approvals(policy: &Policy, version: &Version, given: usize) -> Result<()> {
    let required = policy.settings.required_approvals;
    if given < required as usize {
        let message = format!("{} has {given} of {required} approvals that it needs", version.name());
        return Err(approvals_missing(version, required, given, message));
    }
    Ok(())
}

/// Refuses a copy where approvals are required: a copy is published as it is made, so nobody can have approved it.
///
/// # Errors
/// `APPROVALS_MISSING`.
pub fn check_copy(policy: &Policy, source: &Version) -> Result<()> {
    let required = policy.settings.required_approvals;
    if required > 0 {
        let message = format!(
            "a copy of {} would need {required} approvals and has none; roll back to it as it is, or draft it anew",
            source.name()
        );
        return Err(approvals_missing(source, required, 0, message));
    }
    Ok(())
}

fn approvals_missing(version: &Version, required: u32, given: usize, message: String) -> Error {
    Error::new(Reason::ApprovalsMissing, message).with("required", required).with("given", given).about(version.name())
}

fn check_digest(version: &Version, reviewed: &Digest) -> Result<()> {
    if reviewed == &version.digest {
        return Ok(());
    }
    let message = format!("{} has the digest {}, not {reviewed}", version.name(), version.digest);
    Err(Error::new(Reason::DigestMismatch, message).with("digest", &version.digest).about(version.name()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::model::{digest, new_policy, new_version, policy_name};
    use super::*;
    use crate::domain::name::{VersionName, VersionRef};

    const DAY: i64 = 24 * 60 * 60 * 1_000_000;

    fn staged() -> Version {
        Version { state: VersionState::Staged, ..new_version(policy_name(0), 1, None, digest(1)) }
    }

    fn request(content: u8) -> command::ApproveVersion {
        let version = VersionName { policy: policy_name(0), version: VersionRef::Number(1) };
        command::ApproveVersion { version, digest: digest(content), reason: "read".to_owned() }
    }

    fn given(approver: &str, now: Micros, before: &[Approval]) -> Result<Approval> {
        let (policy, version) = (&new_policy(0), &staged());
        let facts = ApproveFacts {
            policy,
            version,
            approvals: before,
            importer: None,
            store: "here",
            approver,
            now,
            revision: 7,
        };
        approve(facts, &request(1))
    }

    #[test]
    fn an_importer_counts_as_the_author() {
        let (policy, version) = (&new_policy(0), &staged());
        let by = |approver| {
            let importer = Some("local:ann");
            let facts = ApproveFacts {
                policy,
                version,
                approvals: &[],
                importer,
                store: "here",
                approver,
                now: Micros(0),
                revision: 7,
            };
            approve(facts, &request(1)).map_err(|error| error.reason)
        };
        assert_eq!(by("local:ann"), Err(Reason::SelfApproval));
        assert!(by("local:bob").is_ok());
    }

    #[test]
    fn an_approval_counts_for_seven_days() {
        let now = Micros(5);
        let approval = given("local:ann", now, &[]).unwrap();
        assert_eq!((approval.create_time, approval.expire_time), (now, Micros(5 + 7 * DAY)));
        for (later, counts) in [(-DAY, true), (0, true), (7 * DAY - 1, true), (7 * DAY, false), (i64::MAX - 5, false)] {
            let counted = counting(&new_policy(0), &staged(), std::slice::from_ref(&approval), Micros(5 + later));
            assert_eq!(counted.len(), usize::from(counts), "{later} after it was given");
        }
    }

    #[test]
    fn each_binding_counts() {
        let approval = given("local:ann", Micros(0), &[]).unwrap();
        let counted =
            |approval: &Approval| counting(&new_policy(0), &staged(), std::slice::from_ref(approval), Micros(0)).len();
        assert_eq!(counted(&approval), 1);
        for other in [
            Approval { digest: digest(2), ..approval.clone() },
            Approval { approver: staged().author, ..approval.clone() },
            Approval { policy_edits: 2, ..approval.clone() },
            Approval { expire_time: Micros(0), ..approval.clone() },
        ] {
            assert_eq!(counted(&other), 0, "{other:?}");
        }
        let twice = counting(&new_policy(0), &staged(), &[approval.clone(), approval.clone()], Micros(0));
        assert_eq!(twice.len(), 1, "nobody counts twice");
        let draft = Version { state: VersionState::Draft, ..staged() };
        assert_eq!(counting(&new_policy(0), &draft, &[approval], Micros(0)), [], "a draft is not locked");
    }

    #[test]
    fn approvals_are_bounded_and_a_renewal_finds_room() {
        let mut before: Vec<Approval> = Vec::new();
        for index in 0..APPROVALS_PER_VERSION_MAX {
            before.push(given(&format!("local:{index}"), Micros(0), &before).unwrap());
        }
        assert_eq!(given("local:late", Micros(0), &before).unwrap_err().reason, Reason::LimitExceeded);
        assert!(given("local:0", Micros(0), &before).is_ok());
        assert!(given("local:late", Micros(7 * DAY), &before).is_ok(), "what expired takes no room");
    }
}
