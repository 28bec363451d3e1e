//! Runs: read from the newest on, each outcome from an index, of a policy or of one version of it where that is asked for.

use crate::domain::filter::{EnumNames, Field, Filter, Listing, Order, Range, Served, Value};
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::run::{Run, RunOutcome};

const OUTCOMES: EnumNames =
    EnumNames { prefix: "RUN_OUTCOME_", all: || RunOutcome::ALL.iter().map(|outcome| outcome.as_str()).collect() };

/// Says what ListRuns takes.
pub static RUNS: Listing<Run> = Listing {
    request: "ListRunsRequest",
    fields: &[
        Field::<Run>::policy("policy", policies).narrowing(),
        Field::<Run>::number("version", version).narrowing(),
        Field::enumeration("outcome", OUTCOMES, |run| Value::Enum(run.outcome().as_str())),
        Field::time("create_time", |run| Value::Time(run.create_time)),
        Field::time("complete_time", |run| Value::time(run.end.as_ref().map(|end| end.complete_time))),
        Field::text("name", |run| Value::written(run.id.name(&run.namespace))),
        Field::text("recorder", |run| Value::text(&run.recorder)),
        Field::text("message", |run| Value::text(run.end.as_ref().map_or("", |end| end.message.as_str()))),
        Field::truth("whole_set", |run| Value::Truth(run.is_whole_set)),
    ],
    orders: &[Order::descending("create_time desc")],
};

/// Returns the policies of a run: in a list of runs that of the filter, else the first.
fn policies(run: &Run) -> Value<'_> {
    Value::Texts(run.policies.iter().map(|each| each.policy.as_str()).collect())
}

fn version(run: &Run) -> Value<'_> {
    run.policies.first().map_or(Value::Unset, |each| Value::Number(each.version))
}

/// Says which runs a list holds, and what the index is asked for.
#[derive(Debug)]
pub struct RunFilter {
    /// Says where they were recorded.
    pub namespace: NamespaceId,
    /// Only runs under this policy.
    pub policy: Option<PolicyId>,
    /// Only runs under this version of the policy; with a policy alone.
    pub version: Option<i64>,
    /// Only those that ended so, or that are open.
    pub outcomes: Vec<RunOutcome>,
    /// Only those recorded in these times.
    pub times: Range,
    /// Only those that it keeps.
    pub wanted: Filter<Run>,
    /// Says whether some of what the index finds may be left out.
    pub is_search: bool,
}

impl RunFilter {
    /// Makes the filter of a list of runs.
    #[must_use]
    pub fn new(namespace: NamespaceId, wanted: Filter<Run>) -> Self {
        let served = Served { ranges: &["create_time", "version"], texts: &["policy"], enums: &["outcome"] };
        Self {
            namespace,
            policy: wanted.text("policy").and_then(|text| PolicyId::parse("policy", text).ok()),
            version: wanted.range("version").start,
            outcomes: wanted.enum_values("outcome", &RunOutcome::ALL, RunOutcome::as_str),
            times: wanted.range("create_time"),
            is_search: !wanted.is_served(served),
            wanted,
        }
    }
}
