//! The hook of `examples/pre-commit` and the job of `examples/ci`: which versions they check, and what they refuse.

use std::path::Path;
use std::process::Command;

use policyhub::checks::parse;
use policyhub::client::PolicyKind;
use serde_json::Value;

use crate::check::{CEILING, Folder, ended, run};
use crate::harness::hub::BINARY;

const METADATA: &str = r#"{"name":"caps","version":"1.0.0"}"#;

/// Returns a command that finds this program on the path.
fn command(program: &str) -> Command {
    let programs = Path::new(BINARY).parent().expect("a directory");
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").expect("PATH"));
    let mut command = Command::new(program);
    command.env("PATH", path);
    command
}

/// Runs git in a folder, with the hook's program on the path.
fn git(folder: &Folder, line: &str, code: i32) -> String {
    let mut git = command("git");
    git.args(["-c", "user.name=t", "-c", "user.email=t@example.invalid"]);
    let (stdout, stderr) = ended(&run(git, folder.0.path(), line), code);
    format!("{stdout}{stderr}")
}

/// A repository with the hook.
fn repository(files: &[(&str, &str)]) -> Folder {
    let folder = Folder::of(files);
    git(&folder, "init --quiet", 0);
    let hook = folder.0.path().join(".git/hooks/pre-commit");
    std::fs::create_dir_all(hook.parent().expect("a folder")).expect("a folder");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::copy(root.join("examples/pre-commit/pre-commit"), hook).expect("copied");
    folder
}

/// Given the hook of the examples, a commit of a bad policy is refused, and what counts is what is staged.
#[test]
fn the_hook_refuses_a_commit() {
    let folder = repository(&[
        ("rules.yaml", CEILING),
        ("policies/caps/v1.0.0/metadata.json", METADATA),
        ("policies/caps/v1.0.0/policy-definition.yaml", "max: 40\n"),
    ]);
    git(&folder, "add --all", 0);
    folder.write("policies/caps/v1.0.0/policy-definition.yaml", "max: 1\n");
    let said = git(&folder, "commit --quiet --message x", 1);
    assert!(said.contains("ceiling: 40 is over 20"), "{said}");
    git(&folder, "add --all", 0);
    git(&folder, "commit --quiet --message x", 0);
    folder.write("policies/caps/v1.0.0/metadata.json", "{}");
    git(&folder, "add --all", 0);
    assert!(git(&folder, "commit --quiet --message x", 1).contains("metadata.json: missing field"));
    std::fs::remove_dir_all(folder.0.path().join("policies/caps")).expect("removed");
    git(&folder, "add --all", 0);
    git(&folder, "commit --quiet --message x", 0);
}

/// Given rules that are not staged, the hook says so: those that count are the staged ones.
#[test]
fn the_hook_says_that_rules_are_not_staged() {
    let folder = repository(&[
        ("rules.yaml", CEILING),
        ("policies/caps/v1.0.0/metadata.json", METADATA),
        ("policies/caps/v1.0.0/policy-definition.yaml", "max: 40\n"),
    ]);
    git(&folder, "add policies", 0);
    let said = git(&folder, "commit --quiet --message x", 1);
    assert!(said.contains("rules.yaml is not staged: `git add rules.yaml`"), "{said}");
    git(&folder, "add rules.yaml", 0);
    folder.write("rules.yaml", "guardrails: []\n");
    let said = git(&folder, "commit --quiet --message x", 1);
    assert!(said.contains("rules.yaml has changes that are not staged: the staged rules are used"), "{said}");
    assert!(said.contains("ceiling: 40 is over 20"), "{said}");
}

/// Given a guardrail that is new, neither versions that the commit does not change nor a tree without versions stop a commit.
#[test]
fn the_hook_leaves_alone_what_the_commit_does_not_change() {
    let folder = repository(&[("rules.yaml", "guardrails: []\n"), ("policies/.keep", "")]);
    git(&folder, "add --all", 0);
    git(&folder, "commit --quiet --message x", 0);
    ended(&folder.run("check policies --rules rules.yaml"), 0);
    folder.write("policies/caps/v1.0.0/metadata.json", METADATA);
    folder.write("policies/caps/v1.0.0/policy-definition.yaml", "max: 40\n");
    git(&folder, "add --all", 0);
    git(&folder, "commit --quiet --message x", 0);
    folder.write("rules.yaml", CEILING);
    folder.write("policies/caps/v1.1.0/metadata.json", r#"{"name":"caps","version":"1.1.0"}"#);
    folder.write("policies/caps/v1.1.0/policy-definition.yaml", "max: 20\n");
    git(&folder, "add --all", 0);
    git(&folder, "commit --quiet --message x", 0);
    folder.write("policies/caps/v1.1.0/policy-definition.yaml", "max: 21\n");
    git(&folder, "add --all", 0);
    let said = git(&folder, "commit --quiet --message x", 1);
    assert!(said.contains("21 is over 20") && !said.contains("40 is over 20"), "{said}");
}

/// Given a name that git puts in quotes, the version that has it is checked as any other.
#[test]
fn the_hook_checks_versions_with_odd_names() {
    let folder = repository(&[
        ("rules.yaml", CEILING),
        ("policies/caps/v1.0.0/metadata.json", METADATA),
        ("policies/caps/v1.0.0/policy-definition/a.json", "{\"max\": 1}"),
    ]);
    git(&folder, "add --all", 0);
    git(&folder, "commit --quiet --message x", 0);
    folder.write("policies/caps/v1.0.0/policy-definition/\"b\".json", "{\"max\": 40}");
    git(&folder, "add --all", 0);
    let said = git(&folder, "commit --quiet --message x", 1);
    assert!(said.contains("40 is over 20"), "{said}");
}

/// Runs the script of the workflow of `examples/ci` that checks a change.
fn check_change(folder: &Folder, code: i32) -> Value {
    let workflow = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/ci/policies.yaml"));
    let workflow = parse(PolicyKind::Yaml, &workflow.expect("the workflow")).expect("YAML").expect("a document").value;
    let steps = workflow["jobs"]["check"]["steps"].as_array().expect("steps");
    let mut scripts = steps.iter().filter_map(|step| step["run"].as_str());
    let script = scripts.find(|script| script.contains("policyhub check")).expect("a script");
    // GitHub runs bash with the options below only where a workflow names it.
    assert_eq!(workflow["defaults"]["run"]["shell"], "bash");
    let mut bash = command("bash");
    bash.current_dir(folder.0.path()).args(["--noprofile", "--norc", "-eo", "pipefail", "-c", script]);
    ended(&bash.output().expect("bash runs"), code);
    let log = std::fs::read(folder.0.path().join("findings.sarif")).expect("a log");
    serde_json::from_slice(&log).expect("JSON")
}

/// Given the merge of a pull request, the workflow checks the versions that it touches, and always writes a log of findings.
#[test]
fn the_workflow_checks_what_a_change_touches() {
    let folder = Folder::of(&[
        ("rules.yaml", "guardrails: []\n"),
        ("policies/.keep", ""),
        ("policies/caps/v1.0.0/metadata.json", METADATA),
        ("policies/caps/v1.0.0/policy-definition.yaml", "max: 40\n"),
    ]);
    git(&folder, "init --quiet --initial-branch=main", 0);
    git(&folder, "add --all", 0);
    git(&folder, "commit --quiet --message x", 0);
    git(&folder, "checkout --quiet -b change", 0);
    folder.write("rules.yaml", CEILING);
    git(&folder, "commit --quiet --all --message rules", 0);
    let merge = |code: i32| {
        git(&folder, "checkout --quiet --detach main", 0);
        git(&folder, "merge --quiet --no-ff --message merged change", 0);
        let log = check_change(&folder, code);
        git(&folder, "checkout --quiet change", 0);
        log["runs"][0]["results"].as_array().expect("results").len()
    };
    assert_eq!(merge(0), 0, "no version is touched");
    folder.write("policies/caps/v1.1.0/metadata.json", r#"{"name":"caps","version":"1.1.0"}"#);
    folder.write("policies/caps/v1.1.0/policy-definition.yaml", "max: 41\n");
    git(&folder, "add policies", 0);
    git(&folder, "commit --quiet --message more", 0);
    assert_eq!(merge(1), 1, "the new version alone");
}
