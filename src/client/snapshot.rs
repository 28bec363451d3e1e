//! A snapshot on its way: parts are verified as they come and exposed only when all are there.
//!
//! Invariant: what is collected is one moment of the log — no entry is older than another statement of it says.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bundle::{ActivePolicy, place_of};
use super::refusal::Refusal;
use crate::domain::event::Cursor;
use crate::domain::limits::POLICIES_PER_NAMESPACE_MAX;
use crate::domain::name::PolicyId;
use crate::signing::payload::Statement;

/// The policies of a set, in the byte order of their ids.
pub(super) type Policies = BTreeMap<PolicyId, Arc<ActivePolicy>>;

/// The parts that came so far.
#[derive(Debug, Default)]
pub(super) struct Collected {
    policies: Policies,
    /// The newest place at which any statement of the snapshot moves a policy.
    moved: BTreeMap<PolicyId, Cursor>,
}

impl Collected {
    /// Adds a verified policy with the statement that put it in force.
    pub fn add(&mut self, active: ActivePolicy, statement: &Statement) -> Result<(), Refusal> {
        let place = place_of(statement);
        for change in &statement.changes {
            let newest = self.moved.entry(change.policy.clone()).or_insert(place);
            *newest = (*newest).max(place);
        }
        let policy = active.policy.clone();
        if self.policies.insert(policy.clone(), Arc::new(active)).is_some() {
            return Err(Refusal::Unexpected(policy));
        }
        if self.policies.len() as u64 > POLICIES_PER_NAMESPACE_MAX {
            return Err(Refusal::TooManyPolicies);
        }
        Ok(())
    }

    /// Policies collected so far.
    pub fn len(&self) -> usize {
        self.policies.len()
    }

    /// The whole, when it is one moment at or before `cursor`.
    pub fn finish(self, cursor: Cursor) -> Result<Policies, Refusal> {
        for (policy, active) in &self.policies {
            if active.activated > cursor {
                return Err(Refusal::OtherPlace { found: cursor, signed: active.activated });
            }
            if self.moved.get(policy).is_some_and(|newest| *newest > active.activated) {
                return Err(Refusal::Mixed(policy.clone()));
            }
        }
        Ok(self.policies)
    }
}
