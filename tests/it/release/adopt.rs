//! `policyhub adopt`: versions that existed before are imported with author and time, as a claim of the caller.

use std::process::Stdio;

use policyhub::client::signing::verify_bundle;
use policyhub::client::{Client, pb};
use prost_types::Timestamp;
use tonic::Code;

use super::repository::{CommandEnd, Repository};
use crate::harness::archives::{self, parts, send, verified};
use crate::harness::callers::{caller, grant};
use crate::harness::calls::{
    NAMESPACE, Revision as _, draft_request, events, get, get_version, policy, publish_request, refused,
    refused_fields, rollback_request, set, trust,
};
use crate::harness::{Database, Hub, on_both_databases};

const MARCH: i64 = 1_709_251_200;

fn system(seconds: Option<i64>) -> pb::Adopted {
    let create_time = seconds.map(|seconds| Timestamp { seconds, nanos: 0 });
    pb::Adopted { author: "system".to_owned(), create_time }
}

fn request(content: &str, adopted: pb::Adopted) -> pb::DraftRequest {
    pb::DraftRequest { label: "1.0.0".to_owned(), adopted: Some(adopted), ..draft_request("p", content) }
}

async fn published(client: &Client, content: &str, adopted: pb::Adopted) -> pb::Version {
    let drafted = client.draft(request(content, adopted)).await.expect("a draft").version.expect("a version");
    client.publish(publish_request("p", drafted.version)).await.expect("a publication");
    get_version(client, "p", drafted.version).await
}

fn adopt(hub: &Hub, repository: &Repository, arguments: &[&str]) -> CommandEnd {
    let mut command = hub.cli();
    command.current_dir(&repository.path).stdin(Stdio::null()).args(["adopt", "policies", "--output", "json"]);
    CommandEnd::of(&command.args(arguments).output().expect("it runs"))
}

/// Commits with this author and this time.
fn commit(repository: &Repository, author: &str, time: &str) {
    repository.commit();
    let author = format!("--author={author} <{author}@example.com>");
    repository.git(&["commit", "--quiet", "--amend", "--no-edit", &author, &format!("--date={time}")]);
}

on_both_databases! {
    /// The claim is shown beside the author and time of this store, everywhere: in the answer, the manifest, the log, and a copy of the
    /// namespace.
    async fn an_adopted_version_says_who_wrote_it(hub: Hub) {
        let client = hub.client().await;
        let kept = published(&client, "a: 1", system(Some(MARCH))).await;
        assert_eq!(kept.adopted, Some(system(Some(MARCH))));
        let now = kept.create_time.expect("a time").seconds;
        assert!(kept.author == "local:admin" && now > MARCH, "what happened here is not pretended away: {kept:?}");
        let manifest = verify_bundle(&kept.manifest, &kept.content, &trust(&client).await.keys).expect("a manifest");
        let adopted = manifest.adopted.expect("an adoption");
        assert_eq!((adopted.author(), adopted.create_time().map(|time| time.seconds())), ("system", Some(MARCH)));
        assert_eq!(manifest.author, "local:admin");
        let log = events(&client, NAMESPACE, 0).await;
        let drafted = log.iter().find(|event| event.kind() == pb::EventKind::Draft).expect("the event of the draft");
        assert_eq!((drafted.actor.as_str(), &drafted.versions[0].adopted), ("local:admin", &kept.adopted));

        let files = [("manifest", kept.manifest.as_bytes()), ("content", &kept.content[..])].map(|(name, bytes)| {
            let path = hub.dir.path().join(name);
            std::fs::write(&path, bytes).expect("written");
            path.display().to_string()
        });
        let (_, keys, _) = archives::run(hub.cli(), &["keys", "list", "--jwks"]);
        let jwks = hub.dir.path().join("keys.json").display().to_string();
        std::fs::write(&jwks, keys).expect("written");
        let offline = ["verify", "--jwks", &jwks, "--manifest", &files[0], "--content", &files[1]];
        let (_, text, _) = archives::run(hub.cli(), &offline);
        assert!(text.contains(", written by system at 2024-03-01T00:00:00Z as local:admin says"), "{text}");
        let (_, json, _) = archives::run(hub.cli(), &[&offline[..], &["--output", "json"]].concat());
        let document: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(document["adopted"]["author"], "system", "{document}");

        // A copy is made in this store, and names its source version.
        let copy = pb::RollbackRequest { mode: pb::RollbackMode::CopyForward.into(), ..rollback_request("p", 1) };
        client.rollback(copy).await.expect("a copy");
        let copy = get_version(&client, "p", 2).await;
        assert_eq!((copy.source_version, &copy.adopted), (1, &None));

        let file = archives::export(&hub, "default", "p.jsonl");
        let target = archives::make(&client, "copy").await;
        send(&client, &parts(&file, &target)).await.expect("an import");
        let name = format!("{target}/policies/p/versions/1");
        let request = pb::GetVersionRequest { name, view: pb::VersionView::Full.into() };
        let imported = client.get_version(request).await.expect("a version").version.expect("a version");
        assert_eq!(imported.adopted, kept.adopted);
        assert!(verified(&client, &target).await.valid && verified(&client, NAMESPACE).await.valid);
    }

    /// Only an admin may claim an author, with a time that is not in the future and within limits.
    async fn an_adoption_is_an_admins_claim_about_the_past(hub: Hub) {
        let admin = hub.client().await;
        grant(&admin, "dev", pb::Role::Author, NAMESPACE).await;
        let dev = caller(&hub, "dev").await;
        let denied = refused(
            dev.draft(request("a: 1", system(None))).await,
            Code::PermissionDenied,
            "PERMISSION_DENIED",
        );
        assert_eq!(denied.metadata().get("permission").map(String::as_str), Some("administer"), "{denied:?}");
        let ahead = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time").as_secs() + 3_600;
        let long = pb::Adopted { author: "a".repeat(257), create_time: None };
        for (adopted, field) in [
            (system(Some(i64::try_from(ahead).expect("seconds"))), "adopted.create_time"),
            (system(Some(-1)), "adopted.create_time"),
            (system(Some(i64::MAX)), "adopted.create_time"),
            (pb::Adopted::default(), "adopted.author"),
            (pb::Adopted { author: "\u{1b}[2J".to_owned(), create_time: None }, "adopted.author"),
            (long, "adopted.author"),
        ] {
            refused_fields(admin.draft(request("a: 1", adopted)).await, &[field]);
        }
        let get = pb::GetPolicyRequest { name: policy("p") };
        refused(admin.get_policy(get).await, Code::NotFound, "POLICY_NOT_FOUND");
    }

    /// The claim never changes: not by a second draft of the label, not in the database.
    async fn an_adoption_never_changes(hub: Hub) {
        let client = hub.client().await;
        let kept = published(&client, "a: 1", system(Some(MARCH))).await;
        for same in [Some(system(Some(MARCH))), None] {
            let again = pb::DraftRequest { adopted: same, ..request("a: 1", system(None)) };
            let answer = client.draft(again).await.expect("the one that is there");
            assert_eq!((answer.cursor.revision(), answer.version.expect("a version").version), (0, kept.version));
        }
        let other = client.draft(request("a: 1", system(None))).await;
        let error = refused(other, Code::AlreadyExists, "LABEL_CONTENT_CONFLICT");
        assert!(error.message().contains("another adoption"), "{error}");
        let error = hub.try_tamper("UPDATE versions SET adopted = NULL WHERE number = 1").expect_err("a published row");
        assert!(error.contains("are immutable"), "{error}");
        let next = pb::DraftRequest { label: "1.1.0".to_owned(), ..request("a: 2", system(None)) };
        client.draft(next).await.expect("a draft");
        for to in ["NULL", "'{\"author\":\"local:ciso\"}'"] {
            hub.tamper(&format!("UPDATE versions SET adopted = {to} WHERE number = 2"));
            refused(client.publish(publish_request("p", 2)).await, Code::DataLoss, "DATA_LOSS");
        }
    }

    /// Given a folder with a git history, each version is adopted once, with git's author and time, and nothing is in force.
    async fn a_folder_is_adopted_once(hub: Hub) {
        let client = hub.client().await;
        let repository = Repository::new();
        repository.version("p", "1.0.0", "a: 1");
        commit(&repository, "Ann", "2024-03-01T00:00:00Z");
        repository.version("p", "1.10.0", "a: 3");
        repository.version("q", "0.1.0", "b: 1");
        commit(&repository, "Bob", "2024-04-01T00:00:00Z");
        repository.version("p", "1.9.0", "a: 2");
        // Rewritten later: the time stays that of the first content.
        repository.version("p", "1.0.0", "a: one");
        commit(&repository, "Ann", "2024-05-01T00:00:00Z");
        let rehearsed = adopt(&hub, &repository, &["--times-from", "git", "--dry-run"]);
        rehearsed.is(0, "success");
        assert_eq!(rehearsed.json()["counts"]["would_publish"], 4);
        let asked = pb::ListPoliciesRequest { parent: NAMESPACE.to_owned(), ..Default::default() };
        assert!(client.list_policies(asked).await.expect("a list").policies.is_empty());

        adopt(&hub, &repository, &["--times-from", "git"]).is(0, "success");
        for (id, label, content, author, seconds) in [
            ("p", "v1.0.0", "a: one", "Ann", MARCH),
            ("p", "v1.9.0", "a: 2", "Ann", 1_714_521_600),
            ("p", "v1.10.0", "a: 3", "Bob", 1_711_929_600),
            ("q", "v0.1.0", "b: 1", "Bob", 1_711_929_600),
        ] {
            let found = get_version(&client, id, label).await;
            let create_time = Some(Timestamp { seconds, nanos: 0 });
            assert_eq!(found.adopted, Some(pb::Adopted { author: author.to_owned(), create_time }), "{label}");
            assert_eq!((&found.content[..], found.state()), (content.as_bytes(), pb::VersionState::Published));
            assert_eq!(found.annotations, Repository::annotations());
        }
        assert_eq!(get(&client, "p").await.active_version, 0, "nothing is put in force");
        let before = crate::harness::calls::head(&client).await;
        let again = adopt(&hub, &repository, &["--as", "system"]);
        again.is(0, "success");
        assert_eq!(again.json()["counts"]["already_there"], 4);
        assert_eq!(crate::harness::calls::head(&client).await, before, "and nothing was written");
        let (_, text, _) = archives::run(hub.cli(), &["history", "p"]);
        assert!(text.contains("PUBLISHED (adopted)") && text.contains("Ann at 2024-03-01T00:00:00Z"), "{text}");
        let (_, _, about) = archives::run(hub.cli(), &["show", "p@v1.0.0"]);
        assert!(about.contains("written by Ann at 2024-03-01T00:00:00Z; adopted by local:admin at "), "{about}");
        let (_, text, _) = archives::run(hub.cli(), &["events", "--policy", "q"]);
        assert!(text.contains("q@1 DRAFT (written by Bob at 2024-04-01T00:00:00Z)"), "{text}");
    }
}

#[tokio::test]
async fn two_who_adopt_at_once_publish_each_version_once() {
    let hub = Hub::start(Database::Sqlite).await;
    let repository = Repository::new();
    for number in 0..12 {
        repository.version(&format!("p{}", number % 3), &format!("1.{number}.0"), &format!("a: {number}"));
    }
    let children = [(); 3].map(|()| {
        let mut command = hub.cli();
        command.current_dir(&repository.path).args(["adopt", "policies", "--as", "system", "--output", "json"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs")
    });
    let mut published = 0;
    for child in children {
        let ended = CommandEnd::of(&child.wait_with_output().expect("an end"));
        let counts = ended.is(0, "success").json()["counts"].clone();
        let [new, there] = ["published", "already_there"].map(|name| counts[name].as_i64().expect("a number"));
        assert_eq!(new + there, 12, "{ended:?}");
        published += new;
    }
    assert_eq!(published, 12);
}

#[tokio::test]
async fn times_come_from_files_or_a_list_or_are_not_known() {
    let hub = Hub::start(Database::Sqlite).await;
    let client = hub.client().await;
    let repository = Repository::new();
    repository.commit();
    repository.commit();
    for label in ["1.0.0", "1.1.0", "1.2.0"] {
        repository.version("p", label, &format!("a: {label:?}"));
    }
    let ended = adopt(&hub, &repository, &["--as", "system", "--times-from", "git"]);
    ended.is(1, "failed");
    assert_eq!(ended.error_of("p@v1.0.0"), "no commit of git added it");
    repository.write("times.json", r#"{"p@v1.0.0": "2024-03-01T00:00:00.5Z", "p@v1.1.0": "yesterday"}"#);
    let ended = adopt(&hub, &repository, &["--as", "system", "--times-from", "times.json"]);
    ended.is(3, "partial");
    assert!(ended.error_of("p@v1.1.0").starts_with("its time in the list must be a time"), "{ended:?}");
    assert_eq!(ended.error_of("p@v1.2.0"), "the list of times does not name it");
    assert_eq!(get_version(&client, "p", "v1.0.0").await.adopted, Some(system(Some(MARCH))));
    let file = repository.path.join("policies/p/v1.1.0/policy-definition.yaml");
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(MARCH.unsigned_abs());
    std::fs::File::options().write(true).open(file).and_then(|file| file.set_modified(at)).expect("a time of a file");
    repository.remove("policies/p/v1.2.0");
    adopt(&hub, &repository, &["--as", "system", "--times-from", "mtime"]).is(0, "success");
    assert_eq!(get_version(&client, "p", "v1.1.0").await.adopted, Some(system(Some(MARCH))));
    repository.version("p", "1.1.5", "a: 4");
    let ended = adopt(&hub, &repository, &["--as", "system", "--times-from", "metadata"]);
    assert_eq!(ended.error_of("p@v1.1.5"), "its metadata.json has no createTime");
    let metadata = r#"{"name": "p", "version": "1.1.5", "createTime": "2024-02-29T16:00:00-08:00"}"#;
    repository.write("policies/p/v1.1.5/metadata.json", metadata);
    adopt(&hub, &repository, &["--as", "system", "--times-from", "metadata"]);
    assert_eq!(get_version(&client, "p", "v1.1.5").await.adopted, Some(system(Some(MARCH))));
    repository.version("p", "1.2.0", "a: 3");
    repository.write("policies/p/v1.2.0/metadata.json", r#"{"name": "p", "version": "1.2.0", "my text": "x"}"#);
    let ended = adopt(&hub, &repository, &["--as", "system"]);
    assert_eq!(
        ended.is(0, "success").lines("warnings"),
        ["p@v1.2.0: not kept as annotations, since names or values do not fit (see docs/release.md): my text"]
    );
    assert_eq!(get_version(&client, "p", "v1.2.0").await.adopted, Some(system(None)));
    repository.commit();
    let shallow = Repository::cloned(&repository, &["--depth", "1"]);
    let ended = adopt(&hub, &shallow, &["--as", "system", "--times-from", "git"]);
    assert!(ended.code == 1 && ended.stderr.contains("git fetch --unshallow"), "{ended:?}");
    for arguments in [&["--times-from", "mtime"][..], &[], &["--as", "system", "--times-from", "gone.json"]] {
        let ended = adopt(&hub, &repository, arguments);
        assert_eq!(ended.code, if arguments.len() == 4 { 1 } else { 2 }, "{ended:?}");
    }
}

#[tokio::test]
async fn what_can_not_be_adopted_is_named_and_the_rest_goes_on() {
    let hub = Hub::start(Database::Sqlite).await;
    let client = hub.client().await;
    let repository = Repository::new();
    repository.version("good", "1.0.0", "a: 1");
    repository.version("taken", "1.0.0", "a: 1");
    repository.version("broken", "1.0.0", "a: [");
    repository.version("Upper", "1.0.0", "a: 1");
    repository.version("waits", "1.0.0", "a: 1");
    repository.version("late", "1.0.0", "a: 1");
    std::os::unix::fs::symlink("good", repository.path.join("policies/linked")).expect("a link");
    std::os::unix::fs::symlink("/etc/passwd", repository.path.join("policies/good/v1.0.0/more")).expect("a link");
    repository.version("good", "1.1.0", "a: 2");
    let labelled = pb::DraftRequest { label: "1.0.0".to_owned(), ..draft_request("taken", "a: other") };
    client.draft(labelled).await.expect("a draft");
    client.publish(publish_request("taken", 1)).await.expect("a publication");
    let newer = pb::DraftRequest { label: "2.0.0".to_owned(), ..draft_request("late", "a: 2") };
    client.draft(newer).await.expect("a draft");
    client.publish(publish_request("late", 1)).await.expect("a publication");
    client.draft(draft_request("waits", "a: 0")).await.expect("a policy");
    set(&client, "waits", pb::PolicySettings { required_approvals: 1, ..Default::default() }).await;
    let ended = adopt(&hub, &repository, &["--as", "system"]);
    ended.is(3, "partial");
    let outcomes = ended.outcomes();
    for (name, outcome, error) in [
        ("broken@v1.0.0", "failed", "policy-definition does not parse"),
        ("good@v1.0.0", "failed", "is a symbolic link: neither is followed"),
        ("good@v1.1.0", "published", ""),
        ("late@v1.0.0", "failed", "`policyhub policy update late --allow-backport true`"),
        ("policies/Upper/v1.0.0", "failed", "policy id must match"),
        ("policies/linked", "failed", "is a symbolic link or a submodule"),
        ("taken@v1.0.0", "failed", "version 1 has this label and other content"),
        ("waits@v1.0.0", "failed", "then adopt again"),
    ] {
        assert!(outcomes.contains(&format!("{name} {outcome}")), "{name}: {outcomes:?}");
        assert!(ended.error_of(name).contains(error), "{name}: {ended:?}");
    }
    assert_eq!((outcomes.len(), get(&client, "late").await.latest_version), (8, 1), "and no number was used up");
    let waiting = get_version(&client, "waits", "v1.0.0").await;
    assert_eq!((waiting.state(), waiting.adopted), (pb::VersionState::Staged, Some(system(None))));
    let empty = Repository::new();
    empty.write("policies/README", "nothing");
    assert_eq!(adopt(&hub, &empty, &["--as", "system"]).code, 1);
}
