//! Shell completion, as bash requests it.

use std::process::Command;

use crate::harness::callers::namespace;
use crate::harness::calls::publish;
use crate::harness::hub::binary;
use crate::harness::{Database, Hub};

/// Returns what bash would offer for the last of these words.
fn offered(command: &mut Command, words: &[&str]) -> Vec<String> {
    let binary = binary();
    let folder = std::path::Path::new(binary.get_program()).parent().expect("a folder").display().to_string();
    let script = "PATH=$1:$PATH; shift; source <(policyhub completions bash); COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); \
                  COMP_TYPE=9; _clap_complete_policyhub policyhub \"${COMP_WORDS[-1]}\" \"${COMP_WORDS[-2]}\"; \
                  printf '%s\\n' \"${COMPREPLY[@]}\"";
    let output = command.args(["-c", script, "bash", &folder]).args(words).output().expect("bash runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    let mut words: Vec<String> =
        said.lines().map(|line| line.trim().to_owned()).filter(|word| !word.is_empty()).collect();
    words.sort();
    words
}

#[tokio::test]
async fn commands_flags_and_names_are_offered() {
    let hub = Hub::start(Database::Sqlite).await;
    let admin = hub.client().await;
    for id in ["pricing", "prices", "limits"] {
        publish(&admin, id, "a: 1").await;
    }
    namespace(&admin, "team").await;
    let bash = || {
        let mut bash = Command::new("bash");
        bash.env("POLICYHUB_SERVER", &hub.grpc).env("POLICYHUB_DATA_DIR", hub.data_dir()).env("HOME", hub.dir.path());
        bash
    };
    assert_eq!(offered(&mut bash(), &["policyhub", "publ"]), ["publish"]);
    assert_eq!(offered(&mut bash(), &["policyhub", "publish", "--break"]), ["--break-glass"]);
    assert_eq!(offered(&mut bash(), &["policyhub", "publish", "pri"]), ["prices", "pricing"]);
    assert_eq!(offered(&mut bash(), &["policyhub", "policy", "show", "l"]), ["limits"]);
    assert_eq!(offered(&mut bash(), &["policyhub", "active", "-n", "te"]), ["team"]);
    // Without a server, nothing is offered or printed.
    let mut alone = bash();
    alone.env("POLICYHUB_SERVER", "http://127.0.0.1:1");
    assert_eq!(offered(&mut alone, &["policyhub", "publish", "pri"]), Vec::<String>::new());
}
