//! Versions of a policy: read in order of their numbers, those of a state alone where that is asked for.

use crate::domain::filter::{EnumNames, Field, Filter, Listing, Order, Range, Served, Value};
use crate::domain::version::{Version, VersionState};

const STATES: EnumNames =
    EnumNames { prefix: "VERSION_STATE_", all: || VersionState::ALL.iter().map(|state| state.as_str()).collect() };

/// Says what ListVersions takes.
pub static VERSIONS: Listing<Version> = Listing {
    request: "ListVersionsRequest",
    fields: &[
        Field::number("version", |version| Value::Number(version.number)),
        Field::enumeration("state", STATES, |version| Value::Enum(version.state.as_str())),
        Field::text("label", |version| version.label.as_ref().map_or(Value::text(""), Value::written)),
        Field::text("digest", |version| Value::text(version.digest.as_str())),
        Field::text("content_type", |version| Value::text(&version.content_type)),
        Field::text("change_note", |version| Value::text(&version.change_note)),
        Field::text("author", |version| Value::text(&version.author)),
        Field::text("publisher", |version| Value::text(&version.publisher)),
        Field::time("create_time", |version| Value::Time(version.create_time)),
        Field::time("stage_time", |version| Value::time(version.stage_time)),
        Field::time("publish_time", |version| Value::time(version.publish_time)),
        Field::map("annotations", |version| Value::Map(version.annotations.as_map())),
    ],
    orders: &[Order::descending("version desc"), Order::ascending("version")],
};

/// Says which versions a list holds, and what the index is asked for.
#[derive(Debug)]
pub struct VersionFilter {
    /// Oldest first.
    pub oldest_first: bool,
    /// Only these states; none: nothing.
    pub states: Vec<VersionState>,
    /// Only these numbers.
    pub numbers: Range,
    /// Only those that it keeps.
    pub wanted: Filter<Version>,
    /// Says whether some of what the index finds may be left out.
    pub is_search: bool,
}

impl VersionFilter {
    /// Makes the filter of a list of versions.
    #[must_use]
    pub fn new(oldest_first: bool, wanted: Filter<Version>) -> Self {
        let served = Served { ranges: &["version"], texts: &[], enums: &["state"] };
        Self {
            oldest_first,
            states: wanted.enum_values("state", &VersionState::ALL, VersionState::as_str),
            numbers: wanted.range("version"),
            is_search: !wanted.is_served(served),
            wanted,
        }
    }

    /// Returns the filter of the versions in one state, newest first.
    #[must_use]
    pub fn in_state(state: VersionState) -> Self {
        Self { states: vec![state], ..Self::new(false, Filter::default()) }
    }
}
