//! The active set of a namespace as a subscriber holds it: a verified state machine for the messages of a watch.
//!
//! Boundary: pure and synchronous, no I/O and no clock. Invariants: a message changes all it says or nothing; the cursor
//! held is one that was signed, and never goes back; after a refusal nothing more of that stream is taken.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use followed::Followed;
pub(crate) use unsigned::duration_of;
use unsigned::{check_hint, fingerprint, reason_of};

use super::bundle::{ActivePolicy, SetTrust, cursor_of, position_of, root_of};
use super::evidence::{Evidence, ProofDocument};
use super::refusal::Refusal;
use super::snapshot::{Collected, PendingChanges, PolicyMap, add, set_digest, whole};
use policyhub_core::api::pb;
use policyhub_core::api::pb::watch_active_response::Message;
use policyhub_core::domain::event::{Cursor, Fingerprint, Position};
use policyhub_core::domain::name::{NamespaceId, PolicyId};
use policyhub_core::signing::payload::Statement;
use policyhub_core::signing::{ActiveSetTree, KeySet, VerifyError};

mod checks;
mod followed;
mod held;
mod key_statements;
#[cfg(test)]
pub(super) mod tests;
mod unsigned;

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
    /// How often the server should show that it lives, up to 30 s, where less often than it does by itself is enough. A dead stream is
    /// noticed after three of them.
    pub heartbeat_interval: Option<Duration>,
}

/// What a message changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetChange {
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
    /// A part of an activation: nothing yet.
    ActivationPart {
        /// Changes collected so far.
        collected: usize,
    },
    /// A whole activation was applied.
    Activated {
        /// Its cursor.
        cursor: Cursor,
        /// `ACTIVATE`, `ROLLBACK` or `DEACTIVATE`, as signed.
        kind: String,
        /// Who asked for it.
        actor: String,
        /// The policies that came into force.
        changed: Vec<Arc<ActivePolicy>>,
        /// What is not in force any more.
        removed: Vec<PolicyId>,
        /// What was signed of it: when, from where each pointer moved, and the digest of why.
        statement: Box<Statement>,
    },
    /// A sign of life.
    Alive {
        /// The cursor held.
        cursor: Cursor,
        /// Whether it proves that what is held is the newest.
        is_newest: bool,
    },
    /// The server ends the stream.
    Reconnect {
        /// The reason, for people.
        reason: String,
        /// How long to wait.
        backoff: Duration,
    },
    /// The stream is open.
    Opened {
        /// How often the server promises a sign of life.
        heartbeat_interval: Duration,
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
    trust: SetTrust,
    /// The pinned keys that follow key statements; none: the keys are those that were given.
    followed: Option<Followed>,
    wanted: BTreeSet<PolicyId>,
    latest: bool,
    heartbeat_interval: Option<Duration>,
    /// The high-water mark: of the newest statement or checkpoint whose message was taken over.
    cursor: Option<Cursor>,
    /// The newest statement or checkpoint that verified, also when its message was refused: nothing older is taken again.
    newest_verified: Cursor,
    /// Whether the store was known before the first message.
    knows_store: bool,
    /// The store that a stream named before it was refused, while nothing is held: the next stream may be of another one.
    refused_store: Option<String>,
    /// Which event stands at `cursor`, as a checkpoint says, or after an activation the server alone: sent back with it.
    event: Option<Fingerprint>,
    /// What proves `policies`; none while they are not all that was asked for.
    evidence: Option<Arc<Evidence>>,
    policies: PolicyMap,
    /// What the root is over.
    tree: ActiveSetTree,
    /// Whether `policies` is all that was asked for: not so after a resume without the policies.
    whole: bool,
    /// Whether activations are reported without the policies before them. The set in force is never known then.
    only_tells: bool,
    collected: Collected,
    fresh_until_seconds: i64,
    refused: bool,
}

impl ActiveSet {
    /// Returns an empty set that waits for a snapshot.
    #[must_use]
    pub fn new(namespace: NamespaceId, keys: KeySet, options: ActiveSetOptions) -> Self {
        let ActiveSetOptions { policies, metadata_only, latest, store, heartbeat_interval } = options;
        let knows_store = store.is_some();
        Self {
            trust: SetTrust { namespace, keys, store, metadata_only, clock_ahead_seconds: None },
            followed: None,
            wanted: policies,
            latest,
            heartbeat_interval,
            cursor: None,
            newest_verified: Cursor::default(),
            knows_store,
            refused_store: None,
            event: None,
            evidence: None,
            policies: PolicyMap::new(),
            tree: ActiveSetTree::new(),
            whole: false,
            only_tells: false,
            collected: Collected::default(),
            fresh_until_seconds: 0,
            refused: false,
        }
    }

    /// Goes on from a cursor whose policies are not known here. What needs them is checked again after a snapshot.
    #[must_use]
    pub fn resume_at(mut self, cursor: Cursor) -> Self {
        (self.cursor, self.only_tells) = (Some(cursor), true);
        self
    }

    /// Returns the cursor held: the resume point. None before a snapshot.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        self.cursor
    }

    /// Returns the digest of what is in force, as ReportStatus wants it.
    #[must_use]
    pub fn digest(&self) -> String {
        set_digest(&self.policies)
    }

    /// Returns what is in force, in the byte order of the ids.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<ActivePolicy>> {
        self.policies.values()
    }

    /// Returns whether no checkpoint says that what is held is the newest.
    #[must_use]
    pub fn is_stale(&self, now_seconds: i64) -> bool {
        now_seconds >= self.fresh_until_seconds
    }

    /// Verifies a message and takes it over; `now_seconds` (Unix time) decides about checkpoints alone.
    ///
    /// # Errors
    /// The refusal. Nothing held changed; what is older than the document that verified in it is not taken any more. Until [`Self::begin_stream`] every further message is refused.
    pub fn apply(&mut self, message: &pb::WatchActiveResponse, now_seconds: i64) -> Result<SetChange, Refusal> {
        if self.refused {
            return Err(Refusal::Malformed("stream goes on after a refusal"));
        }
        let outcome = match &message.message {
            Some(_) if !message.parent.is_empty() && message.parent != self.trust.namespace.name() => {
                Err(Refusal::Malformed("message is about a namespace that was not asked for"))
            }
            Some(Message::Snapshot(part)) => self.apply_snapshot(part, now_seconds),
            Some(Message::Activation(part)) => self.apply_activation(part),
            Some(Message::Heartbeat(heartbeat)) => self.apply_heartbeat(heartbeat, now_seconds),
            Some(Message::Reconnect(reconnect)) => Ok(SetChange::Reconnect {
                reason: reason_of(reconnect).to_owned(),
                backoff: reconnect.backoff.as_ref().map(duration_of).unwrap_or_default(),
            }),
            Some(Message::Opened(opened)) => Ok(SetChange::Opened {
                heartbeat_interval: opened.heartbeat_interval.as_ref().map(duration_of).unwrap_or_default(),
            }),
            Some(Message::KeyStatement(keys)) => Ok(self.take_key_statement(&keys.statement)),
            // This set is watched alone: its end is the end of the stream, so `ended` is not for it.
            Some(Message::Ended(_)) | None => Ok(SetChange::Unknown),
        };
        self.refused = outcome.is_err();
        if outcome.is_ok() {
            self.drop_keys_of_other_store();
        }
        outcome
    }

    /// Verifies the bundles of a part of a snapshot, and collects them.
    pub(super) fn collect(&mut self, part: &pb::Snapshot) -> Result<BTreeMap<PolicyId, ActivePolicy>, Refusal> {
        // A snapshot replaces parts that were not finished.
        let mut policies = match std::mem::take(&mut self.collected) {
            Collected::Snapshot(policies) => policies,
            Collected::Nothing | Collected::Activation(_) => BTreeMap::new(),
        };
        for bundle in &part.bundles {
            if bundle.activation.is_none() {
                return Err(Refusal::Malformed("activation of a bundle is absent"));
            }
            add(&mut policies, self.verify_bundle(bundle)?)?;
        }
        Ok(policies)
    }

    /// Verifies a bundle, and that it was asked for. Which activation put it in force is proven with the whole set.
    fn verify_bundle(&mut self, bundle: &pb::Bundle) -> Result<ActivePolicy, Refusal> {
        if bundle.preview {
            return Err(Refusal::Preview(bundle.name.clone()));
        }
        let activated = bundle.activation.map_or(Cursor::NONE, |at| Cursor { epoch: at.epoch, revision: at.revision });
        let verified = self.trust.bundle(bundle, activated)?;
        if self.wants(&verified.policy) { Ok(verified) } else { Err(Refusal::Unexpected(verified.policy)) }
    }

    /// Takes a whole set over.
    fn hold(&mut self, policies: PolicyMap, tree: ActiveSetTree, at: Position, evidence: Evidence) {
        (self.policies, self.tree, self.whole) = (policies, tree, true);
        (self.cursor, self.event, self.evidence) = (Some(at.cursor), at.event, Some(Arc::new(evidence)));
    }

    fn apply_snapshot(&mut self, part: &pb::Snapshot, now_seconds: i64) -> Result<SetChange, Refusal> {
        let policies = self.collect(part)?;
        if !part.complete {
            if part.bundles.is_empty() {
                // Otherwise a server could send empty parts for ever.
                return Err(Refusal::Malformed("part of a snapshot is empty"));
            }
            let collected = policies.len();
            self.collected = Collected::Snapshot(policies);
            return Ok(SetChange::SnapshotPart { collected });
        }
        let (checkpoint, is_valid) = self.trust.checkpoint(&part.checkpoint, now_seconds)?;
        let at = position_of(&checkpoint);
        check_hint(part.cursor.as_ref(), at.cursor)?;
        self.check_not_before(at.cursor)?;
        self.newest_verified = at.cursor;
        let (policies, tree) = whole(policies);
        let root = checkpoint.active_set_root;
        self.check_proves("checkpoint", root, &part.set_proof, &tree, policies.values())?;

        // Everything verified. State changes only from here on.
        self.fresh_until_seconds = if is_valid { checkpoint.exp } else { 0 };
        let document = ProofDocument::Checkpoint(part.checkpoint.clone());
        self.hold(policies, tree, at, Evidence::new(document, &part.set_proof));
        Ok(SetChange::Replaced { cursor: at.cursor, policies: self.policies.values().cloned().collect() })
    }

    fn apply_activation(&mut self, part: &pb::Activation) -> Result<SetChange, Refusal> {
        let mut changes = match std::mem::take(&mut self.collected) {
            Collected::Activation(changes) => changes,
            Collected::Nothing => PendingChanges::default(),
            Collected::Snapshot(_) => return Err(Refusal::NoSnapshot("activation")),
        };
        // A remembered cursor is not enough for an activation: the set at that cursor is not held.
        let held = self.cursor.filter(|_| self.whole || self.only_tells).ok_or(Refusal::NoSnapshot("activation"))?;
        for bundle in &part.bundles {
            changes.add(self.verify_bundle(bundle)?)?;
        }
        for name in &part.tombstones {
            changes.remove(self.tombstone(name)?)?;
        }
        if !part.complete {
            if part.bundles.is_empty() && part.tombstones.is_empty() {
                return Err(Refusal::Malformed("part of an activation is empty"));
            }
            let collected = changes.bundles.len() + changes.removed.len();
            self.collected = Collected::Activation(changes);
            return Ok(SetChange::ActivationPart { collected });
        }
        let statement = self.trust.statement(&part.statement)?;
        let cursor = cursor_of(&statement);
        check_hint(part.cursor.as_ref(), cursor)?;
        self.check_not_before(cursor)?;
        if cursor <= held {
            return Err(Refusal::NotNewer { found: cursor, held });
        }
        self.newest_verified = cursor;
        self.check_complete(&statement, &changes)?;
        let PendingChanges { bundles, removed } = changes;
        if bundles.values().any(|bundle| bundle.activated != cursor) {
            return Err(Refusal::Malformed("bundle of another activation"));
        }
        let bundles: PolicyMap = bundles.into_iter().map(|(policy, bundle)| (policy, Arc::new(bundle))).collect();
        let mut tree = self.tree.clone();
        for policy in &removed {
            tree.remove(policy);
        }
        bundles.values().for_each(|active| tree.insert(active.leaf()));
        let evidence = if self.whole {
            let is_left = |policy: &PolicyId| !removed.contains(policy) && !bundles.contains_key(policy);
            let left = self.policies.iter().filter(|(policy, _)| is_left(policy)).map(|(_, active)| active);
            let root = root_of(&statement)?;
            self.check_proves("statement", root, &part.set_proof, &tree, left.chain(bundles.values()))?;
            let document = ProofDocument::Statement(part.statement.clone());
            Some(Arc::new(Evidence::new(document, &part.set_proof)))
        } else {
            // Without the policies before it nothing can be proven: the activation is reported as a change, and is never fresh.
            None
        };

        // Everything verified. State changes only from here on.
        let changed = bundles.values().cloned().collect();
        self.policies.retain(|policy, _| !removed.contains(policy));
        self.policies.extend(bundles);
        (self.tree, self.cursor, self.evidence) = (tree, Some(cursor), evidence);
        self.event = fingerprint(part.cursor.as_ref());
        let statement = Box::new(statement);
        let (kind, actor) = (statement.kind.clone(), statement.actor.clone());
        Ok(SetChange::Activated { cursor, kind, actor, changed, removed: removed.into_iter().collect(), statement })
    }

    fn apply_heartbeat(&mut self, heartbeat: &pb::Heartbeat, now_seconds: i64) -> Result<SetChange, Refusal> {
        if self.collected.is_unfinished() {
            return Err(Refusal::Malformed("heartbeat within a message in parts"));
        }
        let held = self.cursor.ok_or(Refusal::NoSnapshot("heartbeat"))?;
        if heartbeat.resume_unknown {
            // This replica is behind this client: the heartbeat shows that it lives, and proves no freshness.
            return Ok(SetChange::Alive { cursor: held, is_newest: false });
        }
        let (checkpoint, is_valid) = self.trust.checkpoint(&heartbeat.checkpoint, now_seconds)?;
        let at = position_of(&checkpoint);
        check_hint(heartbeat.cursor.as_ref(), at.cursor)?;
        self.check_not_before(at.cursor)?;
        self.newest_verified = at.cursor;
        if self.whole {
            let (root, set_proof) = (checkpoint.active_set_root, &heartbeat.set_proof);
            if let Err(refusal) = self.check_proves("checkpoint", root, set_proof, &self.tree, self.policies.values()) {
                if refusal.is_divergence() {
                    // Something newer is in force: what is held is not the newest, whatever an earlier checkpoint said.
                    self.fresh_until_seconds = 0;
                }
                return Err(refusal);
            }
            let document = ProofDocument::Checkpoint(heartbeat.checkpoint.clone());
            self.evidence = Some(Arc::new(Evidence::new(document, set_proof)));
        }
        let is_newest = is_valid && self.whole;
        // An expired checkpoint is not a forgery: the server has no database at the moment. The set that is held stays.
        if is_newest {
            self.fresh_until_seconds = self.fresh_until_seconds.max(checkpoint.exp);
        } else if self.trust.clock_ahead_seconds.is_some() {
            // With a clock that was set back, an earlier checkpoint would seem valid for longer.
            self.fresh_until_seconds = 0;
        }
        (self.cursor, self.event) = (Some(at.cursor), at.event);
        Ok(SetChange::Alive { cursor: at.cursor, is_newest })
    }
}
