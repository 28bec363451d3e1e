//! A message in parts on its way: parts are verified as they come and exposed only when all are there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::bundle::ActivePolicy;
use super::refusal::Refusal;
use policyhub_core::domain::limits::{ACTIVATION_TARGETS_MAX, POLICIES_PER_NAMESPACE_MAX};
use policyhub_core::domain::name::PolicyId;
use policyhub_core::signing::{ActiveSetTree, active_set_digest};

/// The policies of a set, in the byte order of their ids.
pub(super) type PolicyMap = BTreeMap<PolicyId, Arc<ActivePolicy>>;

/// The parts that came so far of a snapshot or an activation.
#[derive(Debug, Default)]
pub(super) enum Collected {
    /// It has begun no parts: the next message may be of any kind.
    #[default]
    Nothing,
    /// It collects the parts of a snapshot.
    Snapshot(BTreeMap<PolicyId, ActivePolicy>),
    /// It collects the parts of an activation.
    Activation(PendingChanges),
}

/// Holds what an activation changes. Its bundles are not in force yet: since when they are, its last part says.
#[derive(Debug, Default)]
pub(super) struct PendingChanges {
    pub bundles: BTreeMap<PolicyId, ActivePolicy>,
    pub removed: BTreeSet<PolicyId>,
}

impl Collected {
    /// Returns whether a message in parts has begun and did not end.
    pub fn is_unfinished(&self) -> bool {
        !matches!(self, Self::Nothing)
    }
}

/// Adds a verified policy to those of a snapshot.
pub(super) fn add(policies: &mut BTreeMap<PolicyId, ActivePolicy>, active: ActivePolicy) -> Result<(), Refusal> {
    let policy = active.policy.clone();
    if policies.insert(policy.clone(), active).is_some() {
        return Err(Refusal::Unexpected(policy));
    }
    if policies.len() as u64 > POLICIES_PER_NAMESPACE_MAX {
        return Err(Refusal::TooManyPolicies);
    }
    Ok(())
}

/// Returns a whole set, and the tree of it.
pub(super) fn whole(policies: BTreeMap<PolicyId, ActivePolicy>) -> (PolicyMap, ActiveSetTree) {
    let policies: PolicyMap = policies.into_iter().map(|(policy, active)| (policy, Arc::new(active))).collect();
    let tree = policies.values().map(|active| active.leaf()).collect();
    (policies, tree)
}

/// Returns the digest of a set, as checkpoints carry it.
pub(super) fn set_digest(policies: &PolicyMap) -> String {
    let entries = policies.values().map(|active| (&active.policy, active.version, &active.digest));
    active_set_digest(entries).as_str().to_owned()
}

impl PendingChanges {
    /// Adds a verified bundle.
    pub fn add(&mut self, bundle: ActivePolicy) -> Result<(), Refusal> {
        add(&mut self.bundles, bundle)?;
        self.check_count()
    }

    /// Adds a policy that points nowhere any more.
    pub fn remove(&mut self, policy: PolicyId) -> Result<(), Refusal> {
        if self.removed.insert(policy.clone()) { self.check_count() } else { Err(Refusal::Unexpected(policy)) }
    }

    fn check_count(&self) -> Result<(), Refusal> {
        if self.bundles.len() + self.removed.len() <= ACTIVATION_TARGETS_MAX {
            return Ok(());
        }
        Err(Refusal::Malformed("activation has more changes than one can have"))
    }
}
