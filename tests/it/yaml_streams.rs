//! A stream of several YAML documents is one content: staged, validated per document, compared, published and served.

use policyhub::client::pb;
use policyhub::client::pb::PolicyKind::Yaml;

use crate::harness::calls::{create, draft, get_version, publish, version};
use crate::harness::on_both_databases;

const SCHEMA: &str = r#"{"type":"object","required":["kind"],"properties":{"max":{"type":"integer"}}}"#;
const STREAM: &str = "---\nkind: a\nmax: 1\n---\nkind: b\nmax: 2\n";

on_both_databases! {
    async fn a_stream_is_validated_document_by_document(hub: Hub) {
        let client = hub.client().await;
        let settings = pb::PolicySettings { json_schema: SCHEMA.to_owned(), ..Default::default() };
        create(&client, "p", Yaml, settings).await;
        let drafted = draft(&client, "p", STREAM).await;
        let staged = client.stage(pb::StageRequest { name: drafted.name, ..Default::default() }).await.expect("a stage");
        let report = staged.report.expect("a report");
        let parse = report.checks.iter().find(|check| check.id == "parse").expect("a check");
        assert_eq!((parse.findings[0].message.as_str(), report.passed), ("2 well-formed documents", true));

        for (content, check, message, pointer, line) in [
            (STREAM.replace("max: 2", "max: x"), "json-schema", "document 2: \"x\" is not of type \"integer\"", "/1/max", 0),
            (STREAM.replace("kind: a", "sort: a"), "json-schema", "document 1: \"kind\" is a required property", "/0", 0),
            (STREAM.replace("max: 2", "kind: c"), "parse", "document 2: duplicate key \"kind\"", "/1/kind", 6),
            (STREAM.replace("max: 1", "kind: c"), "parse", "document 1: duplicate key \"kind\"", "/0/kind", 3),
            (format!("{STREAM}---\n"), "parse", "document 3: empty document", "/2", 7),
        ] {
            let drafted = draft(&client, "p", &content).await;
            let request = pb::StageRequest { name: drafted.name, validate_only: true, ..Default::default() };
            let report = client.stage(request).await.expect("a report").report.expect("a report");
            let failed: Vec<_> = report.checks.iter().filter(|one| one.result() == pb::check::Result::Failed).collect();
            let [failure] = failed.as_slice() else { panic!("one failure: {report:?}") };
            let [found] = failure.findings.as_slice() else { panic!("one finding: {report:?}") };
            let said = (failure.id.as_str(), found.message.as_str(), found.pointer.as_str());
            assert_eq!(said, (check, message, pointer), "{content}");
            assert!(line == 0 || (found.line == line || found.line + 1 == line), "{found:?}");
        }
    }

    async fn a_stream_is_compared_and_served_as_it_was_written(hub: Hub) {
        let client = hub.client().await;
        publish(&client, "p", STREAM).await;
        publish(&client, "p", &STREAM.replace("max: 2", "max: 3")).await;
        publish(&client, "p", &format!("{STREAM}---\nkind: c\n")).await;
        publish(&client, "p", "kind: a\nmax: 1\n").await;
        assert_eq!(&get_version(&client, "p", 1).await.content[..], STREAM.as_bytes());
        let patch = async |from: i64, to: i64| {
            let request = pb::DiffVersionsRequest { base: version("p", from), other: version("p", to) };
            let patch = client.diff_versions(request).await.expect("a difference").json_patch;
            serde_json::from_str::<serde_json::Value>(&patch).expect("JSON")
        };
        assert_eq!(patch(1, 2).await, serde_json::json!([{"op": "replace", "path": "/1/max", "value": 3}]));
        assert_eq!(patch(1, 3).await, serde_json::json!([{"op": "add", "path": "/2", "value": {"kind": "c"}}]));
        assert_eq!(patch(1, 4).await[0]["op"], "replace", "a stream and a document are other things");
    }
}
