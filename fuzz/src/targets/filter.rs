//! Filters of lists: every text has a result, and an accepted one prints as an equal filter.

use policyhub::api::filter::{parse_filter, parse_order};
use policyhub::domain::filter::{Filter, Listing};
use policyhub::domain::limits::FILTER_MAX_BYTES;
use policyhub::domain::listing::{EVENTS, POLICIES, RUNS, SUBSCRIBERS, VERSIONS};
use policyhub::domain::name::NamespaceId;

use super::texts;

pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    reads(&EVENTS, text);
    reads(&POLICIES, text);
    reads(&RUNS, text);
    reads(&SUBSCRIBERS, text);
    reads(&VERSIONS, text);
}

fn reads<T>(listing: &'static Listing<T>, text: &str) {
    let namespace = NamespaceId::parse("namespace", "default").ok();
    let _ = parse_order(listing, text);
    let Ok(filter) = parse_filter(listing, namespace.as_ref(), text) else { return };
    let printed = filter.to_string();
    // Parentheses and quotes may make the printed text longer or deeper than the limits.
    if let Ok(again) = parse_filter(listing, namespace.as_ref(), &printed) {
        assert_eq!(again.to_string(), printed);
        let ranges =
            |filter: &Filter<T>| ["revision", "time", "create_time", "version"].map(|field| filter.range(field));
        assert_eq!(ranges(&again), ranges(&filter));
    }
    assert!(text.len() <= FILTER_MAX_BYTES);
}

pub fn seeds() -> Vec<Vec<u8>> {
    texts(&[
        "kind = ACTIVATE AND actor = \"local:ann\"",
        "time >= \"2026-11-24T08:00:00Z\" AND time < 2026-11-25T08:00:00.000001+01:00",
        "revision > 3 AND (policy = p OR NOT reason : 'INC-1')",
        "policy = \"namespaces/default/policies/p\" AND version = 3 AND outcome != OPEN",
        "annotations.owner = team-a OR annotations.\"a/b\":* OR annotations:zone",
        "state = VERSION_STATE_PUBLISHED AND -publish_time:* AND label = \"\"",
        "online = true AND applied.revision <= -1 AND policies:refunds",
        "create_time desc",
        "description = \"\\\"\\\\\\n'\"",
        "((((kind = JSON))))",
    ])
}
