//! Delivers the versions of a policy one after the other: from what the server holds of each to published.
//!
//! Each step is decided on what the server holds now, and can be repeated: a draft of the same label and bytes is the one that
//! exists, and a request id has one effect. So it does not matter where an earlier run was killed, or who else releases.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::cli::names::{policy_name, version_name};
use crate::cli::output::text;
use crate::cli::release::folder::{Definition, FolderVersion, written};
use crate::cli::release::git::Commit;
use crate::cli::release::inspect::{FoundVersion, Inspected, Inspector, ValidatedVersion, is_unreached};
use crate::cli::release::label_order;
use crate::cli::release::label_order::LabelOrder;
use crate::cli::release::outcome::{FolderResult, VersionOutcome};
use crate::cli::release::publish_together::Publisher;
use crate::cli::release::request_ids::RequestIds;
use crate::client::name::{NamespaceId, PolicyId, VersionRef};
use crate::client::{ClientError, pb};
use crate::domain::annotations::Annotations;
use crate::domain::digest::Digest;
use crate::domain::version::Requirement;

/// How often the server's state is read again after another client changed it first.
const ATTEMPTS_MAX: usize = 4;
/// Prefix of the change note of a version that a release wrote.
const NOTE: &str = "released from git commit ";
/// Reasons of a refusal that mean that something changed meanwhile.
const CONFLICTS: &[&str] = &[
    "LABEL_CONTENT_CONFLICT",
    "VERSION_NOT_OPEN",
    "VERSION_NOT_FOUND",
    "ETAG_MISMATCH",
    "CONCURRENT_CHANGE",
    "OUTCOME_UNKNOWN",
];

/// Delivers the versions of one commit.
#[derive(Debug)]
pub struct Deliverer<'a> {
    pub inspector: &'a Inspector<'a>,
    pub commit: &'a Commit,
    pub ids: &'a RequestIds,
    pub publisher: Publisher<'a>,
    pub dry_run: bool,
    /// Whether a policy that requires rising labels is changed when a label is too low.
    pub allow_backport: bool,
    /// Set when the server is unreachable, so that the remaining versions are not tried in turn.
    pub is_gone: AtomicBool,
    /// Policies that accept lower labels from now on, each with the version that needed it.
    pub allowed: Mutex<BTreeMap<PolicyId, FolderVersion>>,
}

/// How an attempt ended.
#[derive(Debug)]
struct Attempt {
    outcome: VersionOutcome,
    /// The number of the version concerned; 0: none.
    number: i64,
    /// The version that the server has published.
    version: Option<pb::Version>,
}

impl Attempt {
    fn of(outcome: VersionOutcome) -> Self {
        Self { outcome, number: 0, version: None }
    }

    fn published(outcome: VersionOutcome, version: pb::Version) -> Self {
        Self { outcome, number: version.version, version: Some(version) }
    }
}

/// The next step for a version.
#[derive(Debug, PartialEq)]
enum DeliveryStep {
    Draft,
    /// Replaces the draft that an earlier commit left open under this label.
    Replace(pb::Version),
    Publish(pb::Version),
    Present(pb::Version),
    /// Somebody else's open draft holds the label.
    Taken(pb::Version),
}

fn step(found: FoundVersion, digest: &Digest, annotations: &Annotations, requires: &[Requirement]) -> DeliveryStep {
    let FoundVersion::Version(version) = found else { return DeliveryStep::Draft };
    if version.state == i32::from(pb::VersionState::Published) {
        DeliveryStep::Present(*version)
    } else if is_released(&version) {
        let has_requirements = version.requires.iter().eq(requires.iter().map(written).collect::<Vec<_>>().iter());
        let is_same = version.digest == digest.as_str() && says(&version, annotations) && has_requirements;
        if is_same { DeliveryStep::Publish(*version) } else { DeliveryStep::Replace(*version) }
    } else if version.digest == digest.as_str() {
        // Somebody drafted it by hand: their annotations and requirements stay.
        DeliveryStep::Publish(*version)
    } else {
        DeliveryStep::Taken(*version)
    }
}

/// Returns whether a version has exactly these annotations.
fn says(version: &pb::Version, annotations: &Annotations) -> bool {
    version.annotations.len() == annotations.iter().count()
        && annotations.iter().all(|(key, value)| version.annotations.get(key).is_some_and(|other| other == value))
}

/// Returns whether a release wrote a version.
pub fn is_released(version: &pb::Version) -> bool {
    version.change_note.strip_prefix(NOTE).is_some_and(|commit| Commit::parse(commit).is_some())
}

/// Returns the full name of a version by its label.
pub fn name_of(namespace: &NamespaceId, key: &FolderVersion) -> String {
    version_name(namespace, &key.policy, &VersionRef::Label(key.label.clone()))
}

impl Deliverer<'_> {
    /// Delivers a version; returns it when the server has it.
    pub async fn deliver(&self, one: &mut Inspected) -> (FolderResult, Option<pb::Version>) {
        let mut found = std::mem::replace(&mut one.found, FoundVersion::Unknown);
        let (key, validated) = match &one.validated {
            Ok(validated) => (&one.key, validated),
            Err(fault) => {
                self.end_left(&found).await;
                return (FolderResult::at_fault(self.inspector.git.top(), &one.key, fault), None);
            }
        };
        if self.is_gone.load(Ordering::Relaxed) {
            return (FolderResult::held(key, "the server can't be reached"), None);
        }
        let ended = |attempt: Attempt| {
            let path = validated.files.path(self.inspector.git.top(), key);
            let result = FolderResult { version: attempt.number, ..FolderResult::of(key, attempt.outcome) };
            (result.in_file(path), attempt.version)
        };
        for left in (0..ATTEMPTS_MAX).rev() {
            match self.attempt(key, validated, found, left).await {
                Ok(attempt) => return ended(attempt),
                Err(error) if left > 0 && CONFLICTS.contains(&error.reason()) => {
                    if let Some(version) = published_holder(&error) {
                        return ended(Attempt::published(VersionOutcome::Present, version));
                    }
                    found = self.inspector.look(key).await;
                }
                Err(error) => {
                    self.is_gone.fetch_or(is_unreached(&error), Ordering::Relaxed);
                    return ended(Attempt::of(VersionOutcome::refused(&error)));
                }
            }
        }
        ended(Attempt::of(VersionOutcome::failed("somebody else changes it all the time")))
    }

    async fn attempt(
        &self,
        key: &FolderVersion,
        validated: &ValidatedVersion,
        found: FoundVersion,
        left: usize,
    ) -> Result<Attempt, ClientError> {
        let Definition { digest, annotations, requires, .. } = &validated.definition;
        match step(found, digest, annotations, requires) {
            DeliveryStep::Present(version) => Ok(Attempt::published(VersionOutcome::Present, version)),
            DeliveryStep::Taken(version) => {
                Ok(Attempt { number: version.version, ..Attempt::of(taken(key, &version)) })
            }
            DeliveryStep::Publish(version) => self.publish(key, version).await,
            DeliveryStep::Replace(_) if self.dry_run => Ok(Attempt::of(VersionOutcome::Rehearsed)),
            DeliveryStep::Replace(version) => {
                self.abandon(&version, &format!("its folder changed in git commit {}", self.commit.as_str())).await?;
                self.draft_and_publish(key, validated, left).await
            }
            DeliveryStep::Draft => self.draft_and_publish(key, validated, left).await,
        }
    }

    async fn draft_and_publish(
        &self,
        key: &FolderVersion,
        validated: &ValidatedVersion,
        left: usize,
    ) -> Result<Attempt, ClientError> {
        if let Some(attempt) = self.check_order(key).await {
            return Ok(attempt);
        }
        let content = match self.inspector.content(&validated.files).await {
            Ok(content) => content,
            Err(fault) => return Ok(Attempt::of(VersionOutcome::failed(fault.why))),
        };
        let namespace = self.inspector.namespace;
        let request = pb::DraftRequest {
            change_note: format!("{NOTE}{}", self.commit.as_str()),
            // The id is of this attempt alone: the stored answer of the attempt before names a version that was ended since.
            request_id: self.ids.of(&format!("{} {left}", name_of(namespace, key))),
            validate_only: self.dry_run,
            ..validated.definition.draft(namespace, key, content)
        };
        let version = self.inspector.client.draft(request).await?.version.unwrap_or_default();
        if version.state() == pb::VersionState::Published {
            return Ok(Attempt::published(VersionOutcome::Present, version));
        }
        if self.dry_run { Ok(Attempt::of(VersionOutcome::Rehearsed)) } else { self.publish(key, version).await }
    }

    /// Checks the order of a label before a number is used up for it, and allows a lower label where that is wanted. Returns an
    /// attempt when the version must not be drafted.
    async fn check_order(&self, key: &FolderVersion) -> Option<Attempt> {
        let (client, namespace) = (self.inspector.client, self.inspector.namespace);
        match label_order::ask(client, namespace, key).await {
            LabelOrder::Free => None,
            LabelOrder::Taken => {
                let found = self.inspector.look(key).await;
                found.published().map(|version| Attempt::published(VersionOutcome::Present, version.clone()))
            }
            LabelOrder::Lower(highest) if !self.allow_backport => {
                Some(Attempt::of(VersionOutcome::failed(label_order::remedy(key, &highest))))
            }
            LabelOrder::Lower(_) => {
                if !self.dry_run {
                    let call = format!("{} allow_backport", policy_name(namespace, &key.policy));
                    if let Err(error) = label_order::allow(client, namespace, key, self.ids.of(&call)).await {
                        return Some(Attempt::of(VersionOutcome::Failed {
                            error: text::line(&format!("failed to set allow_backport of {}: {error}", key.policy)),
                            reason: error.reason().to_owned(),
                        }));
                    }
                }
                let mut allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
                allowed.entry(key.policy.clone()).or_insert_with(|| key.clone());
                None
            }
        }
    }

    async fn publish(&self, key: &FolderVersion, version: pb::Version) -> Result<Attempt, ClientError> {
        if self.dry_run {
            let (name, etag, request_id) = (version.name.clone(), version.etag.clone(), self.ids.of(&version.name));
            let request = pb::PublishRequest { name, etag, request_id, validate_only: true, ..Default::default() };
            return self.inspector.client.publish(request).await.map(|_| Attempt::of(VersionOutcome::Rehearsed));
        }
        let error = match self.publisher.publish(&version).await {
            Ok(published) => return Ok(Attempt::published(VersionOutcome::Published, published)),
            Err(error) => error,
        };
        let number = version.version;
        if CONFLICTS.contains(&error.reason()) || is_unreached(&error) || !error.is_terminal() {
            return Err(error);
        }
        if error.reason() == "APPROVALS_MISSING" {
            // Only a staged version can be approved.
            let (name, request_id) = (version.name.clone(), self.ids.of(&version.name));
            self.inspector.client.stage(pb::StageRequest { name, request_id, ..Default::default() }).await?;
            return Ok(Attempt { number, ..Attempt::of(VersionOutcome::awaiting(&error, &version, key, "release")) });
        }
        if is_released(&version) {
            // Nobody else ends what a release began. If this fails as well, the next release ends it.
            let _ = self.abandon(&version, &format!("it can't be published: {}", error.reason())).await;
        }
        Ok(Attempt { number, ..Attempt::of(refused(&error, key, &version)) })
    }

    /// Ends the draft that a release left of a version whose folder is invalid now.
    async fn end_left(&self, found: &FoundVersion) {
        let FoundVersion::Version(version) = found else { return };
        let is_open = matches!(version.state(), pb::VersionState::Draft | pb::VersionState::Staged);
        if !self.dry_run && is_open && is_released(version) {
            let reason = format!("its folder is broken in git commit {}", self.commit.as_str());
            // If this fails, the next release ends it.
            let _ = self.abandon(version, &reason).await;
        }
    }

    async fn abandon(&self, version: &pb::Version, reason: &str) -> Result<(), ClientError> {
        let request = pb::AbandonDraftRequest {
            request_id: self.ids.of(&version.name),
            name: version.name.clone(),
            etag: version.etag.clone(),
            reason: reason.to_owned(),
            validate_only: false,
        };
        self.inspector.client.abandon_draft(request).await.map(|_| ())
    }
}

/// Returns the published version that holds a label, as the server names it when it refuses a draft of other content.
fn published_holder(error: &ClientError) -> Option<pb::Version> {
    let said = |name: &str| error.metadata().get(name).map(String::as_str);
    if error.reason() != "LABEL_CONTENT_CONFLICT" || said("state") != Some("PUBLISHED") {
        return None;
    }
    let number = said("version")?.parse().ok()?;
    let digest = said("existing_digest")?.to_owned();
    Some(pb::Version { version: number, digest, state: pb::VersionState::Published.into(), ..Default::default() })
}

/// Returns the outcome for a refusal, with where to read more.
fn refused(error: &ClientError, key: &FolderVersion, version: &pb::Version) -> VersionOutcome {
    let (policy, number) = (&key.policy, version.version);
    let outcome = VersionOutcome::refused(error);
    match (error.reason(), error.metadata().get("check").map(String::as_str)) {
        ("VALIDATION_FAILED", Some("label")) => outcome.and("a label that is too low needs --allow-backport"),
        ("VALIDATION_FAILED", _) => outcome.and(&format!("all of it: `policyhub report {policy}@{number}`")),
        _ => outcome,
    }
}

fn taken(key: &FolderVersion, version: &pb::Version) -> VersionOutcome {
    let (policy, number) = (&key.policy, version.version);
    let error = format!(
        "version {number} holds this label with other content, and is still {}: publish it or end it with \
         `policyhub abandon {policy}@{number}`, then release again",
        text::state(version.state)
    );
    VersionOutcome::Failed { reason: "LABEL_CONTENT_CONFLICT".to_owned(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: u8) -> Digest {
        Digest::from_sha256(&[byte; 32])
    }

    #[test]
    fn the_next_step_depends_on_what_is_there() {
        let found = |state: pb::VersionState, digest: &Digest, note: &str| pb::Version {
            state: state.into(),
            digest: digest.to_string(),
            change_note: note.to_owned(),
            ..Default::default()
        };
        let (ours, theirs) = (format!("{NOTE}{}", "b".repeat(40)), "released from git commit of mine");
        let none = Annotations::default();
        let next =
            |version: &pb::Version| step(FoundVersion::Version(Box::new(version.clone())), &digest(1), &none, &[]);
        for state in [pb::VersionState::Draft, pb::VersionState::Staged] {
            for note in [ours.as_str(), theirs] {
                let same = found(state, &digest(1), note);
                assert_eq!(next(&same), DeliveryStep::Publish(same.clone()));
            }
            let (left, written) = (found(state, &digest(2), &ours), found(state, &digest(2), theirs));
            assert_eq!(next(&left), DeliveryStep::Replace(left.clone()));
            assert_eq!(next(&written), DeliveryStep::Taken(written.clone()));
        }
        for content in [1, 2] {
            let published = found(pb::VersionState::Published, &digest(content), theirs);
            assert_eq!(next(&published), DeliveryStep::Present(published.clone()));
        }
        assert_eq!(step(FoundVersion::Nothing, &digest(1), &none, &[]), DeliveryStep::Draft);
        assert_eq!(
            step(FoundVersion::Unknown, &digest(1), &none, &[]),
            DeliveryStep::Draft,
            "a question that fails stops nothing"
        );
        let annotations = [("owner".to_owned(), "a".to_owned())].into();
        let annotated = |note| pb::Version { annotations, ..found(pb::VersionState::Draft, &digest(1), note) };
        let left = annotated(&ours);
        assert_eq!(next(&left), DeliveryStep::Replace(left.clone()), "metadata.json says something else by now");
        let requires = vec![pb::Requirement { policy: "q".to_owned(), version_req: "^1".to_owned() }];
        let requiring = pb::Version { requires, ..found(pb::VersionState::Draft, &digest(1), &ours) };
        assert_eq!(next(&requiring), DeliveryStep::Replace(requiring.clone()), "it requires nothing by now");
        let written = pb::Version { change_note: theirs.to_owned(), ..left };
        assert_eq!(next(&written), DeliveryStep::Publish(written.clone()));
    }
}
