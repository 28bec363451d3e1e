//! How many live runtimes a change of one policy concerns.

use super::use_cases::Sync;
use crate::domain::Result;
use crate::domain::name::PolicyName;
use crate::domain::policy_runtimes::{PolicyRuntimes, count_running, is_concerned};
use crate::domain::subscriber::SubscriberId;

/// Of how many runtimes the attributes are read: as many as one statement takes.
const DESCRIBED_MAX: usize = 500;
/// Most moves of the pointer that are looked at. A runtime that is further behind is not counted among those that run a version.
const MOVES_MAX: u64 = 100;

impl Sync {
    /// Counts the live runtimes that watch a policy, those that run each of its versions, and the attributes of the first of them in order
    /// of ids.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`.
    pub async fn count_runtimes(&self, policy: &PolicyName) -> Result<PolicyRuntimes> {
        let snapshot = self.read_snapshot(&policy.namespace).await?;
        let concerned = || snapshot.recent.iter().filter(|each| is_concerned(each, &policy.policy, snapshot.now));
        let ids: Vec<SubscriberId> = concerned().map(|each| each.id.clone()).collect();
        let described = ids.get(..DESCRIBED_MAX.min(ids.len())).unwrap_or_default();
        let (tx, namespace) = self.log.read_current(&policy.namespace).await?;
        let described = tx.subscribers_named(&policy.namespace, described).await?;
        let moves = tx.newest_moves(policy, MOVES_MAX).await?;
        let running = count_running(concerned(), &moves, namespace.cursor.epoch);
        Ok(PolicyRuntimes { running, ..PolicyRuntimes::of(ids.len(), &described) })
    }
}
