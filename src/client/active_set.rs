//! The active set of a namespace as a subscriber holds it: a verified state machine for the messages of a watch.
//!
//! Boundary: pure and synchronous, no I/O and no clock. Invariants: a message changes all it says or nothing; the place
//! held is one that was signed, and never goes back; after a refusal nothing more of that stream is taken.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use checks::{check_hint, fingerprint, set_digest, signed_place, wait_of};
use key_statements::Followed;

use super::bundle::{ActivePolicy, Trust, place_of};
use super::refusal::Refusal;
use super::snapshot::{Collected, Policies};
use crate::api::pb;
use crate::api::pb::watch_active_response::Message;
use crate::domain::event::{Cursor, Fingerprint};
use crate::domain::name::{NamespaceId, PolicyId};
use crate::signing::payload::Statement;
use crate::signing::{ActiveSetTree, KeySet, VerifyError};

mod checks;
mod held;
mod key_statements;
#[cfg(test)]
#[cfg(feature = "server")]
pub(super) mod signed_messages;
#[cfg(test)]
#[cfg(feature = "server")]
mod snapshot_tests;
#[cfg(test)]
#[cfg(feature = "server")]
mod tests;

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
        /// Whether it proves that what is held is the newest.
        is_newest: bool,
    },
    /// The server ends the stream.
    Reconnect {
        /// Why.
        reason: String,
        /// How long to wait.
        backoff: Duration,
    },
    /// A key statement.
    Keys {
        /// Where it stands, when the keys that are trusted follow it from now on; none: nothing changed.
        newest: Option<Cursor>,
        /// Why it was not taken: one by a key from before those that were pinned, or a forged one.
        refused: Option<VerifyError>,
    },
    /// A kind of message that this version does not know: nothing.
    Unknown,
}

/// The active set, verified.
#[derive(Debug)]
pub struct ActiveSet {
    trust: Trust,
    /// The pinned keys that follow key statements; none: the keys are those that were given.
    followed: Option<Followed>,
    wanted: BTreeSet<PolicyId>,
    latest: bool,
    /// The high-water mark: of the newest statement or checkpoint whose message was taken over.
    cursor: Option<Cursor>,
    /// The newest statement or checkpoint that verified, also when its message was refused: nothing older is taken again.
    newest_verified: Cursor,
    /// Which event stands at `cursor`, as the server says: sent back with it, and proof of nothing.
    event: Option<Fingerprint>,
    policies: Policies,
    /// What the root is over.
    tree: ActiveSetTree,
    /// Whether `policies` is all that was asked for: not so after a resume without the policies.
    whole: bool,
    collected: Collected,
    fresh_until_seconds: i64,
    refused: bool,
}

impl ActiveSet {
    /// An empty set that waits for a snapshot.
    #[must_use]
    pub fn new(namespace: NamespaceId, keys: KeySet, options: ActiveSetOptions) -> Self {
        let ActiveSetOptions { policies, metadata_only, latest, store } = options;
        Self {
            trust: Trust { namespace, keys, store, metadata_only, clock_ahead_seconds: None },
            followed: None,
            wanted: policies,
            latest,
            cursor: None,
            newest_verified: Cursor::default(),
            event: None,
            policies: Policies::new(),
            tree: ActiveSetTree::new(),
            whole: false,
            collected: Collected::default(),
            fresh_until_seconds: 0,
            refused: false,
        }
    }

    /// Goes on from a place whose policies are not known here. What needs them is checked again after a snapshot.
    #[must_use]
    pub fn resume_at(mut self, cursor: Cursor) -> Self {
        self.cursor = Some(cursor);
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
    /// The refusal. Nothing held changed; what is older than the document that verified in it is not taken any more. Until [`Self::begin_stream`] every further message is refused.
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
            Some(Message::KeyStatement(keys)) => Ok(self.take_key_statement(&keys.statement)),
            None => Ok(Change::Unknown),
        };
        self.refused = outcome.is_err();
        outcome
    }

    /// Verifies the bundles of a part of a snapshot, and collects them.
    pub(super) fn collect(&mut self, part: &pb::Snapshot) -> Result<(), Refusal> {
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
            self.collected.add(verified)?;
        }
        Ok(())
    }

    /// Takes a whole set over.
    pub(super) fn hold(&mut self, policies: Policies, tree: ActiveSetTree, cursor: Cursor, event: Option<Fingerprint>) {
        (self.policies, self.tree, self.whole) = (policies, tree, true);
        (self.cursor, self.event) = (Some(cursor), event);
    }

    fn apply_snapshot(&mut self, part: &pb::Snapshot, now_seconds: i64) -> Result<Change, Refusal> {
        self.collect(part)?;
        if !part.complete && part.bundles.is_empty() {
            // Parts that bring nothing could come for ever.
            return Err(Refusal::Malformed("part of a snapshot is empty"));
        }
        if !part.complete {
            return Ok(Change::SnapshotPart { collected: self.collected.len() });
        }
        let (checkpoint, is_valid) = self.trust.checkpoint(&part.checkpoint, now_seconds)?;
        let cursor = signed_place(&checkpoint, part.cursor.as_ref())?;
        self.check_not_before(cursor)?;
        let policies = std::mem::take(&mut self.collected).finish();
        let tree = policies.values().map(|active| active.leaf()).collect();
        self.newest_verified = cursor;
        self.check_proves(&checkpoint, &part.set_proof, &policies, &tree)?;

        // Everything holds: only from here on anything changes.
        self.fresh_until_seconds = if is_valid { checkpoint.exp } else { 0 };
        self.hold(policies, tree, cursor, fingerprint(part.cursor.as_ref()));
        Ok(Change::Replaced { cursor, policies: self.policies.values().cloned().collect() })
    }

    fn apply_activation(&mut self, activation: &pb::Activation) -> Result<Change, Refusal> {
        let held = self.cursor.filter(|_| self.collected.len() == 0).ok_or(Refusal::NoSnapshot("activation"))?;
        let jws: Arc<str> = activation.statement.as_str().into();
        let statement = self.trust.statement(&jws)?;
        let cursor = place_of(&statement);
        check_hint(activation.cursor.as_ref(), cursor)?;
        self.check_not_before(cursor)?;
        if cursor <= held {
            return Err(Refusal::NotNewer { found: cursor, held });
        }
        self.newest_verified = cursor;
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

        let changed: Vec<_> = bundles.values().cloned().collect();
        let mut tree = self.tree.clone();
        for policy in &removed {
            tree.remove(policy);
        }
        bundles.values().for_each(|active| tree.insert(active.leaf()));
        let is_proven = self.check_root_of(&statement, &tree)?;

        // Everything holds: only from here on anything changes.
        self.policies.retain(|policy, _| !removed.contains(policy));
        self.policies.extend(bundles);
        (self.tree, self.cursor) = (tree, Some(cursor));
        if !is_proven {
            // Something may have been dropped before it: the next checkpoint proves the set, or shows the gap.
            self.fresh_until_seconds = 0;
        }
        self.event = fingerprint(activation.cursor.as_ref());
        let statement = Box::new(statement);
        let (kind, actor) = (statement.kind.clone(), statement.actor.clone());
        Ok(Change::Activated { cursor, kind, actor, changed, removed: removed.into_iter().collect(), statement })
    }

    fn apply_heartbeat(&mut self, heartbeat: &pb::Heartbeat, now_seconds: i64) -> Result<Change, Refusal> {
        let held = self.cursor.filter(|_| self.collected.len() == 0).ok_or(Refusal::NoSnapshot("heartbeat"))?;
        if heartbeat.resume_unknown {
            // This replica has not read as far as we have: a sign of life, and no freshness.
            return Ok(Change::Alive { cursor: held, is_newest: false });
        }
        let (checkpoint, is_valid) = self.trust.checkpoint(&heartbeat.checkpoint, now_seconds)?;
        let cursor = signed_place(&checkpoint, heartbeat.cursor.as_ref())?;
        self.check_not_before(cursor)?;
        self.newest_verified = cursor;
        if self.whole
            && let Err(refusal) = self.check_proves(&checkpoint, &heartbeat.set_proof, &self.policies, &self.tree)
        {
            if refusal.is_divergence() {
                // Something newer is in force: what is held is not the newest, whatever an earlier checkpoint said.
                self.fresh_until_seconds = 0;
            }
            return Err(refusal);
        }
        let is_newest = is_valid && self.whole;
        // One that has expired is old news, not a forgery: the server lost its database. What is held stands.
        if is_newest {
            self.fresh_until_seconds = self.fresh_until_seconds.max(checkpoint.exp);
        }
        (self.cursor, self.event) = (Some(cursor), fingerprint(heartbeat.cursor.as_ref()));
        Ok(Change::Alive { cursor, is_newest })
    }
}
