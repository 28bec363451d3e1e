//! Version folders whose content is several files: `policy-definition/`.

use super::repository::{CommandEnd, Repository};
use crate::harness::calls::{draft_request, get, get_version};
use crate::harness::{Database, Hub, on_both_databases};

const ALLOW: &str = "package shop\n\nimport rego.v1\n\nallow if input.amount < data.limits.max\n";
const TEST: &str = "package shop_test\n\nimport rego.v1\n\ntest_low if data.shop.allow with input as {\"amount\": 1}\n";

/// Writes a version with Rego modules, a test and data.
fn rego(repository: &Repository, label: &str, max: i64) {
    repository.metadata("shop", label);
    for (name, text) in [
        ("shop.rego", ALLOW),
        ("tests/shop_test.rego", TEST),
        ("limits/data.json", &format!("{{\"max\": {max}}}")),
        (".gitkeep", ""),
    ] {
        repository.write(format!("policies/shop/v{label}/policy-definition/{name}"), text);
    }
    repository.write(format!("policies/shop/v{label}/README.md"), "not read");
}

/// Runs `policyhub` in the repository.
fn policyhub(repository: &Repository, hub: &Hub, line: &str) -> CommandEnd {
    let mut command = hub.cli();
    command.current_dir(&repository.path).args(line.split_whitespace());
    CommandEnd::of(&command.output().expect("it runs"))
}

on_both_databases! {
    /// The tar is that of `draft DIR`, a second release has nothing to do, and what is published does not change.
    async fn a_folder_of_files_is_released_as_draft_makes_it(hub: Hub) {
        let client = hub.client().await;
        let repository = Repository::new();
        rego(&repository, "1.0.0", 20);
        for (name, text) in [
            ("shop.cedar", "permit(principal == User::\"a\", action, resource);\n"),
            ("schema.cedarschema", "entity User;\nentity Item;\naction buy appliesTo { principal: User, resource: Item };\n"),
        ] {
            repository.write(format!("policies/access/v1.0.0/policy-definition/{name}"), text);
        }
        repository.metadata("access", "1.0.0");
        repository.commit();
        let ended = repository.release(&hub, &["--activate"]);
        assert_eq!(ended.is(0, "success").outcomes(), ["access@v1.0.0 published", "shop@v1.0.0 published"]);
        let published = get_version(&client, "shop", 1).await;
        assert_eq!((published.content_type.as_str(), published.active), ("application/x-tar", true));
        assert_eq!(get(&client, "shop").await.kind(), policyhub::client::pb::PolicyKind::Rego);
        assert_eq!(get(&client, "access").await.kind(), policyhub::client::pb::PolicyKind::Cedar);
        let drafted = policyhub(&repository, &hub, "draft copy policies/shop/v1.0.0/policy-definition --create");
        assert_eq!(drafted.code, 0, "{drafted:?}");
        assert_eq!(get_version(&client, "copy", 1).await.digest, published.digest, "one tar for the same files");
        let checked = policyhub(&repository, &hub, "check policies");
        assert_eq!(checked.code, 0, "{checked:?}");
        let published_there = "PUBLISHED policies/shop/v1.0.0/policy-definition as shop@v1.0.0 already";
        assert!(checked.stdout.contains(published_there), "the same digest: {checked:?}");

        let again = repository.release(&hub, &["--activate"]);
        assert_eq!(again.is(0, "success").outcomes(), Vec::<String>::new());
        repository.remove(".state");
        let asked = repository.release(&hub, &[]);
        assert_eq!(asked.is(0, "success").outcomes(), ["access@v1.0.0 already there", "shop@v1.0.0 already there"]);
        assert_eq!(asked.lines("warnings"), Vec::<String>::new(), "the digest is the same");

        rego(&repository, "1.0.0", 21);
        rego(&repository, "1.1.0", 21);
        repository.commit();
        let ended = repository.release(&hub, &[]);
        assert_eq!(ended.is(0, "success").outcomes(), ["shop@v1.1.0 published"]);
        assert!(ended.lines("warnings")[0].starts_with("shop@v1.0.0 was changed in git after it was delivered"), "{ended:?}");
        assert_eq!(get_version(&client, "shop", 1).await.digest, published.digest);
    }

    /// A draft that a killed release left is gone on with: its digest is that of the folder.
    async fn a_draft_of_several_files_is_gone_on_with(hub: Hub) {
        let client = hub.client().await;
        let repository = Repository::new();
        rego(&repository, "1.0.0", 20);
        let commit = repository.commit();
        let made = policyhub(&repository, &hub, "draft other policies/shop/v1.0.0/policy-definition --create");
        assert_eq!(made.code, 0, "{made:?}");
        let content = get_version(&client, "other", 1).await.content;
        let left = policyhub::client::pb::DraftRequest {
            content,
            content_type: "application/x-tar".to_owned(),
            kind: policyhub::client::pb::PolicyKind::Rego.into(),
            label: "1.0.0".to_owned(),
            change_note: format!("released from git commit {commit}"),
            annotations: Repository::annotations(),
            ..draft_request("shop", "")
        };
        client.draft(left).await.expect("a draft");
        assert_eq!(repository.release(&hub, &[]).is(0, "success").outcomes(), ["shop@v1.0.0 published"]);
        assert_eq!(get_version(&client, "shop", "v1.0.0").await.version, 1);
    }
}

/// Each folder that can't be a content is named with its file, and the others are released.
#[tokio::test]
async fn folders_that_can_not_be_a_content_are_named() {
    let hub = Hub::start(Database::Sqlite).await;
    let repository = Repository::new();
    rego(&repository, "1.0.0", 20);
    let file = |policy: &str, name: &str, text: &str| {
        repository.metadata(policy, "1.0.0");
        repository.write(format!("policies/{policy}/v1.0.0/policy-definition/{name}"), text);
    };
    file("empty", ".keep", "");
    file("kindless", "notes.txt", "x");
    file("long", &format!("{}/a.rego", ["d".repeat(70), "e".repeat(70), "f".repeat(70)].join("/")), "package a");
    file("cases", "a.rego", "package a");
    file("cases", "A.rego", "package a");
    file("both", "a.rego", "package a");
    repository.write("policies/both/v1.0.0/policy-definition.rego", "package a");
    file("bad", "a.rego", "package a\nallow if {");
    let large = "#".repeat(1024 * 1024);
    file("large", "a.rego", &large);
    file("large", "b.rego", "#");
    repository.commit();
    let ended = repository.release(&hub, &[]);
    ended.is(3, "partial");
    for (name, error) in [
        ("empty@v1.0.0", "policy-definition can't be a content: it has no files"),
        ("kindless@v1.0.0", "the names of its files do not say their language"),
        ("long@v1.0.0", "can't be a content: "),
        ("cases@v1.0.0", "policy-definition/a.rego can't be a content: "),
        ("both@v1.0.0", "both policy-definition.rego and policy-definition are there"),
        ("bad@v1.0.0", "VALIDATION_FAILED"),
        ("large@v1.0.0", "policy-definition has 1048577 bytes, over 1048576"),
    ] {
        assert!(ended.error_of(name).contains(error), "{name}: {}", ended.error_of(name));
    }
    assert_eq!(repository.delivered_names(), ["shop@v1.0.0"]);
}

/// `adopt` reads the same folders from the disk, and makes the same content of them.
#[tokio::test]
async fn a_folder_of_files_is_adopted() {
    let hub = Hub::start(Database::Sqlite).await;
    let repository = Repository::new();
    rego(&repository, "1.0.0", 20);
    let adopted = policyhub(&repository, &hub, "adopt policies --as system");
    assert_eq!(adopted.code, 0, "{adopted:?}");
    let drafted = policyhub(&repository, &hub, "draft copy policies/shop/v1.0.0/policy-definition --create");
    assert_eq!(drafted.code, 0, "{drafted:?}");
    let client = hub.client().await;
    let (shop, copy) = (get_version(&client, "shop", 1).await, get_version(&client, "copy", 1).await);
    assert_eq!((shop.digest, shop.content_type), (copy.digest, copy.content_type));
}
