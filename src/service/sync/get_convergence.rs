//! GetConvergence: the progress of an activation, now or once no subscriber is pending.
//!
//! All calls that wait for a namespace share one poll of the database per second.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;

use super::convergence_polls::{NamespacePolls, SubscriberSnapshot};
use super::use_cases::Sync;
use crate::domain::convergence::{Convergence, ConvergenceAnswer};
use crate::domain::event::{Cursor, Position};
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::subscriber::Subscriber;
use crate::domain::{Error, Result};

/// The time between two polls of the database, for all calls that wait for a namespace.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

impl Sync {
    /// Returns the progress of an activation once no subscriber is pending, or its current state when `enough` ends; at once without
    /// `enough`.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a cursor that is no activation of the log, `RESUME_POINT_GONE` for one of another event,
    /// `NAMESPACE_NOT_FOUND`.
    pub async fn get_convergence(
        &self,
        namespace: &NamespaceId,
        at: Position,
        enough: Option<impl Future<Output = ()>>,
    ) -> Result<ConvergenceAnswer> {
        let (cursor, versions) = self.read_activation(namespace, at).await?;
        let moved: BTreeSet<PolicyId> = versions.keys().cloned().collect();
        let mut counted = self.count(namespace, cursor, &moved, &*self.read_snapshot(namespace).await?);
        if let Some(enough) = enough {
            let mut enough = std::pin::pin!(enough);
            let polls = self.polls.get_or_insert(namespace);
            let mut newest = polls.newest.subscribe();
            while !counted.0.is_settled() {
                let (snapshot, is_last) = tokio::select! {
                    biased;
                    () = &mut enough => (self.read_snapshot(namespace).await?, true),
                    snapshot = self.next_snapshot(namespace, &polls, &mut newest) => (snapshot?, false),
                };
                counted = self.count(namespace, cursor, &moved, &snapshot);
                if is_last {
                    break;
                }
            }
        }
        let (counts, offline) = counted;
        let (tx, _) = self.log.read_current(namespace).await?;
        let rejected = tx.subscribers_named(namespace, &counts.rejected_ids).await?;
        let pending = tx.subscribers_named(namespace, &counts.pending_ids).await?;
        let gone = tx.subscribers_named(namespace, &counts.gone_ids).await?;
        let superseded_by = tx.moved_away(namespace, &versions).await?;
        let [rejected, pending, gone] =
            [rejected, pending, gone].map(|named| self.with_unwritten_reports(namespace, named));
        let now = self.leases.now().await?;
        Ok(ConvergenceAnswer { cursor, counts, offline, rejected, pending, gone, superseded_by, now })
    }

    /// Returns the cursor of an activation, with its epoch, and the policies that it moved, with their versions.
    async fn read_activation(
        &self,
        namespace: &NamespaceId,
        at: Position,
    ) -> Result<(Cursor, BTreeMap<PolicyId, i64>)> {
        let (tx, found) = self.log.read_current(namespace).await?;
        match self.log.read_event_at(&tx, &found, ("cursor", at)).await? {
            Some((event, payload)) if !payload.changes.is_empty() => {
                let changes = payload.changes.into_iter();
                Ok((event.cursor, changes.map(|change| (change.policy, change.version)).collect()))
            }
            Some((_, payload)) => {
                let what = format!("is no activation: {} moved no pointer", payload.kind.as_str());
                Err(Error::invalid("cursor", what).with("kind", payload.kind.as_str()))
            }
            None => Err(Error::invalid("cursor", "is no activation: the log begins at revision 1")),
        }
    }

    /// Reads the subscribers that are live or were lately.
    pub(super) async fn read_snapshot(&self, namespace: &NamespaceId) -> Result<Arc<SubscriberSnapshot>> {
        // Write the leases of this replica first: if the process was suspended, its own leases may have ended by mistake.
        self.leases.settle().await;
        let now = self.leases.now().await?;
        let (tx, _) = self.log.read_current(namespace).await?;
        let (mut recent, offline) = tx.recent_subscribers(namespace, now).await?;
        let offline = offline.saturating_sub(self.leases.mark_live_here(namespace, &mut recent, now));
        Ok(Arc::new(SubscriberSnapshot { recent, offline, now, stamp: OnceLock::new() }))
    }

    /// Waits for the next poll, by this call or another one.
    pub(super) async fn next_snapshot(
        &self,
        namespace: &NamespaceId,
        polls: &NamespacePolls,
        newest: &mut watch::Receiver<Option<Arc<SubscriberSnapshot>>>,
    ) -> Result<Arc<SubscriberSnapshot>> {
        loop {
            tokio::select! {
                biased;
                // This call holds the sender, so the channel is open.
                _ = newest.changed() => {
                    let snapshot = newest.borrow_and_update().clone();
                    if let Some(snapshot) = snapshot {
                        return Ok(snapshot);
                    }
                }
                _only_poll = polls.poll_lock.lock() => {
                    tokio::time::sleep(POLL_INTERVAL).await;
                    let snapshot = self.read_snapshot(namespace).await?;
                    polls.newest.send_replace(Some(Arc::clone(&snapshot)));
                    newest.mark_unchanged();
                    return Ok(snapshot);
                }
            }
        }
    }

    /// Counts the subscribers, with the reports that are not written yet.
    fn count(
        &self,
        namespace: &NamespaceId,
        cursor: Cursor,
        moved: &BTreeSet<PolicyId>,
        snapshot: &SubscriberSnapshot,
    ) -> (Convergence, u64) {
        let recent = self.with_unwritten_reports(namespace, snapshot.recent.clone());
        (Convergence::count(&recent, cursor, moved, snapshot.now), snapshot.offline)
    }

    /// Merges the reports that this replica has not written yet.
    pub(super) fn with_unwritten_reports(
        &self,
        namespace: &NamespaceId,
        mut subscribers: Vec<Subscriber>,
    ) -> Vec<Subscriber> {
        let mut unwritten = self.leases.unwritten(namespace);
        for subscriber in &mut subscribers {
            if let Some(reported) = unwritten.remove(&(subscriber.id.clone(), subscriber.owner.clone())) {
                subscriber.status = std::mem::take(&mut subscriber.status).then(reported);
            }
        }
        subscribers
    }
}
