//! What a command that failed says: the reason in brackets, and what to do next.

use policyhub::client::pb;
use policyhub::client::pb::PolicyKind::Yaml;

use crate::check::{CEILING, Folder, ended};
use crate::harness::archives::run;
use crate::harness::calls::{create, publish, release};
use crate::harness::on_both_databases;
use crate::harness::schedules::{create_schedule, once};

on_both_databases! {
    /// Schedules, templates, guardrails and schemas that are refused: each error has its reason and its next step.
    async fn a_command_that_fails_says_why_and_what_to_do(hub: Hub) {
        let client = hub.client().await;
        publish(&client, "p", "a: 1").await;
        create(&client, "q", Yaml, pb::PolicySettings::default()).await;
        create_schedule(&client, "s", "", vec![once(&[("p", 1)], 3_600)]).await;
        let schema = hub.dir.path().join("schema.json");
        std::fs::write(&schema, "{\"type\": 1}").expect("written");
        let schema = schema.display().to_string();
        let cases: &[(&[&str], &str, &str)] = &[
            (&["schedule", "show", "none"], "SCHEDULE_NOT_FOUND", "see `policyhub schedule list`"),
            (&["schedule", "cancel", "none", "--reason", "x"], "SCHEDULE_NOT_FOUND", "see `policyhub schedule list`"),
            (&["schedule", "resume", "s", "--reason", "x"], "SCHEDULE_STATE_WRONG", "nothing is to be done: it runs"),
            (&["schedule", "create", "s", "p@1", "--at", "2100-01-01T00:00:00Z", "--reason", "x"], "SCHEDULE_EXISTS", "see `policyhub"),
            (&["schedule", "create", "old", "p@1", "--at", "2001-01-01T00:00:00Z", "--reason", "x"], "INVALID_ARGUMENT", "correct it: `policyhub schedule create"),
            (&["schedule", "create", "zone", "--time-zone", "Mars/North", "--entry", "mon 00:00 p@1", "--reason", "x"], "INVALID_ARGUMENT", "correct it: `policyhub schedule create"),
            (&["draft", "q", "--from-template", "none", "--set", "a=1"], "POLICY_NOT_FOUND", "see `policyhub policy list`"),
            (&["guardrail", "set", "g", "--expression", "content."], "INVALID_ARGUMENT", "correct it, and try it without"),
            (&["policy", "update", "q", "--json-schema", &schema], "INVALID_SCHEMA", "correct the schema"),
        ];
        for (arguments, reason, next) in cases {
            let (code, _, errors) = run(hub.cli(), arguments);
            assert_eq!(code, 1, "{arguments:?}: {errors}");
            assert!(errors.contains(&format!("({reason})")), "{arguments:?}: {errors}");
            assert!(errors.contains(&format!("\nnext: {next}")), "{arguments:?}: {errors}");
        }
    }

    /// An editor that fails, and a log that does not hold, have their reasons.
    async fn an_edit_and_a_check_of_a_log_end_with_their_reasons(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        let mut edit = hub.cli();
        edit.env("VISUAL", "false").env("TMPDIR", hub.dir.path());
        let (code, _, errors) = run(edit, &["edit", "p"]);
        assert!(code == 1 && errors.lines().any(|line| line.starts_with("error: ") && line.ends_with(" (EDITOR_FAILED)")), "{errors}");
        hub.tamper("UPDATE policies SET description = 'x' WHERE id = 'p'");
        let (code, _, errors) = run(hub.cli(), &["verify", "--log", "default"]);
        assert!(code == 1 && errors.ends_with("error: the log of default does not hold (NOT_VERIFIED)\n"), "{errors}");
    }

    /// A command of a namespace that is refused or done says how to go on in that namespace; without `-n` where the context has it.
    async fn what_to_do_next_is_about_the_same_namespace(hub: Hub) {
        let client = hub.client().await;
        let namespace = pb::CreateNamespaceRequest { namespace_id: "team".to_owned(), ..Default::default() };
        client.create_namespace(namespace).await.expect("a namespace");
        let home = hub.dir.path().join("home");
        std::fs::create_dir_all(&home).expect("a home");
        let file = home.join("p.yaml");
        std::fs::write(&file, "a: 1").expect("written");
        let file = file.display().to_string();
        let said = |context: bool, arguments: &[&str]| {
            let mut command = hub.cli();
            command.env("XDG_CONFIG_HOME", &home);
            if context {
                command.env("POLICYHUB_CONTEXT", "there");
            }
            run(command, arguments).2
        };
        let token = hub.data_dir().join("admin.token").display().to_string();
        let set = ["context", "set", "there", "--server", &hub.grpc, "-n", "team", "--token-file", &token];
        let (code, _, errors) = {
            let mut command = hub.cli();
            command.env("XDG_CONFIG_HOME", &home);
            run(command, &set)
        };
        assert_eq!(code, 0, "{errors}");
        let cases: &[(&[&str], &str)] = &[
            (&["schedule", "show", "none"], "schedule list`"),
            (&["draft", "q", "--from-template", "none", "--set", "a=1"], "policy list`"),
            (&["draft", "q", "--create", "--kind", "yaml", &file], "stage q@1"),
            (&["stage", "q@1"], "publish q@1"),
            (&["activate", "q@1", "--reason", "x"], "publish q@1`"),
        ];
        for (arguments, next) in cases {
            let in_team = said(false, &[&["-n", "team"], *arguments].concat());
            assert!(in_team.contains(&format!("policyhub -n team {next}")), "{arguments:?}: {in_team}");
        }
        let show = ["schedule", "show", "none"];
        for (context, namespace, next) in [
            (false, &[][..], "policyhub schedule list`"),
            (true, &[], "policyhub schedule list`"),
            (true, &["-n", "team"], "policyhub schedule list`"),
            (true, &["-n", "default"], "policyhub -n default schedule list`"),
        ] {
            let errors = said(context, &[namespace, &show[..]].concat());
            assert!(errors.contains(next), "{context} {namespace:?}: {errors}");
        }
        let errors = said(false, &["-n", "nowhere", "active"]);
        assert!(errors.contains("see `policyhub namespace list`"), "{errors}");
    }
}

/// Commands that fail without a server's word say the reason in brackets too, as `--help` promises.
#[test]
fn a_failure_on_this_machine_ends_with_its_reason() {
    let rules = format!("{CEILING}tests: [{{content: bad.yaml}}]\n");
    let folder = Folder::of(&[
        ("rules.yaml", &rules),
        ("bad.yaml", "max: 40\n"),
        ("keys.json", "{\"keys\":[]}"),
        ("m.jws", "a.b.c"),
    ]);
    for (line, code, reason) in [
        ("check bad.yaml --rules rules.yaml", 1, "VALIDATION_FAILED"),
        ("check absent.yaml", 2, "USAGE"),
        ("check bad.yaml --rules absent.yaml", 2, "USAGE"),
        ("guardrail test rules.yaml", 1, "TEST_FAILED"),
        ("guardrail test absent.yaml", 2, "USAGE"),
        ("verify --jwks keys.json --manifest m.jws --content bad.yaml", 1, "NOT_VERIFIED"),
        ("verify --jwks keys.json --manifest absent.jws --content bad.yaml", 1, "LOCAL_ERROR"),
        ("release", 1, "LOCAL_ERROR"),
    ] {
        let (_, stderr) = ended(&folder.run(line), code);
        let error = stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
        assert!(error.ends_with(&format!(" ({reason})")), "{line}: {stderr}");
    }
}
