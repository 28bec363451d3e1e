//! The rules of [`ActiveSet`] that look at what is held: order, completeness, and the digest of the whole.
//!
//! Invariant: none of them changes anything.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::ActiveSet;
use crate::bundle::ActivePolicy;
use crate::refusal::Refusal;
use crate::snapshot::PendingChanges;
use policyhub_core::api::pb;
use policyhub_core::api::pb::watch_active_response::Message;
use policyhub_core::domain::digest::ActiveSetRoot;
use policyhub_core::domain::event::Cursor;
use policyhub_core::domain::name::{PolicyId, PolicyName};
use policyhub_core::signing::payload::Statement;
use policyhub_core::signing::{ActiveSetTree, KeySet, jws, verify_set_proof};

impl ActiveSet {
    /// Takes other keys in place of those it trusts. What is held stays: see [`Self::by_revoked_keys`].
    pub fn trust(&mut self, keys: KeySet) {
        self.trust.keys = keys;
    }

    /// Returns whether a message is signed by a key that is not among those trusted: a newer one, a stranger's, or one that was said
    /// to be revoked, which may have been a lie. To be asked before [`Self::apply`], which refuses it for good.
    #[must_use]
    pub fn names_untrusted_key(&self, message: &pb::WatchActiveResponse) -> bool {
        let is_untrusted = |token: &str| jws::named_key(token).is_some_and(|id| self.trust.keys.get(&id).is_none());
        match &message.message {
            Some(Message::Snapshot(part)) => {
                let manifests = part.bundles.iter().map(|bundle| &bundle.manifest);
                manifests.chain([&part.checkpoint]).any(|token| is_untrusted(token))
            }
            Some(Message::Activation(activation)) => {
                let manifests = activation.bundles.iter().map(|bundle| &bundle.manifest);
                manifests.chain([&activation.statement]).any(|token| is_untrusted(token))
            }
            Some(Message::Heartbeat(heartbeat)) => is_untrusted(&heartbeat.checkpoint),
            // A key statement by an unknown key is from before the pinned ones.
            Some(Message::Reconnect(_) | Message::Opened(_) | Message::KeyStatement(_) | Message::Ended(_)) | None => {
                false
            }
        }
    }

    /// Returns the policies held whose manifest is by a key that was revoked since. They were verified when they came;
    /// whether to go on with them is the runtime's to decide. A server that signed them again sends them anew.
    #[must_use]
    pub fn by_revoked_keys(&self) -> Vec<PolicyId> {
        let is_revoked = |token: &str| jws::named_key(token).is_some_and(|id| self.trust.keys.is_revoked(&id));
        let held = self.policies.values().filter(|held| is_revoked(&held.manifest));
        held.map(|held| held.policy.clone()).collect()
    }

    pub(super) fn wants(&self, policy: &PolicyId) -> bool {
        self.wanted.is_empty() || self.wanted.contains(policy)
    }

    /// Refuses a cursor before the one held, or before any that was verified.
    pub(super) fn check_not_before(&self, found: Cursor) -> Result<(), Refusal> {
        // What was refused before anything was held counts for its own store alone.
        let is_other = self.cursor.is_none() && self.refused_store.is_some() && self.refused_store != self.trust.store;
        let newest = if is_other { Cursor::default() } else { self.newest_verified };
        let held = self.cursor.unwrap_or_default().max(newest);
        if found < held { Err(Refusal::NotNewer { found, held }) } else { Ok(()) }
    }

    /// Reads a tombstone: the name of a policy of this namespace.
    pub(super) fn tombstone(&self, name: &str) -> Result<PolicyId, Refusal> {
        let name = PolicyName::parse("tombstone", name).map_err(|_| Refusal::Malformed("name of a tombstone"))?;
        if name.namespace == self.trust.namespace {
            return Ok(name.policy);
        }
        let what = format!("tombstone of {}", name.policy);
        Err(Refusal::OtherNamespace { what, found: name.namespace.to_string() })
    }

    /// Checks that each change that was asked for is there and follows what is held, and that nothing else is there.
    pub(super) fn check_complete(&self, statement: &Statement, changes: &PendingChanges) -> Result<(), Refusal> {
        let mut stated = BTreeSet::new();
        for change in statement.changes.iter().filter(|change| self.wants(&change.policy)) {
            match changes.bundles.get(&change.policy) {
                None if change.version == 0 && changes.removed.contains(&change.policy) => {}
                Some(bundle) if (bundle.version, Some(&bundle.digest)) == (change.version, change.digest.as_ref()) => {}
                Some(_) => return Err(Refusal::NotStated(change.policy.clone())),
                None => return Err(Refusal::ChangeMissing(change.policy.clone())),
            }
            let held = self.policies.get(&change.policy).map_or(0, |active| active.version);
            // Nothing is known of policies that were not sent since the resume.
            let is_known = self.whole || (held > 0 && !self.latest);
            if is_known && held != change.previous {
                return Err(Refusal::NotFollowing { policy: change.policy.clone(), stated: change.previous, held });
            }
            stated.insert((&change.policy, change.version == 0));
        }
        let bundles = changes.bundles.keys().map(|policy| (policy, false));
        for entry in bundles.chain(changes.removed.iter().map(|policy| (policy, true))) {
            if !stated.contains(&entry) {
                return Err(Refusal::Unexpected(entry.0.clone()));
            }
        }
        Ok(())
    }

    /// Checks that a signed root covers exactly these policies: all that is in force, or, by the proof, those that were asked for.
    pub(super) fn check_proves<'a>(
        &self,
        what: &'static str,
        root: ActiveSetRoot,
        set_proof: &[u8],
        tree: &ActiveSetTree,
        policies: impl Iterator<Item = &'a Arc<ActivePolicy>>,
    ) -> Result<(), Refusal> {
        if self.wanted.is_empty() {
            let same = ActiveSetRoot(tree.root()) == root;
            return if same { Ok(()) } else { Err(Refusal::OtherSet(what)) };
        }
        let leaves = policies.map(|active| active.leaf());
        verify_set_proof(set_proof, &root.0, &self.wanted, leaves)
            .map_err(|error| if error.contradicts_claim() { Refusal::OtherSet(what) } else { Refusal::SetProof(error) })
    }
}
