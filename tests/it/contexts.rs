//! Contexts of the command line: a server by name, with its namespace and with credentials that are sent to no other server.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::callers::namespace;
use crate::harness::hub::binary;
use crate::harness::{Database, Hub};

/// Returns a command of a user with this home directory and an empty environment.
fn command(home: &Path, arguments: &[&str]) -> Command {
    let mut command = binary();
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("POLICYHUB_") {
            command.env_remove(name);
        }
    }
    command.env_remove("XDG_CONFIG_HOME").env("HOME", home).current_dir(home).args(arguments);
    command
}

fn run(home: &Path, arguments: &[&str]) -> Output {
    command(home, arguments).output().expect("the binary runs")
}

#[track_caller]
fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

#[track_caller]
fn failed(output: &Output, code: i32, words: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(code) && said.contains(words), "{said}");
}

#[tokio::test]
async fn a_context_says_where_who_and_about_what() {
    let (hub, other) = (Hub::start(Database::Sqlite).await, Hub::start(Database::Sqlite).await);
    let admin = hub.client().await;
    namespace(&admin, "team").await;
    let home = hub.dir.path().join("home");
    std::fs::create_dir(&home).expect("a directory");
    std::fs::write(home.join("p.yaml"), "a: 1").expect("written");
    for arguments in [&["draft", "p", "p.yaml", "--create"][..], &["publish", "p@1", "--activate", "--reason", "go"]] {
        done(&hub.cli().current_dir(&home).args(["-n", "team"]).args(arguments).output().expect("the binary runs"));
    }
    std::fs::write(home.join("prod.token"), hub.token()).expect("written");

    failed(&run(&home, &["context", "use", "prod"]), 2, "there is no context prod: there are none");
    failed(&run(&home, &["context", "set", "prod"]), 2, "--server URL");
    failed(&run(&home, &["context", "set", "a/b", "--server", &hub.grpc]), 2, "must be 1 to 64 of");
    failed(&run(&home, &["context", "set", "prod", "--server", &hub.grpc, "--token", "x"]), 2, "--token-file");
    let set = ["context", "set", "prod", "--server", &hub.grpc, "-n", "team", "--token-file", "prod.token"];
    done(&run(&home, &set));
    done(&run(&home, &["context", "set", "second", "--server", &other.grpc]));
    let listed: Value =
        serde_json::from_str(&done(&run(&home, &["context", "list", "--output", "json"]))).expect("JSON");
    assert_eq!((&listed["current"], &listed["contexts"]["prod"]["server"]), (&Value::Null, &Value::from(&*hub.grpc)));
    assert_eq!(listed["contexts"]["prod"]["token_file"], home.join("prod.token").display().to_string());

    // Selected by name, and as the current context; from another directory too.
    assert!(done(&run(&home, &["active", "--context", "prod"])).contains("p "));
    done(&run(&home, &["context", "use", "prod"]));
    let elsewhere = command(&home, &["active"]).current_dir(hub.dir.path()).output().expect("the binary runs");
    assert!(done(&elsewhere).contains("p "));
    // An option on the command line takes precedence.
    assert!(!done(&run(&home, &["active", "-n", "default"])).contains("p "));
    let by_variable = command(&home, &["active"]).env("POLICYHUB_NAMESPACE", "default").output().expect("it runs");
    assert!(!done(&by_variable).contains("p "));
    // The token is sent to its own server only.
    failed(&run(&home, &["active", "--server", &other.grpc]), 1, "TOKEN_MISSING");
    failed(&run(&home, &["active", "--context", "prod", "--server", &other.grpc]), 2, "leave one of them out");
    failed(&run(&home, &["active", "--context", "second"]), 1, "TOKEN_MISSING");
    failed(&run(&home, &["active", "--context", "third"]), 2, "there are prod, second");

    done(&run(&home, &["context", "set", "prod", "-n", "default"]));
    assert!(!done(&run(&home, &["active"])).contains("p "), "the rest of it stays as it was");
    let table = done(&run(&home, &["context", "list"]));
    assert!(table.contains("*     prod    ") && table.contains("      second  "), "{table}");
    done(&run(&home, &["context", "remove", "prod"]));
    failed(&run(&home, &["context", "remove", "prod"]), 2, "there are second");
}

/// Given an unreadable contexts file, commands that would use it report it, and no others.
#[tokio::test]
async fn a_file_of_contexts_that_is_none_is_said() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join(".config/policyhub/contexts.toml");
    std::fs::create_dir_all(file.parent().expect("a parent")).expect("a directory");
    for broken in [&b"current = 1"[..], b"[contexts.a]\nserver = 'x'\ntoken = 'secret'", b"\xff"] {
        std::fs::write(&file, broken).expect("written");
        for arguments in [&["active"][..], &["context", "list"]] {
            failed(&run(home.path(), arguments), 1, "contexts.toml");
        }
        done(&run(home.path(), &["config", "check"]));
    }
    std::fs::write(&file, "current = 'a'\n[contexts.a]\nserver = 'http://127.0.0.1:1'\nnamespace = 'A B'")
        .expect("written");
    failed(&run(home.path(), &["active"]), 1, "namespace");
}
