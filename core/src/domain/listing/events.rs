//! Events: read in order of their revisions, by time and by policy from an index.

use crate::domain::event::{EventKind, Payload, Position};
use crate::domain::filter::{EnumNames, Field, Filter, Listing, Order, Range, Served, Value};
use crate::domain::name::PolicyId;

const KINDS: EnumNames =
    EnumNames { prefix: "EVENT_KIND_", all: || EventKind::ALL.iter().map(|kind| kind.as_str()).collect() };

/// Says what ListEvents takes.
pub static EVENTS: Listing<Payload> = Listing {
    request: "ListEventsRequest",
    fields: &[
        Field::number("revision", |event| Value::Number(event.revision)),
        Field::enumeration("kind", KINDS, |event| Value::Enum(event.kind.as_str())),
        Field::time("time", |event| Value::Time(event.time)),
        Field::text("actor", |event| Value::text(&event.actor)),
        Field::policy("policy", policies),
        Field::text("reason", |event| Value::text(&event.reason)),
    ],
    orders: &[Order::ascending("revision"), Order::descending("revision desc")],
};

/// Returns the policies that an event is about: an activation of several is about each of them.
fn policies(event: &Payload) -> Value<'_> {
    let moved = event.changes.iter().map(|change| change.policy.as_str());
    Value::Texts(event.policy.iter().map(PolicyId::as_str).chain(moved).collect())
}

/// Says which events a list holds, and what the index is asked for.
#[derive(Debug, Default)]
pub struct EventFilter {
    /// Only events about this policy.
    pub policy: Option<PolicyId>,
    /// Only events after this one.
    pub after: Option<Position>,
    /// Newest first.
    pub newest_first: bool,
    /// Only events of these revisions.
    pub revisions: Range,
    /// Only events of these times.
    pub times: Range,
    /// Only events that it keeps.
    pub wanted: Filter<Payload>,
    /// Says whether some of what the index finds may be left out.
    pub is_search: bool,
}

impl EventFilter {
    /// Makes the filter of a list of events, of one policy where that is the parent.
    #[must_use]
    pub fn new(parent: Option<PolicyId>, after: Option<Position>, newest_first: bool, wanted: Filter<Payload>) -> Self {
        let texts: &[&str] = if parent.is_none() { &["policy"] } else { &[] };
        let served = Served { ranges: &["revision", "time"], texts, enums: &[] };
        let named = || wanted.text("policy").and_then(|text| PolicyId::parse("policy", text).ok());
        Self {
            policy: parent.or_else(named),
            after,
            newest_first,
            revisions: wanted.range("revision"),
            times: wanted.range("time"),
            is_search: !wanted.is_served(served),
            wanted,
        }
    }

    /// Returns the revision that the first event may follow.
    #[must_use]
    pub fn after_revision(&self) -> i64 {
        self.after.map_or(0, |after| after.cursor.revision)
    }
}
