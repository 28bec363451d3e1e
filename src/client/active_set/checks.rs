//! The rules of [`ActiveSet`] that look at what is held: order, completeness, and the digest of the whole.
//!
//! Invariant: none of them changes anything.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{ActiveSet, EPOCH_JUMP_MAX, REVISION_JUMP_MAX};
use crate::api::pb;
use crate::api::pb::watch_active_response::Message;
use crate::client::refusal::Refusal;
use crate::client::snapshot::Policies;
use crate::domain::event::{Cursor, Fingerprint};
use crate::domain::name::{PolicyId, PolicyName};
use crate::signing::payload::{Checkpoint, Statement};
use crate::signing::{KeySet, active_set_digest, jws};

/// A place that a message must carry.
pub(super) fn place(cursor: Option<&pb::Cursor>) -> Result<Cursor, Refusal> {
    match cursor {
        Some(cursor) if cursor.epoch >= 0 && cursor.revision >= 0 => {
            Ok(Cursor { epoch: cursor.epoch, revision: cursor.revision })
        }
        _ => Err(Refusal::Malformed("cursor is absent or negative")),
    }
}

/// Which event a cursor says that it names.
pub(super) fn fingerprint(cursor: Option<&pb::Cursor>) -> Option<Fingerprint> {
    cursor.and_then(|cursor| Fingerprint::from_number(cursor.fingerprint))
}

/// How long a server asks to wait; less than nothing is nothing. Not by the library's conversion: it negates, which the
/// lowest number does not outlive.
pub(super) fn wait_of(wait: &prost_types::Duration) -> Duration {
    match (u64::try_from(wait.seconds), u32::try_from(wait.nanos)) {
        (Ok(seconds), Ok(nanos)) => Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanos.into())),
        _ => Duration::ZERO,
    }
}

/// The digest of a set, as checkpoints carry it.
pub(super) fn set_digest(policies: &Policies) -> String {
    let entries = policies.values().map(|active| (&active.policy, active.version, &active.digest));
    active_set_digest(entries).as_str().to_owned()
}

impl ActiveSet {
    /// Takes other keys in place of those it trusts. What is held stays: see [`Self::by_revoked_keys`].
    pub fn trust(&mut self, keys: KeySet) {
        self.trust.keys = keys;
    }

    /// Whether a message is signed by a key that is not among those trusted: a newer one, a stranger's, or one that was said
    /// to be revoked, which may have been a lie. To be asked before [`Self::apply`], which refuses it for good.
    #[must_use]
    pub fn names_untrusted_key(&self, message: &pb::WatchActiveResponse) -> bool {
        let is_untrusted = |token: &str| jws::named_key(token).is_some_and(|id| self.trust.keys.get(&id).is_none());
        match &message.message {
            Some(Message::Snapshot(part)) => {
                let manifests =
                    part.bundles.iter().filter_map(|active| active.bundle.as_ref()).map(|bundle| &bundle.manifest);
                let statements = part.bundles.iter().map(|active| &active.statement);
                manifests.chain(statements).chain([&part.checkpoint]).any(|token| is_untrusted(token))
            }
            Some(Message::Activation(activation)) => {
                let manifests = activation.bundles.iter().map(|bundle| &bundle.manifest);
                manifests.chain([&activation.statement]).any(|token| is_untrusted(token))
            }
            Some(Message::Heartbeat(heartbeat)) => is_untrusted(&heartbeat.checkpoint),
            Some(Message::Reconnect(_)) | None => false,
        }
    }

    /// The policies held whose manifest or statement is by a key that was revoked since. They were verified when they came;
    /// whether to go on with them is the runtime's to decide. A server that signed them again sends them anew.
    #[must_use]
    pub fn by_revoked_keys(&self) -> Vec<PolicyId> {
        let is_revoked = |token: &str| jws::named_key(token).is_some_and(|id| self.trust.keys.is_revoked(&id));
        let held = self.policies.values().filter(|held| is_revoked(&held.manifest) || is_revoked(&held.statement));
        held.map(|held| held.policy.clone()).collect()
    }

    pub(super) fn wants(&self, policy: &PolicyId) -> bool {
        self.wanted.is_empty() || self.wanted.contains(policy)
    }

    /// A place may not be before the one held, nor so far ahead that nothing could follow.
    pub(super) fn check_not_before(&self, found: Cursor) -> Result<(), Refusal> {
        let held = self.cursor.unwrap_or_default();
        if found < held {
            return Err(Refusal::NotNewer { found, held });
        }
        let too_far = found.epoch.saturating_sub(held.epoch) > EPOCH_JUMP_MAX
            || found.revision.saturating_sub(held.revision) > REVISION_JUMP_MAX;
        if too_far { Err(Refusal::TooFarAhead { found, held }) } else { Ok(()) }
    }

    /// No policy of a snapshot may be older than the one held, unless the store lost its tail: then its epoch is raised,
    /// and a checkpoint has signed that (`proven`). A raised epoch by itself is nothing but a number that anybody can send.
    pub(super) fn check_none_older(&self, policies: &Policies, cursor: Cursor, proven: bool) -> Result<(), Refusal> {
        if proven && self.cursor.is_some_and(|held| held.epoch < cursor.epoch) {
            return Ok(());
        }
        for (policy, held) in &self.policies {
            if let Some(found) = policies.get(policy).filter(|found| found.activated < held.activated) {
                return Err(Refusal::NotNewer { found: found.activated, held: held.activated });
            }
        }
        Ok(())
    }

    /// Tombstones are names of policies of this namespace, each once.
    pub(super) fn check_tombstones(&self, names: &[String]) -> Result<BTreeSet<PolicyId>, Refusal> {
        let mut removed = BTreeSet::new();
        for name in names {
            let name = PolicyName::parse("tombstone", name).map_err(|_| Refusal::Malformed("name of a tombstone"))?;
            if name.namespace != self.trust.namespace {
                let what = format!("tombstone of {}", name.policy);
                return Err(Refusal::OtherNamespace { what, found: name.namespace.to_string() });
            }
            if !removed.insert(name.policy.clone()) {
                return Err(Refusal::Unexpected(name.policy));
            }
        }
        Ok(removed)
    }

    /// Each change that was asked for is there, follows what is held, and nothing else is there.
    pub(super) fn check_complete(
        &self,
        statement: &Statement,
        bundles: &Policies,
        removed: &BTreeSet<PolicyId>,
    ) -> Result<(), Refusal> {
        let mut stated = BTreeSet::new();
        for change in statement.changes.iter().filter(|change| self.wants(&change.policy)) {
            let there = if change.version == 0 {
                removed.contains(&change.policy)
            } else {
                bundles.contains_key(&change.policy)
            };
            if !there {
                return Err(Refusal::ChangeMissing(change.policy.clone()));
            }
            let held = self.policies.get(&change.policy).map_or(0, |active| active.version);
            if self.whole && !self.latest && held != change.previous {
                return Err(Refusal::NotFollowing { policy: change.policy.clone(), stated: change.previous, held });
            }
            stated.insert((&change.policy, change.version == 0));
        }
        let shown = bundles.keys().map(|policy| (policy, false)).chain(removed.iter().map(|policy| (policy, true)));
        for entry in shown {
            if !stated.contains(&entry) {
                return Err(Refusal::Unexpected(entry.0.clone()));
            }
        }
        Ok(())
    }

    /// The set held must be the checkpoint's, when the checkpoint is of a place at which this set was held.
    pub(super) fn check_same_set(&self, checkpoint: &Checkpoint, head: Cursor, sent: Cursor) -> Result<(), Refusal> {
        let comparable = self.whole && self.wanted.is_empty() && self.unchanged_since <= head && head <= sent;
        if comparable && set_digest(&self.policies) != checkpoint.active_set_digest.as_str() {
            return Err(Refusal::OtherSet("checkpoint"));
        }
        Ok(())
    }
}
