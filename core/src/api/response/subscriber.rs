//! Subscribers, and how far an activation has come.

use super::active::cursor;
use crate::api::page::first_that_fit;
use crate::api::{pb, time};
use crate::domain::convergence::{ConvergenceAnswer, PrincipalProgress};
use crate::domain::limits::MESSAGE_MAX_BYTES;
use crate::domain::listing::SeenSubscriber;
use crate::domain::name::NamespaceId;
use crate::domain::subscriber::{Subscriber, SubscriberName};
use crate::domain::time::Micros;

/// Bytes of GetConvergence for the subscribers of one kind: three kinds and the other fields fit into an answer.
const KIND_MAX_BYTES: usize = MESSAGE_MAX_BYTES * 3 / 10;

/// Returns a subscriber. `now` is the time by which leases count.
fn subscriber(namespace: &NamespaceId, from: Subscriber, now: Micros) -> pb::Subscriber {
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

/// Returns the progress of an activation, with as many of the subscribers it names as fit.
#[must_use]
pub fn convergence(namespace: &NamespaceId, from: ConvergenceAnswer) -> pb::GetConvergenceResponse {
    let first = |subscribers: Vec<Subscriber>| {
        let written = subscribers.into_iter().map(|each| subscriber(namespace, each, from.now)).collect();
        first_that_fit(written, KIND_MAX_BYTES)
    };
    let counts = &from.counts;
    pb::GetConvergenceResponse {
        applied: count(counts.applied),
        rejected: count(counts.rejected),
        pending: count(counts.pending),
        offline: count(usize::try_from(from.offline).unwrap_or(usize::MAX)),
        settled: counts.is_settled(),
        diverged: count(counts.diverged),
        unconcerned: count(counts.unconcerned),
        gone: count(counts.gone),
        cursor: Some(cursor(from.cursor)),
        superseded_by: from.superseded_by.map(cursor),
        principals: counts.principals.iter().map(principal_progress).collect(),
        rejected_subscribers: first(from.rejected),
        pending_subscribers: first(from.pending),
        gone_subscribers: first(from.gone),
    }
}

/// Returns the answer of ReportStatus.
#[must_use]
pub fn status_reported(stored: bool) -> pb::ReportStatusResponse {
    pb::ReportStatusResponse { stored }
}
