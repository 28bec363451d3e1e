//! What a watcher asks the server for besides its stream: how far the log has come while a runtime takes each activation and
//! the stream waits, and which policies do not exist.
//!
//! Boundary: words for people; what is offered comes over the stream alone. Invariant: only what a checkpoint says that
//! verified is believed, and nothing is refused for it.

use std::time::Duration;

use tokio::time::Instant;

use super::Watcher;
use crate::channel::RpcClient;
use crate::missing::missing_policies;
use policyhub_core::api::pb;
use policyhub_core::domain::name::PolicyId;

/// Most sets that are verified ahead of a runtime that wants each activation. Higher: their contents take memory. Lower: the
/// stream of a runtime that is slow for a moment waits, and the server is asked how far the log has come.
const SETS_AHEAD_MAX: usize = 16;
/// Sets how often the server is asked while the stream waits. Shorter: more calls of a runtime that is far behind. Longer:
/// `behind` is old.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Sets how long an answer may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);

impl Watcher {
    /// Returns whether so much was verified ahead that the stream waits.
    pub(super) fn is_full(&self) -> bool {
        self.every_activation && self.waiting.len() >= SETS_AHEAD_MAX
    }

    /// Returns those of the policies asked for that are not in force and do not exist, as [`missing_policies`] says it; none: no stream is
    /// open, so nobody can be asked.
    pub async fn missing_policies(&self) -> Option<Vec<PolicyId>> {
        let client = self.session.as_ref().map(|session| session.client.clone())?;
        let held = self.set.held();
        let absent = self.set.wanted().iter().filter(|policy| !held.contains_key(policy)).cloned();
        Some(missing_policies(&client, &self.namespace, absent.collect::<Vec<_>>()).await)
    }

    /// Asks the server where the log stands, when it is time to. Dropped while it waits, it is asked again an interval later.
    pub(super) async fn look_ahead(&mut self) {
        tokio::time::sleep_until(self.ahead.look_at).await;
        self.ahead.look_at = Instant::now() + LOOK_INTERVAL;
        let Some(client) = self.session.as_ref().map(|session| session.client.clone()) else { return };
        // One policy is a page, and a page that is the last one has the checkpoint.
        let wanted = self.set.wanted().first().or_else(|| self.set.policies().next().map(|active| &active.policy));
        let Some(policy) = wanted.map(ToString::to_string) else { return };
        let request = pb::ListActiveRequest {
            parent: self.namespace.name(),
            policies: vec![policy],
            metadata_only: true,
            ..Default::default()
        };
        let Some(checkpoint) = checkpoint_of(&client, request).await else { return };
        if let Some(head) = self.set.cursor_of_checkpoint(checkpoint) {
            self.ahead.head = Some(head);
            self.publish(|_| {});
        }
    }
}

async fn checkpoint_of(client: &RpcClient, request: pb::ListActiveRequest) -> Option<String> {
    let answer = tokio::time::timeout(LOOK_TIMEOUT, client.list_active(request)).await;
    answer.ok()?.ok().map(|page| page.checkpoint)
}
