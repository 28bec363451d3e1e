//! The command line: a policy's whole lifecycle by commands, with outputs and exit codes.

use std::io::Write as _;
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::harness::{Database, Hub};

/// Runs a command with this stdin.
fn run(hub: &Hub, arguments: &[&str], stdin: &str) -> Output {
    let mut child = hub
        .cli()
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    // A command that reads nothing may have closed its stdin.
    let _ = child.stdin.take().expect("stdin").write_all(stdin.as_bytes());
    child.wait_with_output().expect("an end")
}

/// Runs a command that must succeed and returns its one JSON document.
fn json(hub: &Hub, arguments: &[&str], stdin: &str) -> Value {
    let output = run(hub, &[arguments, &["--output", "json"]].concat(), stdin);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON document on stdout, and nothing else")
}

#[tokio::test]
async fn the_whole_life_by_commands() {
    let hub = Hub::start(Database::Sqlite).await;
    let draft = ["draft", "p", "-", "--content-type", "application/yaml", "--create", "--label", "1.0.0"];
    assert_eq!(json(&hub, &draft, "a: 1")["version"]["version"], 1);
    assert_eq!(json(&hub, &["stage", "p@1"], "")["report"]["passed"], true);
    assert_eq!(json(&hub, &["publish", "p@1"], "")["version"]["state"], "VERSION_STATE_PUBLISHED");
    assert_eq!(json(&hub, &["activate", "p@v1.0.0", "--reason", "go"], "")["cursor"]["revision"], 4);
    json(&hub, &["draft", "p", "-", "--content-type", "application/yaml"], "a: 2");
    assert_eq!(json(&hub, &["publish", "p", "--activate", "--reason", "go on"], "")["version"]["active"], true);
    let history = json(&hub, &["history", "p"], "");
    assert_eq!(history["versions"].as_array().map(Vec::len), Some(2));
    let diff = json(&hub, &["diff", "p", "1", "2"], "");
    assert_eq!(diff["json_patch"], r#"[{"op":"replace","path":"/a","value":2}]"#);
    assert_eq!(json(&hub, &["rollback", "p", "--reason", "back"], "")["version"]["version"], 1);
    assert_eq!(json(&hub, &["active", "p"], "")["bundle"]["version"], 1);
    json(&hub, &["deactivate", "p", "--reason", "gone"], "");
    let events = json(&hub, &["events"], "");
    let kinds: Vec<&str> =
        events["events"].as_array().expect("events").iter().filter_map(|event| event["kind"].as_str()).collect();
    let last = ["EVENT_KIND_ACTIVATE", "EVENT_KIND_ROLLBACK", "EVENT_KIND_DEACTIVATE"];
    assert_eq!(kinds.get(kinds.len() - 3..), Some(&last[..]));
}

#[tokio::test]
async fn a_saved_bundle_is_verified_without_a_server() {
    let mut hub = Hub::start(Database::Sqlite).await;
    json(&hub, &["draft", "p", "-", "--content-type", "application/yaml", "--create"], "a: 1");
    json(&hub, &["publish", "p", "--activate", "--reason", "go"], "");
    let out = hub.dir.path().join("out");
    json(&hub, &["active", "p", "--save", &out.display().to_string()], "");
    let keys = hub.dir.path().join("keys.json");
    std::fs::write(&keys, run(&hub, &["keys", "list", "--jwks"], "").stdout).expect("written");
    hub.kill().await;

    let path = |name: &str| out.join("p").join(name).display().to_string();
    let (jwks, manifest, statement) = (keys.display().to_string(), path("manifest.jws"), path("statement.jws"));
    let verify = ["verify", "--jwks", &jwks, "--manifest", &manifest, "--statement", &statement, "--content"];
    let saved = path("content");
    assert_eq!(json(&hub, &[&verify[..], &[&saved]].concat(), "")["verified"], true);
    let by_stdin = run(&hub, &[&verify[..], &["-"]].concat(), "a: 1");
    assert!(by_stdin.status.success(), "{}", String::from_utf8_lossy(&by_stdin.stderr));
    let changed = run(&hub, &[&verify[..], &["-"]].concat(), "a: 2");
    assert_eq!(changed.status.code(), Some(1), "changed content must not verify");
}

#[tokio::test]
async fn exit_codes_and_streams_are_for_scripts() {
    let hub = Hub::start(Database::Sqlite).await;
    let refused = run(&hub, &["stage", "nothing@1"], "");
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stdout.is_empty(), "talk is on stderr");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("POLICY_NOT_FOUND"));
    assert_eq!(run(&hub, &["stage"], "").status.code(), Some(2), "usage");
    assert_eq!(run(&hub, &["activate", "p@1"], "").status.code(), Some(2), "a reason is required");
    let issued = run(&hub, &["token", "issue", "--subject", "ci", "--ttl", "1h"], "");
    assert!(issued.status.success());
    let token = String::from_utf8(issued.stdout).expect("UTF-8");
    let mut as_ci = hub.cli();
    let listed = as_ci.env("POLICYHUB_TOKEN", token.trim()).args(["keys", "list"]).output().expect("the binary runs");
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
}

#[tokio::test]
async fn the_configuration_in_force_is_printed_without_secrets() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("policyhub.toml");
    std::fs::write(&file, "database_url = \"postgres://hub:sesame@db.example/hub\"\npoll_interval_ms = 500\n")
        .expect("written");
    let mut check = crate::harness::hub::binary();
    let checked = check.args(["config", "check", "--poll-interval-ms", "250", "--config"]).arg(&file).output();
    let checked = checked.expect("the binary runs");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let said = String::from_utf8(checked.stdout).expect("UTF-8");
    let config: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(config["poll_interval_ms"], 250, "a flag beats the file");
    assert!(config["database_url"].as_str().is_some_and(|url| url.contains("db.example/hub")), "{said}");
    assert!(!said.contains("sesame"), "a password was printed");
}

#[tokio::test]
async fn es256_signs_what_the_watch_verifies() {
    let hub = Hub::start_with(Database::Sqlite, &["--signing-algorithm", "ES256"]).await;
    json(&hub, &["draft", "p", "-", "--content-type", "application/yaml", "--create"], "a: 1");
    let published = json(&hub, &["publish", "p", "--activate", "--reason", "go"], "");
    let revision = published["cursor"]["revision"].to_string();
    let keys = json(&hub, &["keys", "list"], "");
    assert_eq!(keys["keys"][0]["algorithm"], "ES256");
    // Snapshot, its statements and manifests, and the checkpoint: each is verified before it is printed.
    let watched = run(&hub, &["watch", "--until-revision", &revision, "--output", "json"], "");
    assert!(watched.status.success(), "{}", String::from_utf8_lossy(&watched.stderr));
    assert!(String::from_utf8_lossy(&watched.stdout).contains("policies/p/versions/1"));
}

#[tokio::test]
async fn a_version_that_can_move_is_answered_with_what_to_write_instead() {
    let hub = Hub::start(Database::Sqlite).await;
    json(&hub, &["draft", "x", "-", "--content-type", "application/yaml", "--create"], "a: 1");
    for arguments in [["publish", "x@latest"], ["publish", "x@active"], ["stage", "x@latest"], ["abandon", "x@latest"]]
    {
        let refused = run(&hub, &arguments, "");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        let next = "\nnext: name it as POLICY@N or POLICY@vLABEL: `policyhub history POLICY` lists them\n";
        assert!(said.contains("(INVALID_ARGUMENT)") && said.ends_with(next), "{arguments:?}: {said}");
    }
    assert_eq!(json(&hub, &["history", "x"], "")["versions"][0]["state"], "VERSION_STATE_DRAFT");
}

#[test]
fn what_the_system_said_stands_in_a_message_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (none, data) = (path("none"), path("data"));
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        format!("http://{}", listener.local_addr().expect("an address"))
    };
    for arguments in [
        &["serve", "--data-dir", &data, "--config", &none][..],
        &["serve", "--data-dir", &data, "--tls-cert", &none, "--tls-key", &none],
        &["serve", "--data-dir", "/proc/none"],
        &["migrate", "--database-url", "sqlite:///proc/none/policyhub.db"],
        &["token", "issue", "--subject", "ci", "--ttl", "1h", "--data-dir", &none],
        &["verify", "--log", "--from", &none],
        &["verify", "--jwks", &none, "--manifest", &none, "--content", &none],
        &["agent", "--once", "--dir", "/proc/none", "--server", &closed],
        &["agent", "--once", "--dir", &data, "--jwks", &none, "--server", &closed],
        &["keys", "list", "--server", &closed],
        &["keys", "list", "--server", &closed, "--token-file", &none],
    ] {
        let output = crate::harness::hub::binary().args(arguments).output().expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert_eq!(said.matches("(os error ").count(), 1, "{arguments:?}: {said}");
    }
}

/// A document printed as YAML has the same content as JSON.
#[tokio::test]
async fn yaml_is_the_same_document() {
    let hub = Hub::start(Database::Sqlite).await;
    let draft = ["draft", "p", "-", "--content-type", "application/yaml", "--create", "--note", "yes"];
    json(&hub, &draft, "a: 1");
    let said = run(&hub, &["history", "p", "--output", "yaml"], "");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let said = String::from_utf8(said.stdout).expect("UTF-8");
    assert!(said.starts_with("---\n") && said.contains("change_note: \"yes\""), "{said}");
    // The server parses YAML too: as a policy, the output is equal to the JSON.
    let document = json(&hub, &["history", "p"], "").to_string();
    for (policy, kind, text) in [("y", "application/yaml", &said), ("j", "application/json", &document)] {
        json(&hub, &["draft", policy, "-", "--content-type", kind, "--create"], text);
    }
    json(&hub, &["draft", "y", "-", "--content-type", "application/yaml"], &document);
    assert_eq!(json(&hub, &["diff", "y", "1", "2"], "")["json_patch"], "[]");
}

#[test]
fn a_missing_file_and_a_wrong_flag_are_said_before_a_server_is_asked() {
    let run = |arguments: &[&str]| {
        let output = crate::harness::hub::binary().args(arguments).output().expect("the binary runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for arguments in [&["draft", "x", "/nonexistent"][..], &["draft", "x", "/nonexistent", "--create"]] {
        let (code, said) = run(arguments);
        assert!(code == Some(2) && said.contains("failed to read /nonexistent: No such file"), "{said}");
    }
    let (code, said) = run(&["namespace", "create", "team", "--reason", "new"]);
    assert!(code == Some(2) && said.contains("'--reason ") && said.contains("--description"), "{said}");
}
