//! Output for people: history, watch, differences, the next step, and commands that need no server.

use std::process::{Command, Output, Stdio};

use policyhub::client::pb;

use crate::harness::calls::{activate, draft, head, publish, release, set};
use crate::harness::hub::binary;
use crate::harness::on_both_databases;

fn run(mut command: Command, arguments: &[&str]) -> (i32, String, String) {
    let command = command.args(arguments).stdin(Stdio::null());
    let Output { status, stdout, stderr } = command.output().expect("the binary runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (status.code().expect("a code"), text(stdout), text(stderr))
}

on_both_databases! {
    /// Given several versions and changes, each has one line: the active one marked, with who, when and why.
    async fn history_and_watch_are_read_at_a_glance(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        release(&client, "p", "a: 2").await;
        let from = head(&client).await;
        let (code, text, errors) = run(hub.cli(), &["rollback", "p", "--reason", "too\u{1b}[2J early"]);
        assert_eq!((code, errors), (0, format!("p: 2 → 1\nnext: policyhub convergence {}\n", from + 1)), "{text}");
        draft(&client, "p", "a: 3").await;

        let (_, text, _) = run(hub.cli(), &["history", "p"]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        for (line, (begins, ends)) in lines[1..].iter().zip([
            ("   3 ", "drafted by local:admin"),
            ("   2 ", "activated by local:admin       a test"),
            ("*  1 ", "rolled back to by local:admin  too [2J early"),
        ]) {
            assert!(line.starts_with(begins) && line.ends_with(ends) && line.contains("Z  "), "{text}");
        }
        let (_, json, _) = run(hub.cli(), &["history", "p", "--output", "json"]);
        let document: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(document["versions"][2]["active"], true);

        let (resume, until) = (format!("1:{}", from - 1), (from + 1).to_string());
        let watched = ["watch", "--resume", &resume, "--until-revision", &until, "--color", "always"];
        let (code, text, errors) = run(hub.cli(), &watched);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((code, lines.len()), (0, 2), "{text}{errors}");
        let green = format!("Z  \u{1b}[32mACTIVATE  \u{1b}[0m  1:{from:<4}  p 1 -> 2  by local:admin: a test");
        assert!(lines[0].ends_with(&green), "{text:?}");
        assert!(lines[1].ends_with("p 2 -> 1  by local:admin: too [2J early"), "{text:?}");
    }

    /// Given a pipe, the difference is exact; colours come only on request, and then escapes in contents are escaped.
    async fn a_difference_is_exact_or_safe(hub: Hub) {
        let client = hub.client().await;
        publish(&client, "p", "a: \"\u{202e}1\"\n").await;
        publish(&client, "p", "a: \"2\"\n").await;
        let (_, plain, _) = run(hub.cli(), &["diff", "p", "1", "2"]);
        assert!(plain.contains("-a: \"\u{202e}1\"\n+a: \"2\"\n"), "{plain}");
        let (_, coloured, _) = run(hub.cli(), &["diff", "p", "1", "2", "--color", "always"]);
        let wanted = "\u{1b}[31m-a: \"\\u{202e}1\"\u{1b}[0m\n\u{1b}[32m+a: \"2\"\u{1b}[0m\n";
        assert!(coloured.contains(wanted), "{coloured:?}");
        let (_, never, _) = run(hub.cli(), &["diff", "p", "1", "2", "--color", "never"]);
        assert_eq!(never, plain);
    }

    /// A refused command names the next step with the names of the case.
    async fn the_next_step_is_named(hub: Hub) {
        let client = hub.client().await;
        draft(&client, "p", "a: 1").await;
        let (code, _, errors) = run(hub.cli(), &["activate", "p@1", "--reason", "r"]);
        assert!(code == 1 && errors.ends_with("next: publish it first: `policyhub publish p@1`\n"), "{errors}");
        let (code, _, errors) = run(hub.cli(), &["stage", "p"]);
        assert!(code == 0 && errors.ends_with("next: policyhub publish p@1\n"), "{errors}");
        let (_, _, errors) = run(hub.cli(), &["stage", "p", "--output", "json"]);
        assert_eq!(errors, "", "talk is for people");
        let (_, _, errors) = run(hub.cli(), &["publish", "p", "--dry-run"]);
        assert_eq!(errors, "", "what is not there has no next step");
        let (_, _, errors) = run(hub.cli(), &["publish", "p"]);
        assert_eq!(errors, "next: policyhub activate p@1 --reason …\n");
        activate(&client, "p", 1).await;
        let (code, _, errors) = run(hub.cli(), &["activate", "p@1", "--reason", "r", "--expected", "p=2"]);
        assert!(code == 1 && errors.contains("next: somebody was faster: see `policyhub active`"), "{errors}");
    }

    /// Given a version that waits for an approval, the next step is the commands of the reviewer, which run as they are printed.
    async fn the_commands_of_a_reviewer_are_printed(hub: Hub) {
        let client = hub.client().await;
        draft(&client, "p", "a: 1").await;
        set(&client, "p", pb::PolicySettings { required_approvals: 1, ..Default::default() }).await;
        let (code, _, errors) = run(hub.cli(), &["stage", "p"]);
        assert!(code == 0 && errors.starts_with("next: somebody else reviews it: `policyhub show p@1`"), "{errors}");
        let commands: Vec<&str> = errors.split('`').filter_map(|part| part.strip_prefix("policyhub ")).collect();
        let [show, approve] = commands.as_slice() else { panic!("{errors}") };
        let typed = |command: &str| run(hub.cli(), &command.split(' ').collect::<Vec<_>>());
        assert_eq!(typed(show).0, 0, "{errors}");
        let (code, _, refused) = typed(approve);
        assert!(code == 1 && refused.contains("(SELF_APPROVAL)"), "its author only: {refused}");
    }
}

#[test]
fn completions_and_manual_need_no_server() {
    let away = ["--server", "http://127.0.0.1:1"];
    let (code, script, errors) = run(binary(), &[&["completions", "bash"], &away[..]].concat());
    assert!(code == 0 && script.contains("-F _clap_complete_policyhub policyhub"), "{errors}");
    let (code, page, errors) = run(binary(), &[&["man"], &away[..]].concat());
    assert!(code == 0 && page.contains(".SH SYNOPSIS"), "{errors}");
    let directory = tempfile::tempdir().expect("a directory");
    let into = directory.path().join("man1").display().to_string();
    let (code, text, errors) = run(binary(), &["man", "--dir", &into]);
    assert!(code == 0 && text.is_empty() && errors.starts_with("pages written to"), "{errors}");
    assert!(directory.path().join("man1/policyhub-activate.1").exists());
    let (code, help, _) = run(binary(), &["--help"]);
    assert!(code == 0 && help.contains("Exit codes:") && !help.contains('\u{1b}'), "{help}");
    // Options that only a serving server uses are accepted here, but not shown in the help.
    for command in [&["restore"][..], &["backup"], &["migrate"], &["epoch", "show"], &["epoch", "bump"]] {
        let (code, help, _) = run(binary(), &[command, &["--help"]].concat());
        assert!(code == 0 && help.contains("--data-dir") && help.contains("--keys-dir"), "{help}");
        assert!(!help.contains("--grpc-addr") && help.lines().count() < 130, "{} lines: {help}", help.lines().count());
    }
    assert_eq!(run(binary(), &["actvate"]).0, 2);
}
