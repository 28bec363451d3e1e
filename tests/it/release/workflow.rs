//! The workflow of `examples/ci`: it is valid YAML, its commands are commands of this program, and it has the properties that a release
//! needs.

use clap::Parser as _;
use policyhub::checks::parse;
use policyhub::cli::Cli;
use policyhub::client::PolicyKind;
use serde_json::Value;

fn workflow() -> Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/ci/policies.yaml");
    let text = std::fs::read(path).expect("the workflow");
    parse(PolicyKind::Yaml, &text).unwrap_or_else(|failure| panic!("{failure:?}")).expect("a document").value
}

fn steps(job: &Value) -> &[Value] {
    job["steps"].as_array().expect("steps")
}

#[test]
fn its_commands_are_commands() {
    let workflow = workflow();
    let mut commands = Vec::new();
    for job in workflow["jobs"].as_object().expect("jobs").values() {
        for script in steps(job).iter().filter_map(|step| step["run"].as_str()) {
            assert!(!script.contains("${{"), "what others wrote is put into a script: {script}");
            commands
                .extend(script.lines().map(str::trim).filter(|line| line.starts_with("policyhub ")).map(str::to_owned));
        }
    }
    for line in &commands {
        let words = line.split_whitespace().take_while(|word| *word != ">");
        Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
    let check = "policyhub check \"$@\" --rules rules.yaml --output sarif > findings.sarif";
    assert_eq!(commands, [check, "policyhub release --activate --push", "policyhub release --dry-run --activate"]);
}

#[test]
fn it_gives_a_release_what_it_needs() {
    let workflow = workflow();
    let (validate, release) = (&workflow["jobs"]["validate"], &workflow["jobs"]["release"]);
    for job in [validate, release] {
        assert_eq!(steps(job)[0]["with"]["fetch-depth"], 0, "a baseline needs the history");
        assert_eq!(job["permissions"]["id-token"], "write");
    }
    assert_eq!(workflow["permissions"], serde_json::json!({}));
    assert_eq!(
        (&validate["permissions"]["contents"], &release["permissions"]["contents"]),
        (&"read".into(), &"write".into())
    );
    assert_eq!(release["concurrency"]["cancel-in-progress"], false);
    let last = steps(release).last().expect("a step");
    assert!(last["run"].as_str().is_some_and(|run| run.contains(" --push")), "a partial release keeps its state too");
}
