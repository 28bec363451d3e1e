//! Drafts from what is active: the setting `require_base_active` (docs/lifecycle.md#rule-3), and `policyhub edit`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use policyhub::client::pb::PolicyKind::{Opaque, Yaml};
use policyhub::client::{Client, ClientError, pb};
use tonic::Code;

use crate::harness::archives::run;
use crate::harness::calls::{
    Revision as _, activate, create, deactivate, draft, draft_request, get, get_version, head, policy, publish,
    refused, release, rollback_request, set,
};
use crate::harness::{Hub, on_both_databases};

fn requiring() -> pb::PolicySettings {
    pb::PolicySettings { require_base_active: true, ..Default::default() }
}

fn based_on(base_version: i64, content: &str) -> pb::DraftRequest {
    pb::DraftRequest { base_version, ..draft_request("p", content) }
}

/// Checks that a draft is refused, and returns the base and the active version that the refusal names.
fn refused_base<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> (String, String) {
    let error = refused(answer, Code::Aborted, "EXPECTED_ACTIVE_MISMATCH");
    assert_eq!(error.metadata()["policy"], policy("p"));
    (error.metadata()["expected_active"].clone(), error.metadata()["current_active"].clone())
}

async fn drafted(client: &Client, request: pb::DraftRequest) -> i64 {
    client.draft(request).await.expect("a draft").version.expect("a version").version
}

/// An editor that runs these commands of the shell with the file as `$1`.
fn editor(hub: &Hub, name: &str, commands: &str) -> PathBuf {
    let path = hub.dir.path().join(name);
    fs::write(&path, format!("#!/bin/sh\n{commands}\n")).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("made executable");
    path
}

/// Returns `policyhub` with this editor, whose temporary files are in a folder of the test.
fn with_editor(hub: &Hub, editor: &str) -> Command {
    let temporary = temporary(hub);
    fs::create_dir_all(&temporary).expect("a folder");
    let mut command = hub.cli();
    command.env("TMPDIR", temporary).env("EDITOR", editor).env_remove("VISUAL");
    command
}

fn temporary(hub: &Hub) -> PathBuf {
    hub.dir.path().join("temporary")
}

fn files_left(hub: &Hub) -> Vec<PathBuf> {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect()
    };
    entries(&temporary(hub)).iter().flat_map(|folder| entries(folder)).collect()
}

fn folders_left(hub: &Hub) -> usize {
    fs::read_dir(temporary(hub)).expect("a folder").count()
}

/// Runs a command that was printed, as a shell does, and returns its exit code.
fn run_line(hub: &Hub, line: &str) -> i32 {
    let programs = hub.cli();
    let program = Path::new(programs.get_program()).parent().expect("a directory").to_owned();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").expect("PATH"));
    let mut shell = Command::new("/bin/sh");
    for (name, value) in programs.get_envs() {
        if let Some(value) = value {
            shell.env(name, value)
        } else {
            shell.env_remove(name)
        };
    }
    shell.args(["-c", line]).env("PATH", path).status().expect("a shell").code().expect("a code")
}

on_both_databases! {
    /// Given require_base_active, a draft from another version than the active one is refused and writes nothing, also when the pointer
    /// moved by a rollback or was removed.
    async fn a_draft_starts_from_what_is_active(hub: Hub) {
        let client = hub.client().await;
        create(&client, "p", Yaml, requiring()).await;
        assert_eq!(drafted(&client, based_on(0, "a: 1")).await, 1, "nothing is active");
        assert_eq!(refused_base(client.draft(based_on(1, "a: 2")).await), ("1".to_owned(), "0".to_owned()));
        let request = pb::PublishRequest {
            name: "namespaces/default/policies/p/versions/1".to_owned(),
            activate: true,
            reason: "go".to_owned(),
            ..Default::default()
        };
        client.publish(request).await.expect("a publication");
        let at = head(&client).await;
        assert_eq!(refused_base(client.draft(based_on(0, "a: 2")).await), ("0".to_owned(), "1".to_owned()));
        let rehearsed = pb::DraftRequest { validate_only: true, ..based_on(0, "a: 2") };
        refused_base(client.draft(rehearsed).await);
        assert_eq!((head(&client).await, get(&client, "p").await.latest_version), (at, 1), "nothing was written");
        assert_eq!(drafted(&client, based_on(1, "a: 2")).await, 2);
        client.publish(pb::PublishRequest { name: policy("p"), ..Default::default() }).await.expect("a publication");
        activate(&client, "p", 2).await;
        assert_eq!(refused_base(client.draft(based_on(1, "a: 3")).await), ("1".to_owned(), "2".to_owned()));
        client.rollback(rollback_request("p", 0)).await.expect("a rollback");
        assert_eq!(refused_base(client.draft(based_on(2, "a: 3")).await), ("2".to_owned(), "1".to_owned()));
        assert_eq!(drafted(&client, based_on(1, "a: 3")).await, 3);
        deactivate(&client, "p").await;
        refused_base(client.draft(based_on(1, "a: 4")).await);
        assert_eq!(drafted(&client, based_on(0, "a: 4")).await, 4);
        let log = client.verify_log(pb::VerifyLogRequest { parent: "namespaces/default".to_owned(), after: None }).await;
        assert!(log.expect("a verdict").valid, "the whole log holds");
    }

    /// What exists is answered whatever its base is, so that a release may run again; drafts from before the setting stay, and are
    /// published; a copy made by a rollback has no base.
    async fn the_setting_concerns_new_drafts_alone(hub: Hub) {
        let client = hub.client().await;
        let labelled = |content| pb::DraftRequest { label: "1.0.0".to_owned(), ..draft_request("p", content) };
        client.draft(labelled("a: 1")).await.expect("a draft");
        client.publish(pb::PublishRequest { name: policy("p"), ..Default::default() }).await.expect("a publication");
        activate(&client, "p", 1).await;
        draft(&client, "p", "a: 2").await;
        set(&client, "p", requiring()).await;
        let again = client.draft(labelled("a: 1")).await.expect("an answer");
        assert_eq!((again.version.expect("a version").version, again.cursor.revision()), (1, 0));
        let next = pb::DraftRequest { label: "1.1.0".to_owned(), ..draft_request("p", "a: 3") };
        refused_base(client.draft(next).await);
        client.publish(pb::PublishRequest { name: policy("p"), ..Default::default() }).await.expect("it was drafted before");
        activate(&client, "p", 2).await;
        let copy = pb::RollbackRequest { mode: pb::RollbackMode::CopyForward.into(), ..rollback_request("p", 1) };
        client.rollback(copy).await.expect("a rollback by a copy");
        set(&client, "p", pb::PolicySettings::default()).await;
        assert_eq!(drafted(&client, based_on(0, "a: 5")).await, 4, "the setting is taken back");
    }

    /// A refused base says what is the case and what to do next, and the setting is shown with the policy.
    async fn the_command_says_from_where_a_draft_starts(hub: Hub) {
        let client = hub.client().await;
        create(&client, "p", Yaml, pb::PolicySettings::default()).await;
        let (code, text, errors) = run(hub.cli(), &["policy", "update", "p", "--require-base-active", "true"]);
        assert!(code == 0 && text.ends_with("settings: require_base_active\n"), "{text}{errors}");
        let (_, text, _) = run(hub.cli(), &["policy", "show", "p"]);
        assert!(text.ends_with("settings: require_base_active\n"), "{text}");
        let file = hub.dir.path().join("p.yaml");
        fs::write(&file, "a: 1\n").expect("written");
        let path = file.display().to_string();
        let refused = |base: &[&str]| {
            let (code, _, errors) = run(hub.cli(), &[&["draft", "p", &path], base].concat());
            assert_eq!(code, 1, "{errors}");
            errors
        };
        let errors = refused(&["--base-version", "active"]);
        let expected = "it has no active version to start from (NO_ACTIVE_VERSION)\nnext: draft it without --base-version";
        assert!(errors.contains(expected), "{errors}");
        let (code, _, errors) = run(hub.cli(), &["draft", "p", &path]);
        assert_eq!(code, 0, "nothing is active, so it has no base: {errors}");
        let errors = refused(&["--base-version", "1"]);
        assert!(errors.contains("next: draft it without --base-version: nothing is active to start from"), "{errors}");
        client.publish(pb::PublishRequest { name: policy("p"), ..Default::default() }).await.expect("a publication");
        activate(&client, "p", 1).await;
        fs::write(&file, "a: 2\n").expect("written");
        let errors = refused(&[]);
        assert!(errors.contains("next: name the active version as its base: --base-version active, or `policyhub edit p`"), "{errors}");
        let (code, _, errors) = run(hub.cli(), &["draft", "p", &path, "--base-version", "active"]);
        assert_eq!(code, 0, "{errors}");
        client.publish(pb::PublishRequest { name: policy("p"), ..Default::default() }).await.expect("a publication");
        activate(&client, "p", 2).await;
        fs::write(&file, "a: 3\n").expect("written");
        let errors = refused(&["--base-version", "1"]);
        assert!(errors.contains("next: another version is active than its base: see `policyhub history p`"), "{errors}");
    }

    /// `policyhub edit` drafts what the editor wrote, from the active version, with its media type and requirements.
    async fn what_is_active_is_edited(hub: Hub) {
        let client = hub.client().await;
        let requirement = pb::Requirement { policy: "base".to_owned(), version_req: "^1".to_owned() };
        let base = pb::DraftRequest { label: "1.0.0".to_owned(), ..draft_request("base", "a: 1") };
        client.draft(base).await.expect("a draft");
        client.publish(pb::PublishRequest { name: policy("base"), ..Default::default() }).await.expect("a publication");
        activate(&client, "base", 1).await;
        let request = pb::DraftRequest {
            label: "1.0.0".to_owned(),
            requires: vec![requirement.clone()],
            content_type: "text/yaml".to_owned(),
            ..draft_request("p", "a: 1\n")
        };
        client.draft(request).await.expect("a draft");
        client.publish(pb::PublishRequest { name: policy("p"), ..Default::default() }).await.expect("a publication");
        activate(&client, "p", 1).await;
        publish(&client, "p", "a: newer, and not active\n").await;
        set(&client, "p", requiring()).await;
        let log = hub.dir.path().join("log");
        let script = format!("echo \"$# $1\" > {0}; ls -ld \"$(dirname \"$1\")\" >> {0}; sed -i s/1/2/ \"$1\"", log.display());
        let with_a_space = editor(&hub, "my editor", &script);
        let quoted = format!("'{}'", with_a_space.display());
        let arguments = ["edit", "p", "--bump", "minor", "--note", "raise the cap"];
        let (code, text, errors) = run(with_editor(&hub, &quoted), &arguments);
        assert_eq!(code, 0, "{errors}");
        assert!(text.starts_with("p@3 1.1.0 DRAFT "), "{text}");
        let kept = get_version(&client, "p", 3).await;
        assert_eq!((kept.content.as_ref(), kept.base_version), (&b"a: 2\n"[..], 1));
        assert_eq!((kept.label.as_str(), kept.change_note.as_str()), ("1.1.0", "raise the cap"));
        assert_eq!((kept.content_type.as_str(), kept.requires), ("text/yaml", vec![requirement]));
        assert!(errors.contains("requires base@^1, as p@1"), "{errors}");
        let log = fs::read_to_string(log).expect("the editor ran");
        assert!(log.starts_with("1 /") && log.contains("/p.yaml\ndrwx------"), "a private folder: {log}");
        assert_eq!(files_left(&hub), Vec::<PathBuf>::new());
    }

    /// Nothing changed: nothing is drafted. A refusal or an editor that fails keeps the text, and says where it is.
    async fn no_edit_is_lost(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1\n").await;
        let at = head(&client).await;
        let (code, text, errors) = run(with_editor(&hub, "true"), &["edit", "p"]);
        assert!(code == 0 && text.is_empty() && errors.contains("nothing is drafted"), "{text}{errors}");
        assert_eq!((files_left(&hub), head(&client).await), (Vec::new(), at));

        let failing = editor(&hub, "failing", "echo 'a: 2' > \"$1\"; exit 3");
        let (code, _, errors) = run(with_editor(&hub, &failing.display().to_string()), &["edit", "p"]);
        let left = files_left(&hub);
        assert_eq!((code, left.len(), head(&client).await), (1, 1, at), "{errors}");
        assert!(errors.contains(&format!("kept in {}", left[0].display())) && errors.contains("exit status: 3"), "{errors}");
        assert_eq!(fs::read_to_string(&left[0]).expect("kept"), "a: 2\n");
        fs::remove_dir_all(temporary(&hub)).expect("removed");

        // Somebody activates another version while the editor is open.
        set(&client, "p", requiring()).await;
        let policyhub = hub.cli().get_program().display().to_string();
        let meanwhile = format!(
            "echo 'a: 3' > \"$1\"; printf 'a: 2' > \"$1.other\"; {policyhub} draft p \"$1.other\" --base-version 1 && \
             {policyhub} publish p --activate --reason other; rm \"$1.other\""
        );
        let other = editor(&hub, "other", &meanwhile);
        let (code, _, errors) = run(with_editor(&hub, &other.display().to_string()), &["edit", "p"]);
        assert!(code == 1 && errors.contains("EXPECTED_ACTIVE_MISMATCH"), "{errors}");
        let left = files_left(&hub);
        let command = format!("to draft it: policyhub draft p {} --base-version 2\n", left[0].display());
        assert!(errors.contains(&command) && errors.contains("see `policyhub diff p 1 2`"), "{errors}");
        assert_eq!(fs::read_to_string(&left[0]).expect("kept"), "a: 3\n");
        assert_eq!(get(&client, "p").await.latest_version, 2);
        assert_eq!(run_line(&hub, errors.lines().find_map(|line| line.strip_prefix("to draft it: ")).expect("a command")), 0);
        assert_eq!(get_version(&client, "p", 3).await.base_version, 2);
    }

    /// The command that is printed after a refusal drafts what the edit would have: requirements, label, note and media type.
    async fn the_printed_command_leaves_nothing_out(hub: Hub) {
        let client = hub.client().await;
        let requires = vec![pb::Requirement { policy: "base".to_owned(), version_req: ">=1, <3".to_owned() }];
        let base = pb::DraftRequest {
            label: "1.0.0".to_owned(),
            requires: requires.clone(),
            content_type: "text/yaml".to_owned(),
            ..draft_request("p", "a: 1\n")
        };
        client.draft(base).await.expect("a draft");
        let ground = pb::DraftRequest { label: "1.0.0".to_owned(), ..draft_request("base", "a: 1") };
        client.draft(ground).await.expect("a draft");
        for id in ["base", "p"] {
            client.publish(pb::PublishRequest { name: policy(id), ..Default::default() }).await.expect("a publication");
            activate(&client, id, 1).await;
        }
        let failing = editor(&hub, "failing", "echo 'a: 2' > \"$1\"; exit 3");
        let arguments = ["edit", "p", "--label", "1.1.0", "--note=-1: it's \"raised\" $HOME"];
        let (code, _, errors) = run(with_editor(&hub, &failing.display().to_string()), &arguments);
        assert_eq!(code, 1, "{errors}");
        let command = errors.lines().find_map(|line| line.strip_prefix("to draft it: ")).expect("a command");
        assert_eq!(run_line(&hub, command), 0, "{command}");
        let drafted = get_version(&client, "p", 2).await;
        assert_eq!((drafted.content.as_ref(), drafted.base_version), (&b"a: 2\n"[..], 1));
        assert_eq!((drafted.label.as_str(), drafted.change_note.as_str()), ("1.1.0", "-1: it's \"raised\" $HOME"));
        assert_eq!((drafted.content_type.as_str(), drafted.requires), ("text/yaml", requires));
    }

    /// Where the editor removed its file, nothing is kept and nothing is said to be; and nothing is left behind a draft.
    async fn no_folder_is_left_without_a_text(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1\n").await;
        let gone = editor(&hub, "gone", "rm \"$1\"");
        let (code, _, errors) = run(with_editor(&hub, &gone.display().to_string()), &["edit", "p"]);
        assert!(code == 1 && errors.contains("the editor left no file") && !errors.contains("kept in"), "{errors}");
        assert_eq!(folders_left(&hub), 0);
        let changing = editor(&hub, "changing", "echo 'a: 2' > \"$1\"; cp \"$1\" \"$1~\"");
        let (code, _, errors) = run(with_editor(&hub, &changing.display().to_string()), &["edit", "p"]);
        assert_eq!((code, folders_left(&hub)), (0, 0), "{errors}");
        let (code, _, errors) = run(with_editor(&hub, "true"), &["edit", "p"]);
        assert_eq!((code, folders_left(&hub)), (0, 0), "{errors}");
        // The draft is there, so the text is: what failed is to say so.
        let mut closed = with_editor(&hub, &changing.display().to_string());
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("a full device");
        let output = closed.args(["edit", "p"]).stdout(full).output().expect("it runs");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && !errors.contains("kept in"), "{errors}");
        assert_eq!((get(&client, "p").await.latest_version, folders_left(&hub)), (3, 0));
    }

    /// With nothing active, or a content of several files, no editor is opened.
    async fn what_can_not_be_edited(hub: Hub) {
        let client = hub.client().await;
        draft(&client, "p", "a: 1").await;
        let (code, _, errors) = run(with_editor(&hub, "false"), &["edit", "p"]);
        assert!(code == 1 && errors.contains("NO_ACTIVE_VERSION"), "{errors}");
        create(&client, "files", Opaque, pb::PolicySettings::default()).await;
        let request = pb::DraftRequest { content_type: "application/x-tar".to_owned(), ..draft_request("files", "a") };
        client.draft(request).await.expect("a draft");
        client.publish(pb::PublishRequest { name: policy("files"), ..Default::default() }).await.expect("a publication");
        activate(&client, "files", 1).await;
        let (code, _, errors) = run(with_editor(&hub, "false"), &["edit", "files"]);
        assert!(code == 1 && errors.contains("policyhub draft files DIR --base-version 1"), "{errors}");
        assert_eq!(files_left(&hub), Vec::<PathBuf>::new());
    }
}
