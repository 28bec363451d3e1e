//! A snapshot on its way: parts are verified as they come and exposed only when all are there.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bundle::ActivePolicy;
use super::refusal::Refusal;
use crate::domain::limits::POLICIES_PER_NAMESPACE_MAX;
use crate::domain::name::PolicyId;

/// The policies of a set, in the byte order of their ids.
pub(super) type Policies = BTreeMap<PolicyId, Arc<ActivePolicy>>;

/// The parts that came so far.
#[derive(Debug, Default)]
pub(super) struct Collected(Policies);

impl Collected {
    /// Adds a verified policy.
    pub fn add(&mut self, active: ActivePolicy) -> Result<(), Refusal> {
        let policy = active.policy.clone();
        if self.0.insert(policy.clone(), Arc::new(active)).is_some() {
            return Err(Refusal::Unexpected(policy));
        }
        if self.0.len() as u64 > POLICIES_PER_NAMESPACE_MAX {
            return Err(Refusal::TooManyPolicies);
        }
        Ok(())
    }

    /// Policies collected so far.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// All of them.
    pub fn finish(self) -> Policies {
        self.0
    }
}
