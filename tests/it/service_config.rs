//! The service config that clients copy (docs/service_config.json): it names existing methods, and retries only those that are safe to
//! repeat.

use std::collections::{BTreeMap, BTreeSet};

use policyhub::client::pb;
use prost_reflect::DescriptorPool;
use serde_json::Value;

const CONFIG: &str = include_str!("../../docs/service_config.json");
/// The limit of gRPC (A6, "Maximum Number of Retries").
const ATTEMPTS_MAX: u64 = 5;

/// Returns a duration in proto3 JSON as seconds.
fn seconds(value: &Value) -> f64 {
    let text = value.as_str().and_then(|text| text.strip_suffix('s')).expect("a duration");
    text.parse().expect("seconds")
}

#[test]
fn it_names_every_method_and_repeats_what_changes_nothing() {
    let config: Value = serde_json::from_str(CONFIG).expect("JSON");
    let mut by_method = BTreeMap::new();
    let mut has_default = false;
    for entry in config["methodConfig"].as_array().expect("a list") {
        for name in entry["name"].as_array().expect("names") {
            let word = |key: &str| name[key].as_str().unwrap_or_default();
            if name.as_object().is_some_and(serde_json::Map::is_empty) {
                assert!(entry.get("retryPolicy").is_none(), "what nobody named is not repeated");
                has_default = true;
                continue;
            }
            let before = by_method.insert(format!("{}/{}", word("service"), word("method")), entry);
            assert!(before.is_none(), "{name} is there twice");
        }
        if let Some(policy) = entry.get("retryPolicy") {
            assert_eq!(policy["retryableStatusCodes"], serde_json::json!(["UNAVAILABLE"]));
            assert!((2..=ATTEMPTS_MAX).contains(&policy["maxAttempts"].as_u64().expect("a number")));
            assert!(seconds(&policy["initialBackoff"]) < seconds(&policy["maxBackoff"]));
        }
    }
    assert!(has_default, "mutations have a timeout");

    let pool = DescriptorPool::decode(pb::DESCRIPTORS).expect("the descriptor set");
    let ours: Vec<_> = pool.services().filter(|service| service.package_name() == "policyhub.v1").collect();
    let methods: Vec<_> = ours.iter().flat_map(|service| service.methods().collect::<Vec<_>>()).collect();
    let path =
        |method: &prost_reflect::MethodDescriptor| format!("{}/{}", method.parent_service().full_name(), method.name());
    let known: BTreeSet<String> = methods.iter().map(path).collect();
    let streams_of_others = ["grpc.health.v1.Health/Watch"].into_iter().chain([
        "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ]);
    for name in streams_of_others.clone() {
        assert!(by_method.get(name).is_some_and(|entry| entry.get("timeout").is_none()), "{name} has no deadline");
    }
    let is_known = |name: &String| known.contains(name) || streams_of_others.clone().any(|stream| stream == name);
    assert!(by_method.keys().all(is_known), "{:?}", by_method.keys());
    for method in &methods {
        // A change without a request id that is sent twice may be made twice. A watch resumes by itself.
        let is_safe = method.input().get_field_by_name("request_id").is_none() && !method.is_server_streaming();
        let entry = by_method.get(&path(method));
        assert_eq!(entry.is_some_and(|entry| entry.get("retryPolicy").is_some()), is_safe, "{}", path(method));
        let timeout = entry.and_then(|entry| entry.get("timeout")).map(seconds);
        if method.is_server_streaming() {
            assert_eq!(timeout, None, "a watch has no deadline");
        } else if is_safe {
            assert!(timeout.is_some_and(|timeout| timeout >= 30.0), "{}: a timeout of its own", path(method));
        }
    }
}
