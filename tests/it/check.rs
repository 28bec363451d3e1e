//! `policyhub check` and `policyhub guardrail test`: the checks of a server, before one is asked; and what people see of findings.

use std::path::Path;
use std::process::{Command, Output};

use policyhub::client::pb;
use policyhub::client::pb::PolicyKind::Yaml;
use serde_json::Value;

use crate::harness::calls::{activate, create, draft_of_its_kind, publish_request};
use crate::harness::guardrails::{guardrail, update_guardrails};
use crate::harness::hub::binary;
use crate::harness::{metrics, on_both_databases};

pub const CEILING: &str = "guardrails:\n  - id: ceiling\n    expression: content.max <= 20\n    severity: DENY\n    \
                       message: '{content.max} is over 20'\n";

pub struct Folder(pub tempfile::TempDir);

impl Folder {
    pub fn of(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().expect("a directory"));
        for (path, text) in files {
            folder.write(path, text);
        }
        folder
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("written");
    }

    pub fn run(&self, line: &str) -> Output {
        run(binary(), self.0.path(), line)
    }
}

pub fn run(mut command: Command, folder: &Path, line: &str) -> Output {
    command.current_dir(folder).env("HOME", folder).args(line.split_whitespace()).output().expect("it runs")
}

/// Checks the exit code, and returns stdout and stderr.
#[track_caller]
pub fn ended(output: &Output, code: i32) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{stdout}{stderr}");
    (stdout, stderr)
}

#[test]
fn a_bad_content_fails_with_its_line_under_a_mark() {
    let folder =
        Folder::of(&[("rules.yaml", CEILING), ("good.yaml", "max: 20\n"), ("bad.yaml", "# cap\nmax: 40 # much\n")]);
    let (stdout, _) = ended(&folder.run("check good.yaml --rules rules.yaml"), 0);
    assert_eq!(stdout, "PASSED good.yaml as good\n");
    let (stdout, stderr) = ended(&folder.run("check good.yaml bad.yaml --rules rules.yaml"), 1);
    let expected = "PASSED good.yaml as good\nFAILED bad.yaml as bad\n\
                    FAILED guardrails at 2:6 at /max: ceiling: 40 is over 20\n --> bad.yaml:2:6\n  |\n2 | max: 40 # much\n  |      ^^\n  \
                    hint: the guardrail ceiling asks: content.max <= 20\n";
    assert_eq!(stdout, expected);
    assert!(stderr.contains("1 of 2 contents can't be published"), "{stderr}");
    let (stdout, stderr) = ended(&folder.run("check bad.yaml"), 0);
    assert!(stdout.starts_with("PASSED") && stderr.contains("no guardrails and no schemas"), "{stdout}{stderr}");
}

#[test]
fn findings_are_for_programs_and_for_code_hosts_too() {
    let folder = Folder::of(&[("rules.yaml", CEILING), ("a/bad.yaml", "max: 40\n"), ("broken.json", "{\"a\": }")]);
    let (stdout, _) = ended(&folder.run("check a/bad.yaml broken.json --rules rules.yaml --output json"), 1);
    let document: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(
        (&document["contents"][0]["path"], &document["contents"][0]["passed"]),
        (&"a/bad.yaml".into(), &false.into())
    );
    let checks = document["contents"][1]["report"]["checks"].as_array().expect("checks");
    assert_eq!((&checks[1]["id"], &checks[1]["findings"][0]["line"]), (&"parse".into(), &1.into()));
    let (stdout, _) = ended(&folder.run("check a/bad.yaml broken.json --rules rules.yaml --output sarif"), 1);
    let log: Value = serde_json::from_str(&stdout).expect("JSON");
    let results = log["runs"][0]["results"].as_array().expect("results");
    let places: Vec<(&str, &str, i64)> = results
        .iter()
        .map(|result| {
            let place = &result["locations"][0]["physicalLocation"];
            (
                result["ruleId"].as_str().expect("an id"),
                place["artifactLocation"]["uri"].as_str().expect("a path"),
                place["region"]["startColumn"].as_i64().expect("a column"),
            )
        })
        .collect();
    assert_eq!(places, [("guardrails", "a/bad.yaml", 6), ("parse", "broken.json", 7)]);
    let (_, stderr) = ended(&folder.run("guardrail test rules.yaml --output sarif"), 2);
    assert!(stderr.contains("sarif is for check and report"), "{stderr}");
}

#[test]
fn a_tree_of_releases_is_checked_as_a_release_sends_it() {
    let metadata =
        |policy: &str, version: &str, more: &str| format!("{{\"name\":\"{policy}\",\"version\":\"{version}\"{more}}}");
    let requires = ",\"requires\":[{\"policy\":\"fees\",\"version_req\":\"^1\"}]";
    let folder = Folder::of(&[
        ("policies/fees/v1.2.0/metadata.json", &metadata("fees", "1.2.0", "")),
        ("policies/fees/v1.2.0/policy-definition.json", "{\"rate\":1}"),
        ("policies/shop/v1.0.0/metadata.json", &metadata("shop", "1.0.0", requires)),
        ("policies/shop/v1.0.0/policy-definition.yaml", "fee:\n  source_pointer: fees#/rate\n"),
        ("policies/shop/v1.0.0/notes.txt", "x"),
        ("rules.yaml", "policies: {fees: {json_schema: fees.json}}"),
        ("fees.json", "{\"properties\":{\"rate\":{\"maximum\":0}}}"),
    ]);
    let (stdout, _) = ended(&folder.run("check policies"), 0);
    let expected = "PASSED policies/fees/v1.2.0/policy-definition.json as fees@v1.2.0\n\
                    PASSED policies/shop/v1.0.0/policy-definition.yaml as shop@v1.0.0\n";
    assert_eq!(stdout, expected, "references and requirements hold in the tree");
    let (stdout, _) = ended(&folder.run("check policies/shop/v1.0.0/policy-definition.yaml policies/shop/v1.0.0"), 0);
    assert!(stdout.contains("WARNING requires: ") && stdout.contains("WARNING references at 2:"), "{stdout}");
    assert_eq!(stdout.matches("as shop").count(), 1, "once, however it is named: {stdout}");
    let (stdout, _) = ended(&folder.run("check policies --rules rules.yaml"), 1);
    assert!(stdout.contains("FAILED json-schema at 1:9 at /rate"), "{stdout}");
    folder.write("policies/shop/v1.0.0/metadata.json", &metadata("other", "1.0.0", ""));
    let (stdout, _) = ended(&folder.run("check policies"), 1);
    let expected = "FAILED policies/shop/v1.0.0 as shop@v1.0.0\n\
                    FAILED parse at metadata.json: metadata.json names policy \"other\", its folder \"shop\"\n";
    assert!(stdout.ends_with(expected) && stdout.starts_with("PASSED policies/fees"), "{stdout}");
}

#[test]
fn contents_of_several_files_name_the_file() {
    let folder =
        Folder::of(&[("p/a.cedar", "permit(principal, action, resource);\n"), ("p/b.cedar", "permit(principal;\n")]);
    let (stdout, _) = ended(&folder.run("check p"), 1);
    assert!(stdout.contains("FAILED parse at b.cedar:1:") && stdout.contains("\n --> p/b.cedar:1:"), "{stdout}");
}

/// Given a test of Rego without its policy, it is said that it does not run; with it, it runs.
#[test]
fn a_test_of_rego_runs_with_its_policy() {
    let folder = Folder::of(&[
        ("p/a.rego", "package a\n\nallow if input.n > 3\n"),
        ("p/a_test.rego", "package a_test\n\nimport data.a\n\ntest_less if a.allow with input as {\"n\": 2}\n"),
    ]);
    let (_, stderr) = ended(&folder.run("check p/a_test.rego"), 0);
    assert!(stderr.contains("the tests in p/a_test.rego are not run"), "{stderr}");
    let (stdout, stderr) = ended(&folder.run("check p"), 1);
    assert!(stdout.contains("1 of 1 test failed") && !stderr.contains("are not run"), "{stdout}{stderr}");
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    let folder = Folder::of(&[("x", "a: 1"), ("x.yaml", "a: 1"), ("bad.yaml", "guardrail: []")]);
    for (line, why) in [
        ("check x", "does not say what it holds"),
        ("check absent.yaml", "failed to read absent.yaml"),
        ("check x.yaml --rules absent.yaml", "absent.yaml: failed to read it"),
        ("check x.yaml --rules bad.yaml", "no file of rules"),
        ("check", "required"),
        ("guardrail test x.yaml", "no file of rules"),
    ] {
        let (stdout, stderr) = ended(&folder.run(line), 2);
        assert!(format!("{stdout}{stderr}").contains(why), "{line}: {stdout}{stderr}");
    }
    ended(&folder.run("check x --kind yaml"), 0);
}

#[test]
fn a_guardrail_that_never_ends_fails_by_its_limit() {
    let rule = "guardrails: [{id: slow, expression: 'content.all(x, content.all(y, content.all(z, x + y + z >= 0)))', severity: DENY}]";
    let numbers: Vec<String> = (0..2_000).map(|number| number.to_string()).collect();
    let folder = Folder::of(&[("rules.yaml", rule), ("big.json", &format!("[{}]", numbers.join(",")))]);
    let (stdout, _) = ended(&folder.run("check big.json --rules rules.yaml"), 1);
    assert!(stdout.contains("CHECK_LIMIT_EXCEEDED"), "{stdout}");
}

/// Given a guardrail that takes the first member of a map, it says the same each time.
#[test]
fn a_guardrail_says_the_same_each_time() {
    let rule =
        "guardrails: [{id: first, expression: \"content.map(k, k)[0] == 'a'\", severity: DENY, message: '{content}'}]";
    let tests = "tests: [{content: a.yaml}, {content: b.yaml, breaks: [first]}]";
    let folder = Folder::of(&[
        ("rules.yaml", &format!("{rule}\n{tests}\n")),
        ("a.yaml", "d: 1\nc: 2\na: 3\nb: 4\n"),
        ("b.yaml", "d: 1\nc: 2\nb: 4\n"),
    ]);
    let outputs: Vec<String> = (0..5).map(|_| ended(&folder.run("guardrail test rules.yaml"), 0).0).collect();
    assert!(outputs[0].contains(r#"{"b":4,"c":2,"d":1}"#), "{}", outputs[0]);
    assert!(outputs.iter().all(|output| *output == outputs[0]), "{outputs:?}");
}

/// A warning beside an error of the same check is shown as one.
#[test]
fn a_warning_is_shown_as_a_warning() {
    let rules = format!("{CEILING}  - id: near\n    expression: content.max <= 10\n    severity: WARN\n");
    let folder = Folder::of(&[("rules.yaml", &rules), ("bad.yaml", "max: 40\n")]);
    let (stdout, _) = ended(&folder.run("check bad.yaml --rules rules.yaml"), 1);
    assert!(stdout.contains("FAILED guardrails at 1:6 at /max: ceiling: "), "{stdout}");
    assert!(stdout.contains("WARNING guardrails at 1:6 at /max: near: "), "{stdout}");
}

#[test]
fn tests_of_guardrails_pass_and_fail() {
    let rules = format!("{CEILING}tests:\n  - content: good.yaml\n  - content: bad.yaml\n    breaks: [ceiling]\n");
    let folder = Folder::of(&[("r/rules.yaml", &rules), ("r/good.yaml", "max: 1"), ("r/bad.yaml", "max: 21")]);
    let (stdout, _) = ended(&folder.run("guardrail test r/rules.yaml"), 0);
    let expected = "PASSED r/rules.yaml: good.yaml breaks nothing\n\
                    PASSED r/rules.yaml: bad.yaml breaks ceiling\n  ceiling: 21 is over 20\n";
    assert_eq!(stdout, expected);
    folder.write("r/bad.yaml", "max: 2");
    let (stdout, stderr) = ended(&folder.run("guardrail test r/rules.yaml"), 1);
    assert!(stdout.contains("FAILED r/rules.yaml: bad.yaml breaks nothing\n  expected: ceiling"), "{stdout}");
    assert!(stderr.contains("1 of 2 tests failed"), "{stderr}");
    folder.write("r/bad.yaml", "max: [");
    let (stdout, _) = ended(&folder.run("guardrail test r/rules.yaml"), 1);
    let expected = "FAILED r/rules.yaml: bad.yaml is not tested\n  r/bad.yaml:1:";
    assert!(stdout.contains(expected), "what does not parse proves nothing: {stdout}");
    folder.write("r/bad.yaml", "max: 2");
    let (stdout, _) = ended(&folder.run("guardrail test r/rules.yaml --output json"), 1);
    let document: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(
        (&document["tests"][1]["passed"], &document["tests"][1]["expected"][0]),
        (&false.into(), &"ceiling".into())
    );
    folder.write("r/rules.yaml", &rules.replace("content.max <= 20", "content.max <="));
    let (stdout, _) = ended(&folder.run("guardrail test r/rules.yaml"), 1);
    let expected =
        "FAILED r/rules.yaml: bad.yaml is not tested\n  the guardrail ceiling does not compile: expression: ";
    assert!(stdout.contains(expected), "what does not compile breaks for every content: {stdout}");
    folder.write("r/unknown.yaml", "guardrails: []\ntests: [{content: good.yaml, breaks: [none]}]");
    ended(&folder.run("guardrail test r/unknown.yaml"), 2);
}

/// The examples are what people copy: each of their tests passes.
#[test]
fn the_examples_hold() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let examples = std::fs::read_dir(root.join("examples/guardrails")).expect("examples");
    let files: Vec<String> = examples
        .map(|entry| entry.expect("an entry").path().join("guardrails.yaml"))
        .filter(|path| path.is_file())
        .map(|path| path.display().to_string())
        .collect();
    assert_eq!(files.len(), 6);
    let (stdout, _) = ended(&run(binary(), root, &format!("guardrail test {}", files.join(" "))), 0);
    assert_eq!(stdout.matches("PASSED").count(), 15, "{stdout}");
}

on_both_databases! {
    /// Given a server, its guardrails, settings, labels and active versions decide, as they would when the version is staged.
    async fn the_rules_of_a_server_decide(hub: Hub) {
        let client = hub.client().await;
        let rules = vec![
            guardrail("ceiling", "content.max <= 20"),
            guardrail("keeps", "active == null || active.content.max <= content.max"),
        ];
        client.update_guardrails(update_guardrails("namespaces/default/guardrails", rules)).await.expect("guardrails");
        let settings = pb::PolicySettings { json_schema: r#"{"required":["min"]}"#.to_owned(), ..Default::default() };
        create(&client, "caps", Yaml, settings).await;
        let draft = pb::DraftRequest { label: "1.1.0".to_owned(), ..draft_of_its_kind("caps", "max: 10\nmin: 1\n") };
        client.draft(draft).await.expect("a draft");
        client.publish(publish_request("caps", 1)).await.expect("a publication");
        activate(&client, "caps", 1).await;
        let folder = Folder::of(&[("caps.yaml", "max: 9\n"), ("caps2.yaml", "max: 11\nmin: 1\n")]);
        let check = |line: &str| run(hub.cli(), folder.0.path(), line);
        let (stdout, stderr) = ended(&check("check caps.yaml"), 1);
        assert!(stdout.contains("FAILED json-schema") && stdout.contains("keeps: "), "{stdout}");
        assert!(stderr.contains("rules of namespaces/default in http"), "{stderr}");
        ended(&check("check caps2.yaml --policy caps"), 0);
        for (version, code) in [("1.0.0", 1), ("1.2.0", 0)] {
            folder.write(&format!("t/caps/v{version}/metadata.json"), &format!("{{\"name\":\"caps\",\"version\":\"{version}\"}}"));
            folder.write(&format!("t/caps/v{version}/policy-definition.yaml"), "max: 11\nmin: 1\n");
            let (stdout, _) = ended(&check(&format!("check t/caps/v{version}")), code);
            assert_eq!(stdout.contains("FAILED label"), code == 1, "{stdout}");
        }
        folder.write("t/caps/v1.1.0/metadata.json", r#"{"name":"caps","version":"1.1.0"}"#);
        folder.write("t/caps/v1.1.0/policy-definition.yaml", "max: 10\nmin: 1\n");
        let lists = || {
            let row = r#"policyhub_rpc_calls_total{code="Ok",method="/policyhub.v1.PolicyService/ListVersions"}"#;
            metrics::counted(&metrics::text(&hub), row).expect("calls")
        };
        let before = lists();
        ended(&check("check t/caps/v1.1.0 t/caps/v1.2.0"), 0);
        assert!((lists() - before - 1.0).abs() < 0.5, "the versions of a policy are asked for once");
        ended(&check("check t/caps/v1.1.0"), 0);
        ended(&check("check caps.yaml --rules /dev/null"), 2);
    }

    /// Given a version that is refused, stage, publish and report show its line, and nothing else than text does so.
    async fn a_refused_version_is_shown_with_its_line(hub: Hub) {
        let client = hub.client().await;
        let rules = vec![guardrail("ceiling", "content.max <= 20")];
        client.update_guardrails(update_guardrails("namespaces/default/guardrails", rules)).await.expect("guardrails");
        create(&client, "caps", Yaml, pb::PolicySettings::default()).await;
        client.draft(draft_of_its_kind("caps", "# cap\nmax: 40\n")).await.expect("a draft");
        let folder = Folder::of(&[]);
        let excerpt = "--> caps@1:2:6\n  |\n2 | max: 40\n  |      ^^";
        for line in ["stage caps@1", "publish caps@1"] {
            let (stdout, stderr) = ended(&run(hub.cli(), folder.0.path(), line), 1);
            assert!(stdout.is_empty() && stderr.contains(excerpt) && stderr.contains("line = 2"), "{line}: {stdout}{stderr}");
        }
        let (stdout, _) = ended(&run(hub.cli(), folder.0.path(), "report caps@1"), 0);
        assert!(stdout.contains(excerpt), "{stdout}");
        let (stdout, _) = ended(&run(hub.cli(), folder.0.path(), "report caps@1 --output sarif"), 0);
        assert!(stdout.contains("\"startLine\":2") && stdout.contains("caps@1"), "{stdout}");
        let (_, stderr) = ended(&run(hub.cli(), folder.0.path(), "stage caps@1 --output json"), 1);
        assert!(!stderr.contains("-->"), "{stderr}");
    }
}
