//! Cedar and Rego policies, and contents of several files: what their checks find, and real policies of others.

use std::collections::BTreeSet;
use std::path::Path;

use policyhub::checks::content_tar::{ContentFile, write};
use policyhub::client::pb::PolicyKind::{Cedar, Json, Rego};
use policyhub::client::{Client, pb};
use tonic::Code;

use crate::harness::calls::{create, draft_of_its_kind, get, refused, version};
use crate::harness::{Hub, on_both_databases};

const TAR: &str = "application/x-tar";
const SCHEMA: &str = "entity User { age: Long }; entity Photo;\n\
                      action view appliesTo { principal: User, resource: Photo };";

fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let file = |(path, text): &(&str, &'static str)| ContentFile { path: (*path).to_owned(), bytes: text.as_bytes() };
    let files: Vec<(&str, &'static str)> =
        files.iter().map(|(path, text)| (*path, text.to_string().leak() as &str)).collect();
    write(files.iter().map(file).collect()).expect("a content")
}

/// Makes a policy of this kind with a content, and returns the answer of Stage and the report.
pub async fn checked(
    client: &Client,
    id: &str,
    kind: pb::PolicyKind,
    content: Vec<u8>,
    content_type: &str,
) -> (bool, pb::ValidationReport) {
    create(client, id, kind, pb::PolicySettings::default()).await;
    report_of(client, id, content, content_type).await
}

async fn report_of(client: &Client, id: &str, content: Vec<u8>, content_type: &str) -> (bool, pb::ValidationReport) {
    let draft = pb::DraftRequest {
        content: content.into(),
        content_type: content_type.to_owned(),
        ..draft_of_its_kind(id, "")
    };
    let drafted = client.draft(draft).await.expect("a draft").version.expect("a version");
    let staged = client.stage(pb::StageRequest { name: version(id, drafted.version), ..Default::default() }).await;
    let is_staged = staged.is_ok();
    if !is_staged {
        refused(staged, Code::FailedPrecondition, "VALIDATION_FAILED");
    }
    let request = pb::GetValidationReportRequest { name: version(id, drafted.version) };
    let report = client.get_validation_report(request).await.expect("a report").report.expect("a report");
    (is_staged, report)
}

pub fn check<'a>(report: &'a pb::ValidationReport, id: &str) -> &'a pb::Check {
    report.checks.iter().find(|check| check.id == id).unwrap_or_else(|| panic!("{id} in {report:?}"))
}

fn directory(path: &Path) -> Vec<u8> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).expect("a directory") {
        let entry = entry.expect("an entry");
        let bytes: &'static [u8] = std::fs::read(entry.path()).expect("a file").leak();
        files.push(ContentFile { path: entry.file_name().to_str().expect("UTF-8").to_owned(), bytes });
    }
    write(files).expect("a content")
}

on_both_databases! {
    /// Cedar policies are validated against the schema beside them, and a finding has its file, line and column.
    async fn cedar_policies_with_their_schema(hub: Hub) {
        let client = hub.client().await;
        let good = "permit(principal, action == Action::\"view\", resource) when { principal.age > 17 };";
        let files = tar(&[("p.cedar", good), ("p.cedarschema", SCHEMA)]);
        let (staged, report) = checked(&client, "p", Cedar, files, TAR).await;
        assert!(staged, "{report:?}");
        let ids: Vec<&str> = report.checks.iter().map(|check| check.id.as_str()).collect();
        assert_eq!(ids, ["limits", "parse", "json-schema", "references", "requires", "label", "guardrails", "cedar"]);
        let listed: Vec<&str> = check(&report, "parse").findings.iter().map(|found| found.file.as_str()).collect();
        assert_eq!(listed, ["", "p.cedar", "p.cedarschema"]);
        assert!(check(&report, "parse").findings[1].message.starts_with("sha256:"), "{report:?}");

        let bad = "permit(principal, action == Action::\"view\", resource)\n  when { principal.agee > 17 };";
        let (staged, report) = report_of(&client, "p", tar(&[("p.cedar", bad), ("p.cedarschema", SCHEMA)]), TAR).await;
        let found = &check(&report, "cedar").findings[0];
        assert!(!staged && (found.file.as_str(), found.line, found.column) == ("p.cedar", 2, 10), "{found:?}");

        let (staged, report) = report_of(&client, "p", b"permit(principal, action);".to_vec(), "").await;
        assert!(!staged && check(&report, "parse").findings[0].line == 1, "{report:?}");
        let (staged, report) = report_of(&client, "p", b"permit(principal, action, resource);".to_vec(), "").await;
        assert!(staged && check(&report, "cedar").result() == pb::check::Result::Skipped, "{report:?}");
        let (staged, report) = report_of(&client, "p", tar(&[("p.cedar", good), ("notes.txt", "")]), TAR).await;
        let found = &check(&report, "parse").findings[0];
        assert!(!staged && found.file == "notes.txt" && found.message.contains("the files of a CEDAR policy"), "{found:?}");
    }

    /// Rego modules compile together, their tests run, and the failing ones are named.
    async fn rego_modules_with_their_tests(hub: Hub) {
        let client = hub.client().await;
        let policy = ("a.rego", "package a\n\nallow if input.n > data.least\n");
        let data = ("data.json", "{\"least\": 3}");
        let test = "package a_test\n\nimport data.a\n\ntest_more if a.allow with input as {\"n\": 4}\n";
        let (staged, report) = checked(&client, "p", Rego, tar(&[policy, data, ("a_test.rego", test)]), TAR).await;
        assert!(staged && check(&report, "rego").findings[0].message == "1 test passed", "{report:?}");
        let wrong = "package a_test\n\nimport data.a\n\ntest_less if a.allow with input as {\"n\": 2}\n";
        let (staged, report) = report_of(&client, "p", tar(&[policy, data, ("a_test.rego", wrong)]), TAR).await;
        let found = &check(&report, "rego").findings[1];
        assert_eq!((staged, found.file.as_str(), found.line), (false, "a_test.rego", 5), "{report:?}");
        assert_eq!(found.message, "data.a_test.test_less failed");
        let (staged, _) = report_of(&client, "p", b"package a\n\nallow if true\n".to_vec(), "").await;
        assert!(staged, "one module is a content");
    }

    /// Each file of a JSON content is parsed strictly and validated by the schema of the policy.
    async fn json_files_are_validated_each(hub: Hub) {
        let client = hub.client().await;
        let settings = pb::PolicySettings { json_schema: r#"{"required":["id"]}"#.to_owned(), ..Default::default() };
        create(&client, "p", Json, settings).await;
        let good = ("definition.json", r#"{"id": 1}"#);
        let (staged, report) = report_of(&client, "p", tar(&[good, ("assignments/eu.json", r#"{"id": 2}"#)]), TAR).await;
        assert!(staged, "{report:?}");
        let (staged, report) = report_of(&client, "p", tar(&[good, ("assignments/eu.json", "{}")]), TAR).await;
        let found = &check(&report, "json-schema").findings[0];
        assert!(!staged && found.file == "assignments/eu.json", "{found:?}");
        let (staged, report) = report_of(&client, "p", tar(&[good, ("b.json", "{\"a\":1,\"a\":2}")]), TAR).await;
        assert!(!staged && check(&report, "parse").findings[0].file == "b.json", "{report:?}");
    }

    /// Contents of several files are compared file by file, and as documents by their paths.
    async fn differences_of_several_files(hub: Hub) {
        let client = hub.client().await;
        create(&client, "p", Json, pb::PolicySettings::default()).await;
        for files in [
            &[("a.json", "{\"a\":1}\n"), ("eu/b.json", "{}\n")][..],
            &[("a.json", "{\"a\":2}\n"), ("eu/c.json", "{}\n")],
        ] {
            report_of(&client, "p", tar(files), TAR).await;
        }
        let request = pb::DiffVersionsRequest { base: version("p", 1), other: version("p", 2) };
        let found = client.diff_versions(request).await.expect("a difference");
        let (from, to) = (version("p", 1), version("p", 2));
        let changed = format!("--- {from}/a.json\n+++ {to}/a.json\n@@ -1 +1 @@\n-{{\"a\":1}}\n+{{\"a\":2}}\n");
        let gone = format!("--- {from}/eu/b.json\n+++ /dev/null\n@@ -1 +0,0 @@\n-{{}}\n");
        let came = format!("--- /dev/null\n+++ {to}/eu/c.json\n@@ -0,0 +1 @@\n+{{}}\n");
        assert_eq!(found.unified, [changed, gone, came].concat());
        let patch: serde_json::Value = serde_json::from_str(&found.json_patch).expect("a patch");
        let steps = patch.as_array().expect("a list").iter();
        let paths: BTreeSet<&str> = steps.map(|step| step["path"].as_str().expect("a path")).collect();
        assert_eq!(paths, ["/a.json/a", "/eu~1b.json", "/eu~1c.json"].into());
    }
}

/// Given a directory, the command line makes the content, and the kind of a policy that is new.
#[tokio::test]
async fn a_directory_is_drafted() {
    let hub = Hub::start(crate::harness::Database::Sqlite).await;
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/cedar/document_cloud");
    for _ in 0..2 {
        let done = hub.cli().args(["draft", "cloud", directory, "--create"]).output().expect("the binary runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    let client = hub.client().await;
    assert_eq!(get(&client, "cloud").await.kind(), Cedar);
    let digest = |number: i64| crate::harness::calls::get_version(&client, "cloud", number);
    assert_eq!(digest(1).await.digest, digest(2).await.digest, "the same files are the same bytes");
    client.stage(pb::StageRequest { name: version("cloud", 2), ..Default::default() }).await.expect("checks pass");
}

/// Real policies pass: Cedar with its schemas, Rego with its tests.
#[tokio::test]
async fn policies_of_others_pass() {
    let hub = Hub::start(crate::harness::Database::Sqlite).await;
    let client = hub.client().await;
    for (language, kind, check_id) in [("cedar", Cedar, "cedar"), ("rego", Rego, "rego")] {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(language);
        let mut names: Vec<_> =
            std::fs::read_dir(&top).expect("a directory").flatten().map(|each| each.path()).collect();
        names.retain(|path| path.is_dir());
        assert_eq!(names.len(), 3, "{top:?}");
        for path in names {
            let id = path.file_name().expect("a name").to_str().expect("UTF-8").replace('_', "-");
            let (staged, report) = checked(&client, &id, kind, directory(&path), TAR).await;
            assert!(staged && check(&report, check_id).result() != pb::check::Result::Skipped, "{id}: {report:?}");
        }
    }
}
