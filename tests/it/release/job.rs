//! What a continuous integration job needs: other folders, pushes, tags, annotations, outputs, and concurrent releases.

use std::process::{Command, Stdio};

use policyhub::client::pb;

use super::repository::{CommandEnd, Repository, away_from_github};
use crate::harness::calls::{create, get_version, policy};
use crate::harness::{Database, Hub, on_both_databases};

/// Releases that are tried until a draft of one is ended in time: without a bound, a test that never hits it would not end.
const ATTEMPTS_MAX: usize = 100;

on_both_databases! {
    async fn what_is_no_version_folder_stops_nothing(hub: Hub) {
        let client = hub.client().await;
        let repository = Repository::new();
        repository.version("p", "1.0.0", "a: 1");
        repository.write("policies/p/vendor/metadata.json", "{}");
        repository.write("policies/p/vv1.0.0/metadata.json", "{}");
        repository.write("policies/p/values.yaml", "a: 1");
        repository.write("policies/p/v1-notes.md", "about");
        std::os::unix::fs::symlink("v1.0.0", repository.path.join("policies/p/latest")).expect("a link");
        let first = repository.commit();
        assert_eq!(repository.release(&hub, &[]).is(0, "success").outcomes(), ["p@v1.0.0 published"]);
        assert_eq!(repository.baseline(), first);

        // Changed files that belong to no version: neither removed nor released.
        repository.write("policies/p/values.yaml", "a: 2");
        repository.write("policies/p/v1-notes.md", "more");
        repository.write("policies/p/vendor/metadata.json", "[]");
        let second = repository.commit();
        let ended = repository.release(&hub, &[]);
        assert_eq!((ended.is(0, "success").outcomes().len(), ended.lines("notes")), (0, Vec::new()));
        assert_eq!(repository.baseline(), second);

        // With a byte order mark, as some editors write it.
        repository.write("policies/p/v1.1.0/metadata.json", "\u{feff}{\"name\": \"p\", \"version\": \"1.1.0\"}");
        repository.write("policies/p/v1.1.0/policy-definition.yml", "a: 2");
        repository.commit();
        assert_eq!(repository.release(&hub, &[]).is(0, "success").outcomes(), ["p@v1.1.0 published"]);
        assert_eq!(get_version(&client, "p", "v1.1.0").await.content_type, "application/yaml");
    }

    async fn policies_may_lie_elsewhere_with_a_state_of_their_own(hub: Hub) {
        let repository = Repository::new();
        repository.version("p", "1.0.0", "a: 1");
        for (folder, policy) in [("config/rules", "q"), ("config/rules-of-others", "r")] {
            let metadata = format!(r#"{{"name": "{policy}", "version": "1.0.0"}}"#);
            repository.write(format!("{folder}/{policy}/v1.0.0/metadata.json"), metadata);
            repository.write(format!("{folder}/{policy}/v1.0.0/policy-definition.json"), "{}");
        }
        let commit = repository.commit();
        let ended = repository.release(&hub, &["--path", "config/rules/", "--commit"]);
        assert_eq!(ended.is(0, "success").outcomes(), ["q@v1.0.0 published"]);
        assert_eq!(ended.json()["versions"][0]["file"], "config/rules/q/v1.0.0/policy-definition.json");
        let committed = repository.git(&["show", "--format=", "--name-only"]);
        assert_eq!(committed, "config/rules/.state/baseline.sha\nconfig/rules/.state/delivered.json");
        assert_eq!(repository.baseline(), "", "the state of the other folders is theirs");
        let head = repository.head();
        repository.release(&hub, &["--path", "config/rules", "--commit"]).is(0, "success");
        assert_eq!(repository.head(), head, "a commit of .state is no change to release");
        assert_eq!(repository.release(&hub, &[]).is(0, "success").outcomes(), ["p@v1.0.0 published"]);
        assert_ne!(repository.head(), commit);

        for (path, error) in [("../x", "must be a folder below the top"), ("/etc", "must be a folder below the top"), ("absent", "has no folder \"absent\"")] {
            let ended = repository.release(&hub, &["--path", path]);
            assert!(ended.code != 0 && ended.stderr.contains(error), "{path}: {ended:?}");
        }
        let outside = tempfile::tempdir().expect("a directory");
        repository.remove("config/rules/.state");
        repository.git(&["rm", "-r", "--quiet", "--cached", "config/rules/.state"]);
        repository.commit();
        std::fs::rename(repository.path.join("config"), outside.path().join("config")).expect("moved");
        std::os::unix::fs::symlink(outside.path().join("config"), repository.path.join("config")).expect("a link");
        let ended = repository.release(&hub, &["--path", "config/rules"]);
        assert!(ended.code == 1 && ended.stderr.contains("is a symbolic link"), "{ended:?}");
    }

    async fn releases_at_once_report_each_only_what_they_published(hub: Hub) {
        let client = hub.client().await;
        let repository = Repository::new();
        for policy in ["p", "q", "r", "s"] {
            for label in ["1.0.0", "1.1.0", "1.2.0"] {
                repository.version(policy, label, &format!("policy: {policy}\nlabel: {label}"));
            }
        }
        repository.commit();
        let clones = [(); 3].map(|()| Repository::cloned(&repository, &[]));
        let children = clones.each_ref().map(|clone| {
            let mut command = clone.command(&hub, &["--jobs", "2", "--activate"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs")
        });
        let ended = children.map(|child| CommandEnd::of(&child.wait_with_output().expect("an end")));
        let count = |ended: &CommandEnd, name: &str| ended.json()["counts"][name].as_i64().expect("a number");
        let mut activated = 0;
        for one in &ended {
            assert_eq!(count(one.is(0, "success"), "published") + count(one, "already_there"), 12, "{one:?}");
            activated += usize::from(!one.json()["activation"].is_null());
        }
        let published: i64 = ended.iter().map(|one| count(one, "published")).sum();
        assert_eq!(published, 12, "each version is published by one of them: {ended:#?}");
        let all = crate::harness::calls::events(&client, crate::harness::calls::NAMESPACE, 0).await;
        let activations = all.iter().filter(|event| event.kind() == pb::EventKind::Activate).count();
        assert_eq!(activated, activations, "each activation is told by the one that did it");
    }

    async fn a_draft_that_somebody_ended_meanwhile_is_made_again(hub: Hub) {
        let client = hub.client().await;
        let repository = Repository::new();
        let mut ended = 0;
        // The moment between a draft and its publication is short: try until it was hit.
        for number in 0..ATTEMPTS_MAX {
            let id = format!("p{number}");
            repository.version(&id, "1.0.0", "a: 1");
            repository.commit();
            let mut command = repository.command(&hub, &[]);
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
            let name = format!("{}/versions/1", policy(&id));
            while ended == 0 && child.try_wait().expect("a child").is_none() {
                let abandon = pb::AbandonDraftRequest { name: name.clone(), ..Default::default() };
                ended += usize::from(client.abandon_draft(abandon).await.is_ok());
            }
            let received = CommandEnd::of(&child.wait_with_output().expect("an end"));
            assert_eq!(received.is(0, "success").outcomes(), [format!("{id}@v1.0.0 published")]);
            if ended > 0 {
                assert_eq!(get_version(&client, &id, "2").await.label, "1.0.0");
                return;
            }
        }
        panic!("no draft was ended between its beginning and its publication");
    }
}

#[tokio::test]
async fn what_two_runners_pushed_is_merged_and_tagged() {
    let hub = Hub::start(Database::Sqlite).await;
    let (remote, one) = Repository::with_remote();
    one.version("p", "1.0.0", "a: 1");
    let first = one.commit();
    one.git(&["push", "--quiet", "--set-upstream", "origin", "main"]);
    let clone = |branch: &str| {
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = Command::new("git");
        command.args(["clone", "--quiet", "--branch", branch]).arg(remote.path()).arg(directory.path());
        assert!(command.status().expect("git runs").success());
        directory
    };
    let two = Repository::cloned(&one, &[]);
    two.git(&["remote", "set-url", "origin", &remote.path().display().to_string()]);

    let ended = one.release(&hub, &["--push", "--tag"]);
    assert_eq!(ended.is(0, "success").lines("notes")[1..], ["1 tag was made"]);
    // The other release began with the same commit, and has another version by now.
    two.version("q", "1.0.0", "a: 1");
    let second = two.commit();
    two.write("unsaved", "work");
    two.git(&["add", "unsaved"]);
    let ended = two.release(&hub, &["--push", "--tag"]);
    assert_eq!(ended.is(0, "success").outcomes(), ["p@v1.0.0 already there", "q@v1.0.0 published"]);
    assert_eq!(two.git(&["diff", "--cached", "--name-only"]), "unsaved", "what was staged stays so");

    let pushed = clone("main");
    let read = |path: &str| std::fs::read_to_string(pushed.path().join(path)).expect("text");
    let delivered: serde_json::Value = serde_json::from_str(&read(".state/delivered.json")).expect("JSON");
    let names: Vec<&String> = delivered["versions"].as_object().expect("versions").keys().collect();
    assert_eq!(names, ["p@v1.0.0", "q@v1.0.0"]);
    assert_eq!(read(".state/baseline.sha").trim(), second, "the later of the two");
    assert!(!pushed.path().join("unsaved").exists() && pushed.path().join("policies/q").exists());
    let tags = |at: &std::path::Path| {
        let mut command = Command::new("git");
        let output = command.arg("-C").arg(at).args(["for-each-ref", "--format=%(refname) %(objectname)", "refs/tags"]);
        String::from_utf8(output.output().expect("git runs").stdout).expect("UTF-8")
    };
    let expected = format!("refs/tags/p/v1.0.0 {first}\nrefs/tags/q/v1.0.0 {second}\n");
    assert_eq!(tags(remote.path()), expected, "each at the commit that was released");

    // With nothing to do, nothing is pushed; and when another person's work conflicts, nothing is lost.
    let head = two.head();
    two.release(&hub, &["--push", "--tag"]).is(0, "success");
    assert_eq!((two.head(), tags(remote.path())), (head, expected));
    one.git(&["remote", "set-url", "origin", "/nowhere"]);
    one.version("p", "1.1.0", "a: 1");
    one.commit();
    let ended = one.release(&hub, &["--push"]);
    let problem = ended.is(3, "partial").lines("problems").join("");
    assert!(
        problem.starts_with("failed to push; what is committed and tagged stays, push it by hand: git "),
        "{problem}"
    );
    assert!(!problem.contains('\n'), "the words of git are on the same line: {problem}");
}

#[tokio::test]
async fn a_job_on_github_is_told_files_and_values_and_failures_once() {
    let hub = Hub::start(Database::Sqlite).await;
    let client = hub.client().await;
    let settings = pb::PolicySettings { json_schema: r#"{"type": "object"}"#.to_owned(), ..Default::default() };
    create(&client, "schema", pb::PolicyKind::Yaml, settings).await;
    let repository = Repository::new();
    repository.version("good", "1.0.0", "a: 1");
    repository.version("broken", "1.0.0", "a: 1\nb: [");
    repository.version("schema", "1.0.0", "[]");
    repository.write("policies/named/v1.0.0/metadata.json", "{\n\"name\": \"named\",\n}");
    repository.write("policies/named/v1.0.0/policy-definition.yaml", "a: 1");
    repository.write("policies/p/v1/metadata.json", "{}");
    let commit = repository.commit();
    let outputs = repository.path.join("outputs");
    std::fs::write(&outputs, "before=1\n").expect("written");
    let run = |arguments: &[&str]| {
        let mut command = hub.cli();
        away_from_github(&mut command).env("GITHUB_ACTIONS", "true").env("GITHUB_OUTPUT", &outputs);
        command.current_dir(&repository.path).arg("release").args(arguments).stdin(Stdio::null());
        CommandEnd::of(&command.output().expect("it runs"))
    };
    let ended = run(&[]);
    assert_eq!(ended.code, 3, "{ended:?}");
    let errors = [
        "::error file=policies/broken/v1.0.0/policy-definition.yaml,line=2,title=broken@v1.0.0::policy-definition does not parse at line 2: ",
        "::error file=policies/named/v1.0.0/metadata.json,line=3,title=named@v1.0.0::metadata.json: trailing comma",
        "::error file=policies/p/v1,title=policies/p/v1::label is not a SemVer",
        "::error file=policies/schema/v1.0.0/policy-definition.yaml,title=schema@v1.0.0::namespaces/default/policies/schema/versions/1 fails its check",
    ];
    for error in errors {
        assert_eq!(ended.stdout.matches(error).count(), 1, "{error}: {ended:#?}");
        let (_, why) = error.split_once("::").and_then(|(_, rest)| rest.split_once("::")).expect("words");
        assert!(!ended.stderr.contains(why), "failures are told once: {ended:#?}");
    }
    assert!(ended.stderr.contains("checked 4 of 4\n"), "it is not silent while it checks: {ended:#?}");
    let received = std::fs::read_to_string(&outputs).expect("text");
    let expected = format!(
        "before=1\nstatus=partial\ncommit={commit}\npublished=1\nfailed=4\nrevision=0\nversions=[\"good@v1.0.0\"]\n"
    );
    assert_eq!(received, expected);
    let ended = run(&["--output", "json"]);
    assert!(ended.json().is_object() && ended.stderr.contains("::error file=policies/broken/"), "{ended:#?}");
}
