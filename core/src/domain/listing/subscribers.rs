//! Subscribers: read in order of their ids. No index finds any of them otherwise.

use crate::domain::event::Cursor;
use crate::domain::filter::{Field, Listing, Order, Value};
use crate::domain::name::PolicyId;
use crate::domain::subscriber::{Subscriber, SubscriberName};

/// A subscriber as it is shown.
#[derive(Debug)]
pub struct SeenSubscriber {
    /// Its name.
    pub name: SubscriberName,
    /// Holds what is kept of it.
    pub subscriber: Subscriber,
    /// Says whether its lease holds now.
    pub is_online: bool,
}

/// Says what ListSubscribers takes.
pub static SUBSCRIBERS: Listing<SeenSubscriber> = Listing {
    request: "ListSubscribersRequest",
    fields: &[
        Field::text("name", |seen| Value::written(&seen.name)),
        Field::text("principal", |seen| Value::text(&seen.subscriber.owner)),
        Field::truth("online", |seen| Value::Truth(seen.is_online)),
        Field::truth("diverged", |seen| Value::Truth(seen.subscriber.has_diverged())),
        Field::number("applied.revision", |seen| revision(seen.subscriber.status.applied)),
        Field::number("rejected.revision", |seen| revision(seen.subscriber.status.rejected)),
        Field::text("reason", |seen| Value::text(&seen.subscriber.status.reason)),
        Field::time("last_seen_time", |seen| Value::Time(seen.subscriber.last_seen)),
        Field::map("attributes", |seen| Value::Map(&seen.subscriber.profile.attributes)),
        Field::list("policies", |seen| {
            Value::Texts(seen.subscriber.profile.policies.iter().map(PolicyId::as_str).collect())
        }),
    ],
    orders: &[Order::ascending("name")],
};

fn revision(place: Cursor) -> Value<'static> {
    place.known().map_or(Value::Unset, |place| Value::Number(place.revision))
}
