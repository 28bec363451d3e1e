//! Archives for tests: exported by the real binary, and split into the parts that the RPC takes.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use policyhub::client::{Client, ClientError, ImportParts, pb, verify_archive};

use super::Hub;
use super::calls::{abandon, activate, draft, publish_request, release, set, version};

/// Runs a command and returns its exit code, stdout and stderr.
pub fn run(mut command: Command, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.args(arguments).output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

/// Writes two policies with settings, a gap in the version numbers, versions in every state, and reports.
pub async fn history(client: &Client) {
    release(client, "p", "a: 1").await;
    let labelled = pb::DraftRequest {
        label: "1.5.0".to_owned(),
        change_note: "the note".to_owned(),
        annotations: [("owner".to_owned(), "team-a".to_owned())].into(),
        ..super::calls::draft_request("p", "a: 2")
    };
    let drafted = client.draft(labelled).await.expect("a draft").version.expect("a version");
    client.publish(publish_request("p", drafted.version)).await.expect("a publication");
    activate(client, "p", drafted.version).await;
    release(client, "q", "a: 1").await;
    let schema = "{\"type\":\"object\"}".to_owned();
    let settings = pb::PolicySettings { max_open_drafts: 3, json_schema: schema, ..Default::default() };
    set(client, "p", settings).await;
    draft(client, "p", "a: 3").await;
    abandon(client, "p", 3).await;
    draft(client, "p", "a: 4").await;
    client.stage(pb::StageRequest { name: version("p", 4), ..Default::default() }).await.expect("a stage");
    draft(client, "p", "a: 5").await;
    abandon(client, "p", 5).await;
}

/// Exports a namespace and returns the archive's path.
pub fn export(hub: &Hub, namespace: &str, name: &str) -> PathBuf {
    let file = hub.dir.path().join(name);
    let (code, text, errors) = run(hub.cli(), &["export", namespace, "--out", &file.display().to_string()]);
    assert_eq!(code, 0, "{text}{errors}");
    file
}

/// Returns an archive as the requests of an import, so that a test can change them.
pub fn parts(file: &Path, target: &str) -> Vec<pb::ImportNamespaceRequest> {
    let open = || BufReader::new(std::fs::File::open(file).expect("the archive"));
    let archive = verify_archive(open(), (None, None), None).expect("an archive");
    assert_eq!(archive.check.findings.count, 0, "{:?}", archive.check.findings);
    let head = archive.check.head();
    let source = pb::ImportSource {
        store: archive.header.store.clone(),
        namespace: archive.header.namespace.name(),
        head: Some(pb::Cursor { epoch: head.cursor.epoch, revision: head.cursor.revision, ..Default::default() }),
        head_hash: head.hash.to_vec().into(),
        jwks: archive.header.jwks.to_string(),
        seal_jwks: archive.header.seal_jwks.to_string(),
    };
    let mut reader = ImportParts::new(open()).expect("an archive");
    let mut parts = Vec::new();
    while let Some(part) = reader.next(0).expect("a part") {
        parts.push(pb::ImportNamespaceRequest {
            name: target.to_owned(),
            source: Some(source.clone()),
            offset: part.offset,
            items: part.items,
            last: part.is_last,
            ..Default::default()
        });
    }
    parts
}

/// Returns an archive as requests of one item each.
pub fn single_parts(file: &Path, target: &str) -> Vec<pb::ImportNamespaceRequest> {
    let mut singles = Vec::new();
    for part in parts(file, target) {
        for item in &part.items {
            let offset = i64::try_from(singles.len()).expect("small");
            singles.push(pb::ImportNamespaceRequest { items: vec![item.clone()], offset, last: false, ..part.clone() });
        }
    }
    let offset = i64::try_from(singles.len()).expect("small");
    let end = pb::ImportNamespaceRequest { items: vec![], offset, last: true, ..singles[0].clone() };
    singles.push(end);
    singles
}

/// Creates a namespace and returns its name.
pub async fn make(client: &Client, id: &str) -> String {
    let request = pb::CreateNamespaceRequest { namespace_id: id.to_owned(), ..Default::default() };
    client.create_namespace(request).await.expect("a namespace").namespace.expect("a namespace").name
}

/// Returns what [`kept`] returns, as the importing store shows it: authors and publishers are foreign principals of `store`.
pub fn as_imported(kept: Vec<String>, store: &str) -> Vec<String> {
    let foreign = |text: String, who: &str| {
        let text = text.replace(&format!("{who}: \""), &format!("{who}: \"imported/{store}/"));
        text.replace(&format!("{who}: \"imported/{store}/\""), &format!("{who}: \"\""))
    };
    kept.into_iter().map(|text| foreign(foreign(text, "author"), "publisher")).collect()
}

/// Returns everything of a namespace that an import under its own name must keep.
pub async fn kept(client: &Client, namespace: &str) -> Vec<String> {
    kept_with(client, namespace, |etag| etag).await
}

/// Returns everything of a namespace that an import under any name must keep. Etags are left out: they depend on the name.
pub async fn kept_elsewhere(client: &Client, namespace: &str) -> Vec<String> {
    kept_with(client, namespace, |_| String::new()).await
}

/// Returns what an import must keep, without the namespace's name and with etags mapped by `etag`.
async fn kept_with(client: &Client, namespace: &str, etag: fn(String) -> String) -> Vec<String> {
    let mut all = Vec::new();
    let list = pb::ListPoliciesRequest { parent: namespace.to_owned(), ..Default::default() };
    for each in client.list_policies(list).await.expect("policies").policies {
        let each = pb::Policy { active_version: 0, activation: None, etag: etag(each.etag.clone()), ..each };
        all.push(format!("{each:?}"));
        let list = pb::ListVersionsRequest {
            parent: each.name.clone(),
            view: pb::VersionView::Full.into(),
            ..Default::default()
        };
        for found in client.list_versions(list).await.expect("versions").versions {
            let open = found.state() == pb::VersionState::Staged || found.state() == pb::VersionState::Draft;
            let state = if open { pb::VersionState::Draft.into() } else { found.state };
            let stage_time = if open { None } else { found.stage_time };
            let name = found.name.clone();
            // A staged version is imported as a draft, and the etag depends on the state.
            let etag = if open { String::new() } else { etag(found.etag.clone()) };
            let bare = pb::Version {
                state,
                etag,
                stage_time,
                manifest: String::new(),
                origin_manifests: vec![],
                active: false,
                ..found.clone()
            };
            all.push(format!("{bare:?}"));
            if found.state() == pb::VersionState::Published {
                let report = client.get_validation_report(pb::GetValidationReportRequest { name }).await;
                all.push(format!("{:?}", report.expect("a report")));
            }
        }
    }
    all.iter().map(|text| text.replace(&format!("{namespace}/"), "namespaces/_/")).collect()
}

/// Sends parts in order.
pub async fn send(
    client: &Client,
    parts: &[pb::ImportNamespaceRequest],
) -> Result<pb::ImportNamespaceResponse, ClientError> {
    let mut last = pb::ImportNamespaceResponse::default();
    for part in parts {
        last = client.import_namespace(part.clone()).await?;
    }
    Ok(last)
}

/// Runs VerifyLog, which must find nothing, and returns its result.
pub async fn verified(client: &Client, parent: &str) -> pb::VerifyLogResult {
    let request = pb::VerifyLogRequest { parent: parent.to_owned(), after: None };
    let verdict = client.verify_log(request).await.expect("a verdict");
    assert!(verdict.valid, "{:?}", verdict.findings);
    verdict
}
