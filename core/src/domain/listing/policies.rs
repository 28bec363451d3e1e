//! Policies: read in order of their names. No index finds any of them otherwise.

use crate::domain::annotations::Annotations;
use crate::domain::filter::{EnumNames, Field, Filter, Listing, Order, Value};
use crate::domain::policy::{Policy, PolicyKind};

const KINDS: EnumNames =
    EnumNames { prefix: "POLICY_KIND_", all: || PolicyKind::ALL.iter().map(|kind| kind.as_str()).collect() };

/// A policy, with what its newest published version says of itself.
#[derive(Debug)]
pub struct AnnotatedPolicy {
    /// The policy.
    pub policy: Policy,
    /// The annotations of its newest published version; none when nobody asked for them, or nothing is published.
    pub annotations: Annotations,
}

/// Says what ListPolicies takes.
pub static POLICIES: Listing<AnnotatedPolicy> = Listing {
    request: "ListPoliciesRequest",
    fields: &[
        Field::text("name", |each| Value::written(&each.policy.name)),
        Field::text("policy_id", |each| Value::text(each.policy.name.policy.as_str())),
        Field::enumeration("kind", KINDS, |each| Value::Enum(each.policy.kind.as_str())),
        Field::text("description", |each| Value::text(&each.policy.description)),
        Field::number("active_version", |each| Value::Number(each.policy.active_version)),
        Field::number("latest_version", |each| Value::Number(each.policy.latest_version)),
        Field::time("create_time", |each| Value::Time(each.policy.create_time)),
        Field::time("update_time", |each| Value::Time(each.policy.update_time)),
        Field::map("annotations", |each| Value::Map(each.annotations.as_map())),
    ],
    orders: &[Order::ascending("name")],
};

/// Says which policies a list holds.
#[derive(Debug, Default)]
pub struct PolicyFilter {
    /// Only those that it keeps.
    pub wanted: Filter<AnnotatedPolicy>,
}

impl PolicyFilter {
    /// Returns whether it asks for annotations, which have to be read for it.
    #[must_use]
    pub fn needs_annotations(&self) -> bool {
        self.wanted.terms().iter().any(|term| term.find(&|asked| asked.field.name == "annotations").is_some())
    }
}
