//! What `policyhub check` and `policyhub guardrail test` do with contents that they can't read: a finding each, and the others are checked.

use std::os::unix::fs::symlink;
use std::process::Command;

use policyhub::client::pb;
use serde_json::Value;

use crate::check::{CEILING, Folder, ended, run};
use crate::harness::calls::{create, draft_of_its_kind, publish_request};
use crate::harness::guardrails::{guardrail, update_guardrails};
use crate::harness::on_both_databases;

const LIMIT: usize = 1024 * 1024;

/// A folder with contents of every kind that can't be read, and a good one.
fn unreadable() -> Folder {
    let folder = Folder::of(&[
        ("good.yaml", "max: 1\n"),
        ("large.yaml", &"x".repeat(LIMIT + 1)),
        ("latin.yaml", ""),
        ("linked/a.rego", "package a"),
        ("t/p/v1.0.0/metadata.json", r#"{"name":"p","version":"1.0.0","x":}"#),
        ("t/p/v1.0.0/policy-definition.yaml", "a: 1"),
        ("t/p/v1.1.0/policy-definition.yaml", "a: 1"),
        ("t/p/v1.2.0/metadata.json", r#"{"name":"p","version":"1.2.0"}"#),
        ("t/p/v1.2.0/policy-definition/b/a.rego", "package a"),
        ("t/p/v1.x/metadata.json", "{}"),
        ("t/q/v1.0.0/metadata.json", r#"{"name":"q","version":"1.0.0"}"#),
        ("t/q/v1.0.0/policy-definition.yaml", "a: 1"),
    ]);
    folder.write("t/p/v1.3.0/metadata.json", r#"{"name":"p","version":"1.3.0"}"#);
    folder.write("t/p/v1.3.0/policy-definition.yaml", &"x".repeat(LIMIT + 1));
    let path = |name: &str| folder.0.path().join(name);
    symlink("nowhere", path("dangling.yaml")).expect("a link");
    symlink("/etc/passwd", path("linked/b.rego")).expect("a link");
    symlink("/etc/passwd", path("t/p/v1.2.0/policy-definition/b/b.rego")).expect("a link");
    symlink("../q/v1.0.0", path("t/p/v3.0.0")).expect("a link");
    std::fs::write(path("latin.yaml"), b"a: \xe9\n").expect("written");
    for number in 0..257 {
        folder.write(&format!("many/{number}.rego"), "package a");
    }
    assert!(Command::new("mkfifo").arg(path("fifo.yaml")).status().expect("mkfifo runs").success());
    folder
}

/// Given a repository below a link that is named like a version, its version folders are found all the same.
#[test]
fn a_directory_above_that_is_named_like_a_version_hides_nothing() {
    let folder = Folder::of(&[
        ("real/policies/p/v1.0.0/metadata.json", r#"{"name":"p","version":"1.0.0"}"#),
        ("real/policies/p/v1.0.0/policy-definition.yaml", "a: 1"),
    ]);
    symlink("real", folder.0.path().join("v2.0.0")).expect("a link");
    let (stdout, _) = ended(&folder.run("check v2.0.0/policies"), 0);
    assert!(stdout.contains(" as p@v1.0.0"), "{stdout}");
    // A link in place of a policy is one that a release refuses.
    symlink("p", folder.0.path().join("real/policies/q")).expect("a link");
    let (stdout, _) = ended(&folder.run("check real/policies"), 1);
    assert!(stdout.contains("FAILED real/policies/q as q\nFAILED parse: is a symbolic link"), "{stdout}");
}

#[test]
fn what_can_not_be_read_is_a_finding_of_its_path() {
    let folder = unreadable();
    let line = "check large.yaml dangling.yaml fifo.yaml latin.yaml linked many t /dev/zero good.yaml";
    let (stdout, stderr) = ended(&folder.run(line), 1);
    let expected = [
        "FAILED large.yaml as large\nFAILED limits: content is over 1048576 bytes\n  hint: make several policies of it\n",
        "FAILED dangling.yaml as dangling\nFAILED parse: failed to read dangling.yaml: No such file",
        "FAILED fifo.yaml as fifo\nFAILED parse: failed to read fifo.yaml: it is not a regular file",
        "FAILED latin.yaml as latin\nFAILED parse",
        "FAILED linked as linked\nFAILED parse at b.rego: it is not a regular file: links are not followed\n",
        "FAILED many as many\nFAILED limits: over 256 files\n  hint: make several policies of it\n",
        "FAILED t/p/v1.0.0 as p@v1.0.0\nFAILED parse at metadata.json:1:1: metadata.json: ",
        "FAILED t/p/v1.1.0 as p@v1.1.0\nFAILED parse: metadata.json is missing\n",
        "FAILED t/p/v1.2.0 as p@v1.2.0\nFAILED parse at policy-definition/b/b.rego: it is not a regular file",
        "FAILED t/p/v1.3.0 as p@v1.3.0\nFAILED limits at policy-definition.yaml: policy-definition.yaml has 1048577 bytes",
        "FAILED t/p/v1.x as content\nFAILED parse: ",
        "FAILED t/p/v3.0.0 as content\nFAILED parse: is a symbolic link: it is not followed\n",
        "PASSED t/q/v1.0.0/policy-definition.yaml as q@v1.0.0\n",
        "FAILED /dev/zero as zero\nFAILED parse: failed to read /dev/zero: it is not a regular file",
        "PASSED good.yaml as good\n",
    ];
    for text in expected {
        assert!(stdout.contains(text), "{text}\nin {stdout}");
    }
    assert!(stderr.contains("13 of 15 contents can't be published"), "{stderr}");
    let (stdout, _) = ended(&folder.run(&format!("{line} --output sarif")), 1);
    let log: Value = serde_json::from_str(&stdout).expect("JSON");
    let results = log["runs"][0]["results"].as_array().expect("results");
    let uris: Vec<&str> = results
        .iter()
        .filter_map(|result| result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].as_str())
        .collect();
    for uri in [
        "large.yaml",
        "dangling.yaml",
        "linked/b.rego",
        "t/p/v1.0.0/metadata.json",
        "t/p/v1.2.0/policy-definition/b/b.rego",
    ] {
        assert!(uris.contains(&uri), "{uri} in {uris:?}");
    }
    let (stdout, _) = ended(&folder.run("check dangling.yaml good.yaml --output json"), 1);
    let document: Value = serde_json::from_str(&stdout).expect("JSON");
    let passed: Vec<&Value> =
        document["contents"].as_array().expect("contents").iter().map(|each| &each["passed"]).collect();
    assert_eq!(passed, [&Value::from(false), &Value::from(true)]);
}

/// A path that is not there is wrong on the command line, and so 2; but all others are checked, and the log has them.
#[test]
fn a_path_that_is_absent_is_told_after_the_others() {
    let folder = Folder::of(&[
        ("rules.yaml", CEILING),
        ("bad.yaml", "max: 40\n"),
        ("x", "a"),
        ("p/v1.0.0/metadata.json", r#"{"name":"p","version":"1.0.0"}"#),
        ("p/v1.0.0/policy-definition.yaml", "max: 1\n"),
    ]);
    ended(&folder.run("check p/v1.0.0/policy-definition.yaml"), 0);
    ended(&folder.run("check p/v1.0.0/policy-definition.yml"), 2);
    let (stdout, _) = ended(&folder.run("check absent.yaml x bad.yaml --rules rules.yaml --output sarif"), 2);
    let log: Value = serde_json::from_str(&stdout).expect("JSON");
    let results = log["runs"][0]["results"].as_array().expect("results");
    let found: Vec<(&str, &str)> = results
        .iter()
        .map(|result| {
            let uri = &result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
            (result["ruleId"].as_str().expect("an id"), uri.as_str().expect("a path"))
        })
        .collect();
    assert_eq!(found, [("parse", "absent.yaml"), ("parse", "x"), ("guardrails", "bad.yaml")]);
}

/// `guardrail test` ends as `check` does: what a file of rules names is a failure of the test, what the command line names is usage.
#[test]
fn a_test_of_guardrails_whose_content_can_not_be_read_fails_alone() {
    let tests = "tests: [{content: absent.yaml}, {content: fifo.yaml}, {content: good.yaml}]\n";
    let folder =
        Folder::of(&[("rules.yaml", &format!("{CEILING}{tests}")), ("good.yaml", "max: 1"), ("none.yaml", "{}")]);
    assert!(Command::new("mkfifo").arg(folder.0.path().join("fifo.yaml")).status().expect("mkfifo runs").success());
    let (stdout, stderr) = ended(&folder.run("guardrail test rules.yaml"), 1);
    let expected = "FAILED rules.yaml: absent.yaml is not tested\n  absent.yaml: failed to read it: No such file";
    assert!(stdout.starts_with(expected), "{stdout}");
    assert!(stdout.contains("fifo.yaml is not tested") && stdout.contains("it is not a regular file"), "{stdout}");
    assert!(stdout.ends_with("PASSED rules.yaml: good.yaml breaks nothing\n"), "{stdout}");
    assert!(stderr.contains("2 of 3 tests failed"), "{stderr}");
    let (stdout, stderr) = ended(&folder.run("guardrail test absent.yaml none.yaml rules.yaml"), 2);
    assert!(stdout.contains("PASSED rules.yaml: good.yaml"), "all others are tested: {stdout}");
    assert!(
        stderr.contains("absent.yaml: failed to read it") && stderr.contains("none.yaml: it has no tests"),
        "{stderr}"
    );
}

/// Names of files are anybody's: nothing in them reaches a terminal as more than text.
#[test]
fn names_move_no_cursor_and_colour_nothing() {
    let folder = Folder::of(&[("\u{1b}[31mred\u{1b}[2J.yaml", "a: [")]);
    for line in [
        "check \u{1b}[31mred\u{1b}[2J.yaml",
        "check \u{1b}[31mabsent\u{9b}.yaml",
        "check x --rules \u{1b}[31mabsent.yaml",
        "check x --rules \u{1b}[31mred\u{1b}[2J.yaml",
        "guardrail test \u{1b}[31mabsent.yaml",
        "guardrail test \u{1b}[31mred\u{1b}[2J.yaml",
        "draft p \u{1b}[31mabsent.yaml",
    ] {
        for colour in ["always", "never"] {
            let (stdout, stderr) = {
                let output = folder.run(&format!("{line} --color {colour}"));
                assert!([1, 2].contains(&output.status.code().expect("a code")));
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                (text(&output.stdout), text(&output.stderr))
            };
            let said = format!("{stdout}{stderr}");
            assert!(!said.contains("\u{1b}[31mred") && !said.contains("\u{1b}[31mabsent"), "{line:?}: {said:?}");
            assert!(!said.contains("\u{1b}[2J") && !said.contains('\u{9b}'), "{line:?}: {said:?}");
        }
    }
}

#[test]
fn the_kind_is_that_of_the_rules_and_a_name_that_is_no_id_is_said() {
    let folder = Folder::of(&[
        ("rules.yaml", "policies: {caps: {kind: yaml}, set: {kind: OPAQUE}}\ntests: [{content: caps, policy: caps}]"),
        ("caps", "max: ["),
        ("set", "\u{1}"),
        ("My.Caps.yaml", "max: 1"),
        ("caps.json", "{}"),
    ]);
    let (stdout, _) = ended(&folder.run("check caps --rules rules.yaml"), 1);
    assert!(stdout.contains("FAILED parse at 1:"), "it is read as YAML: {stdout}");
    ended(&folder.run("check set --rules rules.yaml"), 0);
    let (stdout, _) = ended(&folder.run("check caps --kind json --rules rules.yaml"), 2);
    assert!(stdout.contains("policy caps is of kind YAML, and --kind says JSON\n  hint: leave --kind out"), "{stdout}");
    let (stdout, _) = ended(&folder.run("check caps.json --rules rules.yaml"), 1);
    assert!(stdout.contains("FAILED parse: policy caps is of kind YAML: "), "a draft of it is refused: {stdout}");
    let (stdout, _) = ended(&folder.run("guardrail test rules.yaml"), 1);
    assert!(stdout.contains("caps:1:"), "the kind holds for tests too: {stdout}");
    folder.write("kindless.yaml", "tests: [{content: caps}]");
    let (stdout, _) = ended(&folder.run("guardrail test kindless.yaml"), 1);
    assert!(stdout.contains("caps is not tested\n  caps: its name does not say what it holds: "), "{stdout}");
    let (stdout, stderr) = ended(&folder.run("check My.Caps.yaml"), 0);
    assert_eq!(stdout, "PASSED My.Caps.yaml as content\n");
    assert!(stderr.contains("My.Caps.yaml is checked as policy content: its name is no id of a policy"), "{stderr}");
    let (_, stderr) = ended(&folder.run("check My.Caps.yaml --policy caps"), 0);
    assert!(!stderr.contains("checked as policy content"), "{stderr}");
}

on_both_databases! {
    /// Given a guardrail that came after a version was published, that version is history, and a new one is not.
    async fn what_a_server_has_published_is_not_checked_again(hub: Hub) {
        let client = hub.client().await;
        create(&client, "caps", pb::PolicyKind::Yaml, pb::PolicySettings::default()).await;
        let draft = pb::DraftRequest { label: "1.0.0".to_owned(), ..draft_of_its_kind("caps", "max: 40\n") };
        client.draft(draft).await.expect("a draft");
        client.publish(publish_request("caps", 1)).await.expect("a publication");
        let rules = vec![guardrail("ceiling", "content.max <= 20")];
        client.update_guardrails(update_guardrails("namespaces/default/guardrails", rules)).await.expect("guardrails");
        let folder = Folder::of(&[
            ("t/caps/v1.0.0/metadata.json", r#"{"name":"caps","version":"1.0.0"}"#),
            ("t/caps/v1.0.0/policy-definition.yaml", "max: 40\n"),
            ("caps.yaml", "max: 40\n"),
        ]);
        let check = |line: &str| run(hub.cli(), folder.0.path(), line);
        let (stdout, _) = ended(&check("check t"), 0);
        assert_eq!(stdout, "PUBLISHED t/caps/v1.0.0/policy-definition.yaml as caps@v1.0.0 already, so it is not checked again\n");
        let (stdout, _) = ended(&check("check t --output json"), 0);
        let document: Value = serde_json::from_str(&stdout).expect("JSON");
        assert_eq!((&document["contents"][0]["published"], &document["contents"][0]["passed"]), (&true.into(), &true.into()));
        ended(&check("check caps.yaml"), 1);
        folder.write("t/caps/v1.0.0/policy-definition.yaml", "max: 41\n");
        let (stdout, _) = ended(&check("check t"), 1);
        assert!(stdout.contains("FAILED guardrails at 1:6 at /max: ceiling: "), "other content is checked: {stdout}");
        let (stdout, _) = ended(&check("check caps.yaml --kind json"), 2);
        assert!(stdout.contains("policy caps is of kind YAML, and --kind says JSON"), "{stdout}");
    }
}
