//! One version after the other of a policy, from what the server says of it to published.
//!
//! Each step is decided on what the server holds now, and each can be done again: a draft of the same label and bytes is
//! the one that is there, and a request has one effect under its id. So it does not matter where the run before was
//! killed, or who else releases.

use std::sync::atomic::{AtomicBool, Ordering};

use super::folder::Key;
use super::git::Commit;
use super::inspect::{Found, Inspector, Sound, is_unreached};
use super::outcome::{Outcome, Told};
use crate::cli::names::{policy_name, version_name};
use crate::cli::text;
use crate::client::name::{NamespaceId, VersionRef};
use crate::client::signing::sha256;
use crate::client::{ClientError, hex, pb};
use crate::domain::digest::Digest;

/// Looks at what the server holds after somebody else was faster.
const ATTEMPTS_MAX: usize = 4;
/// Digits of an id that tell the calls of one commit apart.
const CALL_DIGITS: usize = 16;
/// Digits of the commit in an id: with the others within the 64 characters that an id may have.
const COMMIT_DIGITS: usize = 40;
/// What begins the note of a version that a release wrote.
const NOTE: &str = "released from git commit ";
/// What the answer to a call says when something moved meanwhile.
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
    pub dry_run: bool,
    /// A server that is gone is not tried with every version in turn.
    pub is_gone: AtomicBool,
}

/// What there is to do with a version.
#[derive(Debug, PartialEq)]
enum Step {
    Draft,
    /// What an earlier commit left open under this label.
    Replace(pb::Version),
    Publish(pb::Version),
    Present(pb::Version),
    /// The label is held by what somebody else is still writing.
    Taken(pb::Version),
}

fn step(found: Found, digest: &Digest) -> Step {
    let Found::Version(version) = found else { return Step::Draft };
    if version.state == i32::from(pb::VersionState::Published) {
        Step::Present(*version)
    } else if version.digest == digest.as_str() {
        Step::Publish(*version)
    } else if is_released(&version) {
        Step::Replace(*version)
    } else {
        Step::Taken(*version)
    }
}

/// Whether a release wrote a version.
pub fn is_released(version: &pb::Version) -> bool {
    version.change_note.strip_prefix(NOTE).is_some_and(|commit| Commit::parse(commit).is_some())
}

/// The id of one call of a release: the commit, and what tells this call from the others of the commit. The name is a full
/// one: the same commit may be released into several namespaces.
pub fn request_id(commit: &Commit, call: &str) -> String {
    let commit = commit.as_str().get(..COMMIT_DIGITS).unwrap_or_default();
    let call = hex(&sha256(&[call.as_bytes()]));
    format!("{commit}-{}", call.get(..CALL_DIGITS).unwrap_or_default())
}

/// The full name of a version by its label.
pub fn name_of(namespace: &NamespaceId, key: &Key) -> String {
    version_name(namespace, &key.policy, &VersionRef::Label(key.label.clone()))
}

impl Deliverer<'_> {
    /// Delivers a version.
    pub async fn deliver(&self, sound: &mut Sound) -> (Told, Option<pb::Version>) {
        if self.is_gone.load(Ordering::Relaxed) {
            return (Told::held(&sound.key, "the server can't be reached"), None);
        }
        let mut found = std::mem::replace(&mut sound.found, Found::Unknown);
        for left in (0..ATTEMPTS_MAX).rev() {
            match self.attempt(sound, found).await {
                Ok((outcome, version)) => {
                    let number = version.as_ref().map_or(0, |version| version.version);
                    return (Told { name: sound.key.to_string(), version: number, outcome }, version);
                }
                Err(error) if left > 0 && CONFLICTS.contains(&error.reason.as_str()) => {
                    found = self.inspector.look(&sound.key).await;
                }
                Err(error) => {
                    self.is_gone.fetch_or(is_unreached(&error), Ordering::Relaxed);
                    return (Told { name: sound.key.to_string(), version: 0, outcome: failed(&error) }, None);
                }
            }
        }
        (Told::failed(&sound.key, "somebody else changes it all the time"), None)
    }

    async fn attempt(&self, sound: &Sound, found: Found) -> Result<(Outcome, Option<pb::Version>), ClientError> {
        match step(found, &sound.definition.digest) {
            Step::Present(version) => Ok((Outcome::Present, Some(version))),
            Step::Taken(version) => Ok((taken(&sound.key, &version), None)),
            Step::Publish(version) => self.publish(sound, version).await,
            Step::Replace(_) if self.dry_run => Ok((Outcome::Rehearsed, None)),
            Step::Replace(version) => {
                self.abandon(version).await?;
                self.draft_and_publish(sound).await
            }
            Step::Draft => self.draft_and_publish(sound).await,
        }
    }

    async fn draft_and_publish(&self, sound: &Sound) -> Result<(Outcome, Option<pb::Version>), ClientError> {
        let (git, files) = (self.inspector.git.clone(), sound.files.clone());
        let read = tokio::task::spawn_blocking(move || git.blobs([files.ids()[1]])).await;
        let content = match read.map_err(anyhow::Error::from).flatten() {
            Ok([content]) => content,
            Err(error) => return Ok((Outcome::Failed { reason: String::new(), error: format!("{error:#}") }, None)),
        };
        let namespace = self.inspector.namespace;
        let request = pb::DraftRequest {
            parent: policy_name(namespace, &sound.key.policy),
            content: content.into(),
            content_type: sound.definition.content_type.to_owned(),
            label: sound.key.label.to_string(),
            change_note: format!("{NOTE}{}", self.commit.as_str()),
            request_id: request_id(self.commit, &name_of(namespace, &sound.key)),
            allow_missing: true,
            validate_only: self.dry_run,
            ..Default::default()
        };
        let version = self.inspector.client.draft(request).await?.version.unwrap_or_default();
        if version.state == i32::from(pb::VersionState::Published) {
            return Ok((Outcome::Present, Some(version)));
        }
        if self.dry_run { Ok((Outcome::Rehearsed, None)) } else { self.publish(sound, version).await }
    }

    async fn publish(
        &self,
        sound: &Sound,
        version: pb::Version,
    ) -> Result<(Outcome, Option<pb::Version>), ClientError> {
        let id = request_id(self.commit, &name_of(self.inspector.namespace, &sound.key));
        let request = pb::PublishRequest {
            name: version.name.clone(),
            etag: version.etag.clone(),
            request_id: id.clone(),
            validate_only: self.dry_run,
            ..Default::default()
        };
        match self.inspector.client.publish(request).await {
            Ok(_) if self.dry_run => Ok((Outcome::Rehearsed, None)),
            Ok(response) => Ok((Outcome::Published, response.version)),
            Err(error) if error.reason == "APPROVALS_MISSING" && !self.dry_run => {
                // Only what is staged can be approved.
                let name = version.name.clone();
                let request = pb::StageRequest { name, request_id: id, ..Default::default() };
                self.inspector.client.stage(request).await?;
                Ok((awaiting(&error, &sound.key, &version), None))
            }
            Err(error) => Err(error),
        }
    }

    async fn abandon(&self, version: pb::Version) -> Result<(), ClientError> {
        let request = pb::AbandonDraftRequest {
            request_id: request_id(self.commit, &version.name),
            name: version.name,
            etag: version.etag,
            reason: format!("its folder changed in git commit {}", self.commit.as_str()),
            validate_only: false,
        };
        self.inspector.client.abandon_draft(request).await.map(|_| ())
    }
}

fn failed(error: &ClientError) -> Outcome {
    Outcome::Failed { reason: error.reason.clone(), error: text::line(&error.to_string()) }
}

fn awaiting(error: &ClientError, key: &Key, version: &pb::Version) -> Outcome {
    let (policy, number, digest) = (&key.policy, version.version, &version.digest);
    let next = format!("`policyhub approve {policy}@{number} --digest {digest}`, then release again");
    Outcome::Failed { reason: error.reason.clone(), error: format!("{}; {next}", text::line(&error.to_string())) }
}

fn taken(key: &Key, version: &pb::Version) -> Outcome {
    let (policy, number) = (&key.policy, version.version);
    let error = format!(
        "version {number} holds this label with other content, and is still {}: publish it or end it with \
         `policyhub abandon {policy}@{number}`, then release again",
        text::state(version.state)
    );
    Outcome::Failed { reason: "LABEL_CONTENT_CONFLICT".to_owned(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: u8) -> Digest {
        Digest::from_sha256(&[byte; 32])
    }

    fn commit() -> Commit {
        Commit::parse(&"a".repeat(40)).expect("a commit")
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
        let next = |version: &pb::Version| step(Found::Version(Box::new(version.clone())), &digest(1));
        for state in [pb::VersionState::Draft, pb::VersionState::Staged] {
            for note in [ours.as_str(), theirs] {
                let same = found(state, &digest(1), note);
                assert_eq!(next(&same), Step::Publish(same.clone()));
            }
            let (left, written) = (found(state, &digest(2), &ours), found(state, &digest(2), theirs));
            assert_eq!(next(&left), Step::Replace(left.clone()));
            assert_eq!(next(&written), Step::Taken(written.clone()));
        }
        for content in [1, 2] {
            let published = found(pb::VersionState::Published, &digest(content), theirs);
            assert_eq!(next(&published), Step::Present(published.clone()));
        }
        assert_eq!(step(Found::Nothing, &digest(1)), Step::Draft);
        assert_eq!(step(Found::Unknown, &digest(1)), Step::Draft, "a question that fails stops nothing");
    }

    #[test]
    fn each_call_of_a_commit_has_an_id_of_its_own() {
        let long = Commit::parse(&"a".repeat(64)).expect("a commit");
        let one = request_id(&commit(), "namespaces/n/policies/p/versions/v1.0.0");
        assert_eq!(one, format!("{}-{}", "a".repeat(40), "90895e01f4b92389"));
        assert_eq!(request_id(&long, "namespaces/n/policies/p/versions/v1.0.0"), one, "64 characters are the limit");
        assert_ne!(request_id(&commit(), "namespaces/m/policies/p/versions/v1.0.0"), one);
    }
}
