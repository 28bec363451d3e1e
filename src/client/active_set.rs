//! The active set of a namespace as a subscriber holds it: a verified state machine for the messages of a watch.
//!
//! Boundary: pure and synchronous, no I/O and no clock. Invariants: a message changes all it says or nothing; the place
//! held never goes back; after a refusal nothing more of that stream is taken.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use checks::{fingerprint, place, set_digest, wait_of};

use super::bundle::{ActivePolicy, Trust, place_of};
use super::refusal::Refusal;
use super::snapshot::{Collected, Policies};
use crate::api::pb;
use crate::api::pb::watch_active_response::Message;
use crate::domain::event::{Cursor, Fingerprint};
use crate::domain::name::{NamespaceId, PolicyId};
use crate::signing::payload::{Checkpoint, Statement};
use crate::signing::{KeySet, VerifyError};

mod checks;
mod held;
#[cfg(test)]
#[cfg(feature = "server")]
pub(super) mod signed_messages;
#[cfg(test)]
#[cfg(feature = "server")]
mod snapshot_tests;
#[cfg(test)]
#[cfg(feature = "server")]
mod tests;

/// Farthest a revision may jump ahead of the one held.
pub const REVISION_JUMP_MAX: i64 = 1 << 32;
/// Farthest an epoch may jump ahead of the one held.
pub const EPOCH_JUMP_MAX: i64 = 1_000;

/// What a watch was asked for.
#[derive(Debug, Clone, Default)]
pub struct ActiveSetOptions {
    /// The policies asked for; empty: all.
    pub policies: BTreeSet<PolicyId>,
    /// Whether bundles come without content.
    pub metadata_only: bool,
    /// Whether activations may be left out (mode LATEST). When not, each must follow the one before.
    pub latest: bool,
    /// Id of the store, when known; else that of the first document that verifies.
    pub store: Option<String>,
}

/// What a message changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A part of a snapshot: nothing yet.
    SnapshotPart {
        /// Policies collected so far.
        collected: usize,
    },
    /// A whole snapshot: everything held was replaced.
    Replaced {
        /// Where the log stood.
        cursor: Cursor,
        /// All that is in force.
        policies: Vec<Arc<ActivePolicy>>,
    },
    /// One activation.
    Activated {
        /// Its place.
        cursor: Cursor,
        /// `ACTIVATE`, `ROLLBACK` or `DEACTIVATE`, as signed.
        kind: String,
        /// Who asked for it.
        actor: String,
        /// What is in force now.
        changed: Vec<Arc<ActivePolicy>>,
        /// What is not in force any more.
        removed: Vec<PolicyId>,
        /// What was signed of it: when, from where each pointer moved, and the digest of why.
        statement: Box<Statement>,
    },
    /// A sign of life.
    Alive {
        /// The place held.
        cursor: Cursor,
        /// Whether the log goes on behind what this stream sent.
        behind: bool,
    },
    /// The server ends the stream.
    Reconnect {
        /// Why.
        reason: String,
        /// How long to wait.
        backoff: Duration,
    },
    /// A kind of message that this version does not know: nothing.
    Unknown,
}

/// The active set, verified.
#[derive(Debug)]
pub struct ActiveSet {
    trust: Trust,
    wanted: BTreeSet<PolicyId>,
    latest: bool,
    cursor: Option<Cursor>,
    /// Which event stands at `cursor`, as the server says: sent back with it, and proof of nothing.
    event: Option<Fingerprint>,
    /// The set was the one held at every place from here to `cursor`.
    unchanged_since: Cursor,
    policies: Policies,
    /// Whether `policies` is all that was asked for: not so after a resume without the policies.
    whole: bool,
    collected: Collected,
    fresh_until_seconds: i64,
    checkpoint: Cursor,
    refused: bool,
}

impl ActiveSet {
    /// An empty set that waits for a snapshot.
    #[must_use]
    pub fn new(namespace: NamespaceId, keys: KeySet, options: ActiveSetOptions) -> Self {
        let ActiveSetOptions { policies, metadata_only, latest, store } = options;
        Self {
            trust: Trust { namespace, keys, store, metadata_only },
            wanted: policies,
            latest,
            cursor: None,
            event: None,
            unchanged_since: Cursor::default(),
            policies: Policies::new(),
            whole: false,
            collected: Collected::default(),
            fresh_until_seconds: 0,
            checkpoint: Cursor::default(),
            refused: false,
        }
    }

    /// Goes on from a place whose policies are not known here. What needs them is checked again after a snapshot.
    #[must_use]
    pub fn resume_at(mut self, cursor: Cursor) -> Self {
        self.cursor = Some(cursor);
        self.unchanged_since = cursor;
        self
    }

    /// A new stream begins: parts of an unfinished snapshot are dropped, a refusal of the old stream is over.
    pub fn begin_stream(&mut self) {
        self.collected = Collected::default();
        self.refused = false;
    }

    /// The place held: the resume point. None before a snapshot.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        self.cursor
    }

    /// Digest of what is in force, as ReportStatus wants it.
    #[must_use]
    pub fn digest(&self) -> String {
        set_digest(&self.policies)
    }

    /// What is in force, in the byte order of the ids.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<ActivePolicy>> {
        self.policies.values()
    }

    /// Whether no checkpoint says that what is held is the newest.
    #[must_use]
    pub fn is_stale(&self, now_seconds: i64) -> bool {
        now_seconds >= self.fresh_until_seconds
    }

    /// Verifies a message and takes it over; `now_seconds` (Unix time) decides about checkpoints alone.
    ///
    /// # Errors
    /// The refusal. Nothing changed, and until [`Self::begin_stream`] every further message is refused.
    pub fn apply(&mut self, message: &pb::WatchActiveResponse, now_seconds: i64) -> Result<Change, Refusal> {
        if self.refused {
            return Err(Refusal::Malformed("stream goes on after a refusal"));
        }
        let outcome = match &message.message {
            Some(Message::Snapshot(part)) => self.apply_snapshot(part, now_seconds),
            Some(Message::Activation(activation)) => self.apply_activation(activation),
            Some(Message::Heartbeat(heartbeat)) => self.apply_heartbeat(heartbeat, now_seconds),
            Some(Message::Reconnect(reconnect)) => Ok(Change::Reconnect {
                reason: reconnect.reason.clone(),
                backoff: reconnect.backoff.as_ref().map(wait_of).unwrap_or_default(),
            }),
            None => Ok(Change::Unknown),
        };
        self.refused = outcome.is_err();
        outcome
    }

    fn apply_snapshot(&mut self, part: &pb::Snapshot, now_seconds: i64) -> Result<Change, Refusal> {
        for active in &part.bundles {
            let jws: Arc<str> = active.statement.as_str().into();
            let bundle = active.bundle.as_ref().ok_or(Refusal::Malformed("bundle is absent"))?;
            if active.preview {
                return Err(Refusal::Preview(bundle.name.clone()));
            }
            let statement = self.trust.statement(&jws)?;
            if statement.revision != active.revision {
                let found = Cursor { epoch: statement.epoch, revision: active.revision };
                return Err(Refusal::OtherPlace { found, signed: place_of(&statement) });
            }
            let verified = self.trust.bundle(bundle, &statement, &jws)?;
            if !self.wants(&verified.policy) {
                return Err(Refusal::Unexpected(verified.policy));
            }
            self.collected.add(verified, &statement)?;
        }
        if !part.complete && part.bundles.is_empty() {
            // Parts that bring nothing could come for ever.
            return Err(Refusal::Malformed("part of a snapshot is empty"));
        }
        if !part.complete {
            return Ok(Change::SnapshotPart { collected: self.collected.len() });
        }
        let cursor = place(part.cursor.as_ref())?;
        self.check_not_before(cursor)?;
        let policies = std::mem::take(&mut self.collected).finish(cursor)?;
        if self.wanted.is_empty() && set_digest(&policies) != part.active_set_digest {
            return Err(Refusal::OtherSet("snapshot"));
        }
        let checkpoint = self.checkpoint_of(part, cursor, now_seconds)?;
        self.check_none_older(&policies, cursor, checkpoint.is_some())?;

        // Everything holds: only from here on anything changes.
        if let Some(checkpoint) = checkpoint {
            self.checkpoint = cursor;
            self.fresh_until_seconds = self.fresh_until_seconds.max(checkpoint.exp);
        }
        self.policies = policies;
        self.whole = true;
        self.event = fingerprint(part.cursor.as_ref());
        (self.cursor, self.unchanged_since) = (Some(cursor), cursor);
        Ok(Change::Replaced { cursor, policies: self.policies.values().cloned().collect() })
    }

    /// The checkpoint that came with a snapshot; none when it has none, or one that is stale.
    fn checkpoint_of(
        &mut self,
        part: &pb::Snapshot,
        cursor: Cursor,
        now_seconds: i64,
    ) -> Result<Option<Checkpoint>, Refusal> {
        if part.checkpoint.is_empty() {
            return Ok(None);
        }
        let checkpoint = match self.trust.checkpoint(&part.checkpoint, now_seconds) {
            Err(Refusal::Signature { error: VerifyError::Stale, .. }) => return Ok(None),
            checkpoint => checkpoint?,
        };
        let signed = Cursor { epoch: checkpoint.epoch, revision: checkpoint.revision };
        if signed != cursor {
            return Err(Refusal::OtherPlace { found: cursor, signed });
        }
        if signed < self.checkpoint {
            return Err(Refusal::NotNewer { found: signed, held: self.checkpoint });
        }
        if part.active_set_digest != checkpoint.active_set_digest.as_str() {
            return Err(Refusal::OtherSet("checkpoint"));
        }
        Ok(Some(checkpoint))
    }

    fn apply_activation(&mut self, activation: &pb::Activation) -> Result<Change, Refusal> {
        let held = self.cursor.filter(|_| self.collected.len() == 0).ok_or(Refusal::NoSnapshot("activation"))?;
        let cursor = place(activation.cursor.as_ref())?;
        if cursor == held {
            return Err(Refusal::NotNewer { found: cursor, held });
        }
        self.check_not_before(cursor)?;
        let jws: Arc<str> = activation.statement.as_str().into();
        let statement = self.trust.statement(&jws)?;
        if place_of(&statement) != cursor {
            return Err(Refusal::OtherPlace { found: cursor, signed: place_of(&statement) });
        }
        let mut bundles = Policies::new();
        for bundle in &activation.bundles {
            let verified = self.trust.bundle(bundle, &statement, &jws)?;
            let policy = verified.policy.clone();
            if bundles.insert(policy.clone(), Arc::new(verified)).is_some() {
                return Err(Refusal::Unexpected(policy));
            }
        }
        let removed = self.check_tombstones(&activation.tombstones)?;
        self.check_complete(&statement, &bundles, &removed)?;

        // Everything holds: only from here on anything changes.
        let changed: Vec<_> = bundles.values().cloned().collect();
        self.policies.extend(bundles);
        self.policies.retain(|policy, _| !removed.contains(policy));
        self.event = fingerprint(activation.cursor.as_ref());
        (self.cursor, self.unchanged_since) = (Some(cursor), cursor);
        let statement = Box::new(statement);
        let (kind, actor) = (statement.kind.clone(), statement.actor.clone());
        Ok(Change::Activated { cursor, kind, actor, changed, removed: removed.into_iter().collect(), statement })
    }

    fn apply_heartbeat(&mut self, heartbeat: &pb::Heartbeat, now_seconds: i64) -> Result<Change, Refusal> {
        let held = self.cursor.filter(|_| self.collected.len() == 0).ok_or(Refusal::NoSnapshot("heartbeat"))?;
        if heartbeat.cursor.is_none() && heartbeat.checkpoint.is_empty() {
            // This replica has not read as far as we have: a sign of life, and no freshness.
            return Ok(Change::Alive { cursor: held, behind: true });
        }
        let sent = place(heartbeat.cursor.as_ref())?;
        self.check_not_before(sent)?;
        let checkpoint = match self.trust.checkpoint(&heartbeat.checkpoint, now_seconds) {
            // Old news is no forgery: the server lost its database. What is held stands, and `is_stale` says the rest.
            Err(Refusal::Signature { error: VerifyError::Stale, .. }) => {
                return Ok(Change::Alive { cursor: held, behind: true });
            }
            checkpoint => checkpoint?,
        };
        let head = Cursor { epoch: checkpoint.epoch, revision: checkpoint.revision };
        if head < self.checkpoint {
            return Err(Refusal::NotNewer { found: head, held: self.checkpoint });
        }
        self.check_same_set(&checkpoint, head, sent)?;
        self.checkpoint = head;
        let behind = head > sent;
        if !behind {
            self.fresh_until_seconds = self.fresh_until_seconds.max(checkpoint.exp);
        }
        // The heartbeat's own place is not signed: it counts only as far as the checkpoint bears it out.
        let cursor = held.max(sent.min(head));
        if cursor == sent {
            self.event = fingerprint(heartbeat.cursor.as_ref());
        } else if cursor != held {
            self.event = None;
        }
        self.cursor = Some(cursor);
        Ok(Change::Alive { cursor, behind })
    }
}
