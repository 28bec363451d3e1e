//! Following a namespace: waits until its log moved, or its runtimes report something else than before.
//!
//! Every follower of a namespace, and every call that waits for its convergence, shares one poll of the subscribers per second. While
//! nothing changes a follower compares two numbers.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::convergence_polls::SubscriberSnapshot;
use super::use_cases::Sync;
use crate::domain::Result;
use crate::domain::event::Cursor;
use crate::domain::name::NamespaceId;

/// What a follower has seen of a namespace. It is compared with later ones of the same process alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NamespaceStamp {
    head: Cursor,
    fleet: u64,
}

impl Sync {
    /// Returns the current stamp of a namespace. Take it before you read what it stands for: otherwise a change between would be missed.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, and errors of the database.
    pub async fn namespace_stamp(&self, namespace: &NamespaceId) -> Result<NamespaceStamp> {
        let head = self.log.hub.feed(namespace).await?.head().cursor;
        let snapshot = self.read_snapshot(namespace).await?;
        Ok(NamespaceStamp { head, fleet: self.fleet_stamp(namespace, &snapshot) })
    }

    /// Waits until the stamp of a namespace is another one than `seen`, and returns it.
    ///
    /// Cancel-safe: the next call sees what this one would have.
    ///
    /// # Errors
    /// The same as `namespace_stamp`.
    pub async fn namespace_changed(&self, namespace: &NamespaceId, seen: NamespaceStamp) -> Result<NamespaceStamp> {
        let feed = self.log.hub.feed(namespace).await?;
        let polls = self.polls.get_or_insert(namespace);
        let mut newest = polls.newest.subscribe();
        loop {
            tokio::select! {
                biased;
                head = feed.moved_from(seen.head) => return Ok(NamespaceStamp { head: head?, ..seen }),
                snapshot = self.next_snapshot(namespace, &polls, &mut newest) => {
                    let fleet = self.fleet_stamp(namespace, &*snapshot?);
                    if fleet != seen.fleet {
                        return Ok(NamespaceStamp { fleet, ..seen });
                    }
                }
            }
        }
    }

    /// Returns a number that differs when the counts of the fleet, or what it says, may differ. The followers of a snapshot compute it once.
    fn fleet_stamp(&self, namespace: &NamespaceId, snapshot: &SubscriberSnapshot) -> u64 {
        *snapshot.stamp.get_or_init(|| {
            let mut hasher = DefaultHasher::new();
            snapshot.offline.hash(&mut hasher);
            for each in self.with_unwritten_reports(namespace, snapshot.recent.clone()) {
                let status = &each.status;
                (each.id.as_str(), &each.owner, each.is_online(snapshot.now), each.has_diverged()).hash(&mut hasher);
                for cursor in [status.applied, status.rejected] {
                    (cursor.epoch, cursor.revision).hash(&mut hasher);
                }
                status.reason.hash(&mut hasher);
                each.profile.policies.iter().for_each(|policy| policy.as_str().hash(&mut hasher));
                // Without an end two subscribers could share a list of policies differently and hash the same.
                each.profile.policies.len().hash(&mut hasher);
            }
            hasher.finish()
        })
    }
}
