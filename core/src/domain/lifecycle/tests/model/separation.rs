//! Separation of duties (docs/security.md#t33), seen from outside: accepted operations and the versions they leave, nothing else.
//!
//! No version becomes published without as many people as its policy asks for, none of them its author, who approved its
//! very content since the policy changed last and not too long ago; unless somebody broke the glass, and said so.

use std::collections::BTreeSet;

use super::fixtures::{content_of, index_of};
use super::operation::{ModelAnswer, ModelOperation, POLICIES, PublishOperation};
use super::world::ModelWorld;
use crate::domain::error::Result;
use crate::domain::version::{Version, VersionState};

/// After so many waits an approval is too old.
const WAITS: usize = 3;

/// Holds one accepted approval.
#[derive(Debug)]
struct SeenApproval {
    policy: usize,
    version: i64,
    content: u8,
    approver: usize,
    waits: usize,
}

/// Observes operations, and asserts that every publication had the approvals it needs.
#[derive(Debug, Default)]
pub(super) struct SeparationObserver {
    approvals: Vec<SeenApproval>,
}

impl SeparationObserver {
    /// Takes note of an operation, and objects.
    pub(super) fn see(
        &mut self,
        before: &ModelWorld,
        after: &ModelWorld,
        operation: &ModelOperation,
        answer: &Result<ModelAnswer>,
    ) {
        if answer.is_err() {
            return;
        }
        for policy in 0..POLICIES {
            let was = |number: &i64| before.policies[policy].versions.get(number).map(|version| version.state);
            for (number, version) in &after.policies[policy].versions {
                if version.state == VersionState::Published && was(number) != Some(VersionState::Published) {
                    self.may_be_published(after, policy, version, operation);
                }
            }
        }
        match operation {
            ModelOperation::Settings { policy, .. } => self.approvals.retain(|seen| seen.policy != *policy),
            ModelOperation::Wait => self.approvals.iter_mut().for_each(|seen| seen.waits += 1),
            ModelOperation::Approve { policy, version, reviewed, approver } => {
                let content = content_of(&after.policies[*policy].versions[version].digest);
                assert!(reviewed.is_none_or(|reviewed| reviewed == content), "approved without having been seen");
                let (policy, version, approver) = (*policy, *version, *approver);
                self.approvals.push(SeenApproval { policy, version, content, approver, waits: 0 });
            }
            _ => {}
        }
    }

    fn may_be_published(&self, world: &ModelWorld, policy: usize, version: &Version, operation: &ModelOperation) {
        let required = world.policies[policy].policy.settings.required_approvals as usize;
        let (author, content) = (index_of(&version.author), content_of(&version.digest));
        let counts = |seen: &&SeenApproval| {
            (seen.policy, seen.version, seen.content) == (policy, version.number, content) && seen.waits < WAITS
        };
        let people: BTreeSet<usize> = self.approvals.iter().filter(counts).map(|seen| seen.approver).collect();
        let others = people.len() - usize::from(people.contains(&author));
        let broke_glass =
            matches!(operation, ModelOperation::Publish(PublishOperation { break_glass: true, reasoned: true, .. }));
        assert!(others >= required || broke_glass, "{others} of {required} approved what {operation:?} published");
    }
}
