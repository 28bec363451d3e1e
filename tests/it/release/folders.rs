//! What a repository may contain: each invalid folder is named, and the others are released.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::repository::Repository;
use policyhub::client::pb::CreateNamespaceRequest;

use crate::harness::calls::{abandon, get_version};
use crate::harness::{Database, Hub, on_both_databases};

/// A folder of `policies`, and the error it causes.
const WRONG: &[(&str, &str)] = &[
    ("Upper/v1.0.0", "policy id must match"),
    ("a b/v1.0.0", "policy id must match"),
    ("-rf/v1.0.0", "policy id must match"),
    ("--help/v1.0.0", "policy id must match"),
    (":(top)/v1.0.0", "policy id must match"),
    ("p\u{1b}[2J\n/v1.0.0", "policy id must match"),
    ("p/v1", "label is not a SemVer"),
    ("p/v1.0.0\n", "label is not a SemVer"),
    ("p/v1.0.0;id", "label is not a SemVer"),
    ("p/v99999999999999999999.0.0", "label is not a SemVer"),
];

#[tokio::test]
async fn folders_that_are_no_versions_are_named_and_the_rest_goes_on() {
    let hub = Hub::start(Database::Sqlite).await;
    let repository = Repository::new();
    repository.version("good", "1.0.0", "a: 1");
    for (folder, _) in WRONG {
        repository.write(format!("policies/{folder}/metadata.json"), "{}");
        repository.write(format!("policies/{folder}/policy-definition.yaml"), "a: 1");
    }
    let not_utf8 = Path::new("policies").join(std::ffi::OsStr::from_bytes(b"p\xff")).join("v1.0.0/metadata.json");
    repository.write(not_utf8, "{}");
    symlink("good", repository.path.join("policies/linked")).expect("a link");
    symlink("../good/v1.0.0", repository.path.join("policies/p/v3.0.0")).expect("a link");
    repository.commit();
    let ended = repository.release(&hub, &[]);
    ended.is(3, "partial");
    let document = ended.json();
    let received = document["versions"].as_array().expect("versions");
    let said = |name: &str| ended.error_of(name);
    for (folder, error) in WRONG {
        let shown = format!("policies/{folder}").replace(|letter: char| letter.is_control(), " ");
        assert!(said(&shown).contains(error), "{folder:?}: {}", said(&shown));
    }
    assert_eq!(said("policies/p\u{fffd}/v1.0.0"), "its name is not UTF-8");
    assert_eq!(said("policies/linked"), "is a symbolic link or a submodule: neither is followed");
    assert_eq!(said("p@v3.0.0"), "policies/p/v3.0.0 is a symbolic link: neither is followed");
    assert_eq!(received.len(), WRONG.len() + 4);
    assert_eq!((ended.json()["counts"]["published"].as_i64(), repository.baseline()), (Some(1), String::new()));
    assert!(!ended.stderr.contains('\u{1b}'), "what others wrote moves no cursor");
}

#[tokio::test]
async fn files_that_do_not_say_what_their_folder_says_are_refused() {
    let hub = Hub::start(Database::Sqlite).await;
    let repository = Repository::new();
    let metadata = |label: &str, text: &str| repository.write(format!("policies/p{label}/v1.0.0/metadata.json"), text);
    let definition = |label: &str, name: &str, content: &[u8]| {
        repository.write(format!("policies/p{label}/v1.0.0/policy-definition.{name}"), content);
    };
    let right = |label: &str| format!(r#"{{"name": "p{label}", "version": "1.0.0", "x": {{"y": []}}}}"#);
    let mut expected = Vec::new();
    let mut wrong = |label: &str, text: &str, error: &'static str| {
        metadata(label, text);
        definition(label, "yaml", b"a: 1");
        expected.push((format!("p{label}@v1.0.0"), error));
    };
    wrong("-other", r#"{"name": "q", "version": "1.0.0"}"#, "names policy \"q\", its folder \"p-other\"");
    wrong(
        "-version",
        r#"{"name": "p-version", "version": "v1.0.0"}"#,
        "names version \"v1.0.0\", its folder \"1.0.0\"",
    );
    wrong("-twice", r#"{"name": "p-twice", "name": "p", "version": "1.0.0"}"#, "duplicate field `name`");
    wrong("-number", r#"{"name": "p-number", "version": 1}"#, "invalid type: integer");
    wrong("-none", r#"{"name": "p-none"}"#, "missing field `version`");
    wrong("-deep", &format!("{}1", "[".repeat(60_000)), "metadata.json: ");
    wrong("-large", &" ".repeat(65_537), "metadata.json has 65537 bytes, over 65536");
    wrong("-broken", "{", "metadata.json: EOF");
    for (label, files, error) in [
        ("-lone", &[][..], "or a folder policy-definition, is missing"),
        ("-two", &["yaml", "json"], "both policy-definition.json and policy-definition.yaml are there"),
        ("-three", &["yaml", "yml"], "both policy-definition.yaml and policy-definition.yml are there"),
    ] {
        metadata(label, &right(label));
        for name in files {
            definition(label, name, b"{}");
        }
        expected.push((format!("p{label}@v1.0.0"), error));
    }
    for (label, name, content, error) in [
        ("-big", "json", vec![b' '; 1024 * 1024 + 1], "policy-definition.json has 1048577 bytes, over 1048576"),
        ("-empty", "yaml", Vec::new(), "does not parse at line 1: empty document"),
        ("-key", "json", b"{\"a\": 1,\n \"a\": 2}".to_vec(), "does not parse at line 2"),
        ("-rego", "rego", b"package p\nallow { true".to_vec(), "VALIDATION_FAILED"),
        ("-cedar", "cedar", b"permit(principal, action);".to_vec(), "VALIDATION_FAILED"),
    ] {
        metadata(label, &right(label));
        definition(label, name, &content);
        expected.push((format!("p{label}@v1.0.0"), error));
    }
    definition("-bare", "yaml", b"a: 1");
    expected.push(("p-bare@v1.0.0".to_owned(), "metadata.json is missing"));
    metadata("-inside", &right("-inside"));
    definition("-inside", "yaml", b"a: 1");
    symlink("/etc/passwd", repository.path.join("policies/p-inside/v1.0.0/notes")).expect("a link");
    expected.push(("p-inside@v1.0.0".to_owned(), "policies/p-inside/v1.0.0/notes is a symbolic link"));
    metadata("-json", &right("-json"));
    definition("-json", "json", b"{\"a\": 1}");
    repository.write("policies/p-json/v1.0.0/examples/policy-definition.json", "not read");
    repository.write("policies/p-json/v1.0.0/README.md", "not read");
    repository.commit();

    let ended = repository.release(&hub, &[]);
    ended.is(3, "partial");
    let received = ended.json()["versions"].as_array().expect("versions").clone();
    for (name, error) in &expected {
        let one = received.iter().find(|one| one["name"] == name.as_str()).unwrap_or_else(|| panic!("{name}"));
        let said = one["error"].as_str().expect("an error");
        assert!(one["outcome"] == "failed" && said.contains(error), "{name}: {said}");
    }
    assert_eq!(received.len(), expected.len() + 1);
    assert_eq!(repository.delivered_names(), ["p-json@v1.0.0"]);
    assert_eq!(get_version(&hub.client().await, "p-json", 1).await.content_type, "application/json");
}

on_both_databases! {
    async fn one_that_fails_keeps_the_baseline_and_only_it_is_delivered_later(hub: Hub) {
        let client = hub.client().await;
        let repository = Repository::new();
        repository.version("good", "1.0.0", "a: 1");
        repository.version("bad", "1.0.0", "a: 1");
        repository.version("bad", "1.1.0", "a: [");
        repository.version("bad", "1.2.0", "a: 2");
        repository.commit();
        let ended = repository.release(&hub, &[]);
        let received = ["bad@v1.0.0 published", "bad@v1.1.0 failed", "bad@v1.2.0 published", "good@v1.0.0 published"];
        assert_eq!(ended.is(3, "partial").outcomes(), received);
        let document = ended.json();
        assert_eq!(document["versions"][1]["reason"], "");
        assert_eq!((repository.baseline(), repository.delivered_names()), (String::new(), ["bad@v1.0.0", "bad@v1.2.0", "good@v1.0.0"].map(str::to_owned).to_vec()));
        assert!(ended.stderr.ends_with("error: the release is partial: what is left is kept for the next one (PARTIAL)\n"), "{ended:?}");

        repository.version("bad", "1.1.0", "a: 1.1");
        let commit = repository.commit();
        let ended = repository.release(&hub, &["--allow-backport"]);
        assert_eq!(ended.is(0, "success").outcomes(), ["bad@v1.1.0 published"]);
        assert_eq!(repository.baseline(), commit);
        assert_eq!(get_version(&client, "bad", "v1.1.0").await.version, 3);
    }

    async fn a_draft_that_a_killed_release_left_is_gone_on_with_or_replaced(hub: Hub) {
        let client = hub.client().await;
        let repository = Repository::new();
        for policy in ["p", "q"] {
            repository.version(policy, "1.0.0", "a: 1");
        }
        let commit = repository.commit();
        for (policy, content) in [("p", "a: 1"), ("q", "a: 0")] {
            let left = policyhub::client::pb::DraftRequest {
                label: "1.0.0".to_owned(),
                change_note: format!("released from git commit {commit}"),
                annotations: Repository::annotations(),
                ..crate::harness::calls::draft_request(policy, content)
            };
            client.draft(left).await.expect("a draft");
        }
        assert_eq!(repository.release(&hub, &[]).is(0, "success").outcomes(), ["p@v1.0.0 published", "q@v1.0.0 published"]);
        assert_eq!(get_version(&client, "p", "v1.0.0").await.version, 1, "the draft that is there was gone on with");
        assert_eq!(get_version(&client, "q", 1).await.state(), policyhub::client::pb::VersionState::Abandoned);
        assert_eq!(get_version(&client, "q", "v1.0.0").await.version, 2);

        // Another person's draft is not used.
        let request = policyhub::client::pb::DraftRequest { label: "1.1.0".to_owned(), ..crate::harness::calls::draft_request("p", "a: 7") };
        client.draft(request).await.expect("a draft");
        repository.version("p", "1.1.0", "a: 8");
        repository.commit();
        let ended = repository.release(&hub, &[]);
        let error = ended.is(1, "failed").json()["versions"][0]["error"].as_str().expect("an error").to_owned();
        assert!(error.contains("`policyhub abandon p@2`"), "{error}");
        abandon(&client, "p", 2).await;
        assert_eq!(repository.release(&hub, &[]).is(0, "success").outcomes(), ["p@v1.1.0 published"]);
    }
}

on_both_databases! {
    /// Given a release into a namespace that is not that of the context, the command in its result is about that namespace.
    async fn what_to_do_next_is_about_the_namespace_of_the_release(hub: Hub) {
        let client = hub.client().await;
        let team = CreateNamespaceRequest { namespace_id: "team".to_owned(), ..Default::default() };
        client.create_namespace(team).await.expect("a namespace");
        let request = policyhub::client::pb::DraftRequest {
            parent: "namespaces/team/policies/p".to_owned(),
            label: "1.0.0".to_owned(),
            ..crate::harness::calls::draft_request("p", "a: 7")
        };
        client.draft(request).await.expect("a draft");
        let repository = Repository::new();
        repository.version("p", "1.0.0", "a: 1");
        repository.commit();
        let ended = repository.release(&hub, &["-n", "team"]);
        let error = ended.is(1, "failed").json()["versions"][0]["error"].as_str().expect("an error").to_owned();
        assert!(error.contains("`policyhub -n team abandon p@1`"), "{error}");
    }

    /// Members of metadata.json beside name and version are stored with the version; invalid ones are named and stop nothing.
    async fn metadata_becomes_annotations(hub: Hub) {
        let repository = Repository::new();
        repository.version("p", "1.0.0", "a: 1");
        let metadata = serde_json::json!({
            "name": "p", "version": "1.0.0", "owner": "team-a", "categories": ["pricing", "eu"], "my text": "x",
        });
        repository.write("policies/p/v1.0.0/metadata.json", metadata.to_string());
        repository.commit();
        let ended = repository.release(&hub, &[]);
        ended.is(0, "success");
        assert_eq!(
            ended.lines("warnings"),
            ["p@v1.0.0: not kept as annotations, since names or values do not fit (see docs/release.md): my text"]
        );
        let kept = get_version(&hub.client().await, "p", 1).await.annotations;
        let expected = [("categories", "pricing,eu"), ("owner", "team-a")];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(kept, expected.into());
    }

    /// `requires` of metadata.json is of the version, and no annotation; a malformed one stops that version.
    async fn metadata_names_requirements(hub: Hub) {
        let repository = Repository::new();
        let write = |id: &str, requires: serde_json::Value| {
            repository.version(id, "1.0.0", "a: 1");
            let metadata = serde_json::json!({"name": id, "version": "1.0.0", "owner": "a", "requires": requires});
            repository.write(format!("policies/{id}/v1.0.0/metadata.json"), metadata.to_string());
        };
        write("p", serde_json::json!([{"policy": "q", "version_req": "^1"}]));
        write("q", serde_json::json!([{"policy": "p", "version_req": "^1"}]));
        write("n", serde_json::Value::Null);
        write("bad", serde_json::json!("q ^1"));
        repository.commit();
        let ended = repository.release(&hub, &["--activate"]);
        ended.is(3, "partial");
        assert!(ended.error_of("bad@v1.0.0").starts_with("metadata.json: invalid type: string"), "{}", ended.error_of("bad@v1.0.0"));
        let client = hub.client().await;
        for (id, required) in [("p", "q"), ("q", "p")] {
            let kept = get_version(&client, id, 1).await;
            let requires = kept.requires.iter().map(|each| (each.policy.as_str(), each.version_req.as_str()));
            assert_eq!(requires.collect::<Vec<_>>(), [(required, "^1")], "{id}");
            assert_eq!(kept.annotations.keys().collect::<Vec<_>>(), ["owner"], "{id}");
            assert!(kept.active, "{id}: both came into force at once");
        }
        assert_eq!(get_version(&client, "n", 1).await.requires, []);
    }
}
