//! Subscribers, and how far an activation has come.

use super::active::cursor;
use crate::api::{pb, time};
use crate::domain::convergence::{Convergence, PrincipalProgress};
use crate::domain::event::Cursor;
use crate::domain::listing::SeenSubscriber;
use crate::domain::name::NamespaceId;
use crate::domain::subscriber::{Subscriber, SubscriberName};
use crate::domain::time::Micros;

/// Returns a subscriber. `now` is the time by which leases count.
#[must_use]
pub fn subscriber(namespace: &NamespaceId, from: Subscriber, now: Micros) -> pb::Subscriber {
    let name = SubscriberName { namespace: namespace.clone(), id: from.id.clone() };
    seen_subscriber(SeenSubscriber { name, is_online: from.is_online(now), subscriber: from })
}

/// Returns a subscriber of a list.
#[must_use]
pub fn seen_subscriber(seen: SeenSubscriber) -> pb::Subscriber {
    let from = seen.subscriber;
    pb::Subscriber {
        online: seen.is_online,
        diverged: from.has_diverged(),
        name: seen.name.to_string(),
        principal: from.owner,
        attributes: from.profile.attributes.into_iter().collect(),
        applied: from.status.applied.known().map(cursor),
        rejected: from.status.rejected.known().map(cursor),
        reason: from.status.reason,
        last_seen_time: Some(time::timestamp(from.last_seen)),
        digest: from.status.digest.map(String::from).unwrap_or_default(),
        policies: from.profile.policies.iter().map(ToString::to_string).collect(),
    }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn principal_progress(counts: &PrincipalProgress) -> pb::PrincipalProgress {
    pb::PrincipalProgress {
        principal: counts.principal.clone(),
        applied: count(counts.applied),
        rejected: count(counts.rejected),
        pending: count(counts.pending),
        gone: count(counts.gone),
    }
}

/// Returns how far an activation has come, without the subscribers it names.
#[must_use]
pub fn convergence(at: Cursor, counts: &Convergence, offline: u64) -> pb::GetConvergenceResponse {
    pb::GetConvergenceResponse {
        applied: count(counts.applied),
        rejected: count(counts.rejected),
        pending: count(counts.pending),
        offline: count(usize::try_from(offline).unwrap_or(usize::MAX)),
        settled: counts.is_settled(),
        diverged: count(counts.diverged),
        unconcerned: count(counts.unconcerned),
        gone: count(counts.gone),
        cursor: Some(cursor(at)),
        principals: counts.principals.iter().map(principal_progress).collect(),
        ..Default::default()
    }
}
