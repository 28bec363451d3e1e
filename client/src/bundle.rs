//! The proof that one bundle is in force: manifest and statement verified and compared with what stands beside them.
//!
//! Pure and synchronous. Invariant: an [`ActivePolicy`] exists only after all of it was verified.

use bytes::Bytes;

use super::evidence::ProofDocument;
use super::refusal::Refusal;
use policyhub_core::api::pb;
use policyhub_core::domain::digest::{ActiveSetRoot, Digest};
use policyhub_core::domain::event::{Cursor, Head, Position};
use policyhub_core::domain::name::{NamespaceId, PolicyId, VersionName, VersionRef};
use policyhub_core::signing::payload::{Checkpoint, Manifest, Statement};
use policyhub_core::signing::{self, ActiveLeaf, KeySet, TYP_BUNDLE, VerifyError, jws};

/// A policy in force, verified.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ActivePolicy {
    /// Its id.
    pub policy: PolicyId,
    /// Number of the version.
    pub version: i64,
    /// Label of the version, or empty.
    pub label: String,
    /// Digest of the content.
    pub digest: Digest,
    /// Media type of the content.
    pub content_type: String,
    /// The exact bytes; none when only metadata was asked for.
    pub content: Option<Bytes>,
    /// The manifest it was verified with, compact JWS.
    pub manifest: String,
    /// The activation that put it in force, as the root of the set covers it.
    pub activated: Cursor,
}

/// Names what a set is verified against: one namespace of one store, and its keys.
#[derive(Debug, Clone)]
pub(super) struct SetTrust {
    pub namespace: NamespaceId,
    pub keys: KeySet,
    /// Taken from the first document that verifies when it is not given.
    pub store: Option<String>,
    pub metadata_only: bool,
    /// Says how far the newest checkpoint is in the future, when it is so by more than clocks may differ.
    pub clock_ahead_seconds: Option<i64>,
}

impl SetTrust {
    /// Verifies an activation statement and that it belongs here.
    pub fn statement(&mut self, jws: &str) -> Result<Statement, Refusal> {
        let statement = signing::verify_statement(jws, &self.keys).map_err(refused("statement"))?;
        self.owner("statement", &statement.store, &statement.namespace)?;
        Ok(statement)
    }

    /// Verifies a checkpoint, and that it belongs here. With it, whether it is valid now: one that has expired, or comes from
    /// the future because clocks differ, still proves what was in force at its cursor.
    pub fn checkpoint(&mut self, jws: &str, now_seconds: i64) -> Result<(Checkpoint, bool), Refusal> {
        let checkpoint = self.checkpoint_of_any_time(jws)?;
        let time = signing::check_time(&checkpoint, now_seconds);
        self.clock_ahead_seconds =
            (time == Err(VerifyError::FromFuture)).then(|| checkpoint.iat.saturating_sub(now_seconds));
        Ok((checkpoint, time.is_ok()))
    }

    /// Verifies a checkpoint, and that it belongs here; whether it is fresh is not asked.
    fn checkpoint_of_any_time(&mut self, jws: &str) -> Result<Checkpoint, Refusal> {
        let checkpoint = signing::read_checkpoint(jws, &self.keys).map_err(refused("checkpoint"))?;
        self.owner("checkpoint", &checkpoint.store, &checkpoint.namespace)?;
        Ok(checkpoint)
    }

    /// Verifies the document that proves a set, and returns the cursor and the root that it is signed for.
    pub fn document(&mut self, document: &ProofDocument) -> Result<(Position, ActiveSetRoot), Refusal> {
        match document {
            ProofDocument::Statement(jws) => {
                let statement = self.statement(jws)?;
                Ok((cursor_of(&statement).into(), root_of(&statement)?))
            }
            ProofDocument::Checkpoint(jws) => {
                let checkpoint = self.checkpoint_of_any_time(jws)?;
                Ok((position_of(&checkpoint), checkpoint.active_set_root))
            }
        }
    }

    /// Verifies a bundle, as of an activation that only the root of its set proves.
    pub fn bundle(&mut self, bundle: &pb::Bundle, activated: Cursor) -> Result<ActivePolicy, Refusal> {
        let (policy, version) = self.name_of(bundle)?;
        let manifest = self.manifest(bundle, &policy)?;
        for (field, same) in [
            ("policy", manifest.policy == policy),
            ("version", manifest.version == version),
            ("digest", manifest.digest.as_str() == bundle.digest),
            ("label", manifest.label.as_deref().unwrap_or_default() == bundle.label),
            ("content type", manifest.content_type == bundle.content_type),
            ("size", i64::try_from(manifest.size).is_ok_and(|size| size == bundle.size_bytes)),
        ] {
            if !same {
                return Err(Refusal::OtherBundle { policy, field });
            }
        }
        Ok(ActivePolicy {
            policy,
            version,
            label: bundle.label.clone(),
            digest: manifest.digest,
            content_type: manifest.content_type,
            // Copy the content: a slice would keep the whole received message in memory.
            content: (!self.metadata_only).then(|| Bytes::copy_from_slice(&bundle.content)),
            manifest: bundle.manifest.clone(),
            activated,
        })
    }

    fn manifest(&mut self, bundle: &pb::Bundle, policy: &PolicyId) -> Result<Manifest, Refusal> {
        let what = format!("manifest of {policy}");
        let manifest = if self.metadata_only {
            jws::verify(&bundle.manifest, TYP_BUNDLE, &self.keys)
                .and_then(|verified| Manifest::from_bytes(&verified.payload))
        } else {
            signing::verify_bundle(&bundle.manifest, &bundle.content, &self.keys)
        };
        let manifest = manifest.map_err(refused(&what))?;
        self.owner(&what, &manifest.store, &manifest.namespace)?;
        Ok(manifest)
    }

    fn name_of(&self, bundle: &pb::Bundle) -> Result<(PolicyId, i64), Refusal> {
        let name = VersionName::parse("name", &bundle.name).map_err(|_| Refusal::Malformed("name of a bundle"))?;
        if name.policy.namespace != self.namespace {
            return Err(Refusal::OtherNamespace {
                what: bundle.name.clone(),
                found: name.policy.namespace.to_string(),
            });
        }
        match name.version {
            VersionRef::Number(number) if number == bundle.version => Ok((name.policy.policy, number)),
            _ => Err(Refusal::Malformed("version of a bundle")),
        }
    }

    fn owner(&mut self, what: &str, store: &str, namespace: &NamespaceId) -> Result<(), Refusal> {
        if namespace != &self.namespace {
            return Err(Refusal::OtherNamespace { what: what.to_owned(), found: namespace.to_string() });
        }
        let held = self.store.get_or_insert_with(|| store.to_owned());
        if held != store {
            return Err(Refusal::OtherStore { what: what.to_owned(), found: store.to_owned(), held: held.clone() });
        }
        Ok(())
    }
}

impl ActivePolicy {
    /// Returns what the root of an active set covers of it.
    pub(super) fn leaf(&self) -> ActiveLeaf<'_> {
        let Self { policy, version, digest, activated, .. } = self;
        ActiveLeaf { policy, version: *version, digest, activated_at: *activated }
    }
}

/// Returns the cursor that a statement is signed for.
pub(super) fn cursor_of(statement: &Statement) -> Cursor {
    Cursor { epoch: statement.epoch, revision: statement.revision }
}

/// Returns the event that a checkpoint is signed for: its cursor and its hash.
pub(super) fn position_of(checkpoint: &Checkpoint) -> Position {
    let cursor = Cursor { epoch: checkpoint.epoch, revision: checkpoint.revision };
    Head { cursor, hash: checkpoint.head_hash }.into()
}

/// Returns the root that a statement is signed for. None of a server that writes no roots is taken.
pub(super) fn root_of(statement: &Statement) -> Result<ActiveSetRoot, Refusal> {
    statement.active_set_root.ok_or(Refusal::Malformed("statement names no root"))
}

fn refused(what: &str) -> impl FnOnce(signing::VerifyError) -> Refusal {
    let what = what.to_owned();
    move |error| Refusal::Signature { what, error }
}
