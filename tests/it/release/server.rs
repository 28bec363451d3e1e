//! The server's state decides: a lost `.state`, other contents, reviewers, an unreachable server, and a concurrent release.

use policyhub::client::pb;

use super::repository::Repository;
use crate::harness::calls::{create, draft_request, get_version, head, publish_request};
use crate::harness::on_both_databases;
use crate::harness::reviews::{approve, needs, person};

on_both_databases! {
    async fn what_the_server_has_is_marked_and_other_content_is_said(hub: Hub) {
        let client = hub.client().await;
        let repository = Repository::new();
        repository.version("p", "1.0.0", "a: 1");
        repository.version("q", "1.0.0", "a: 1");
        let commit = repository.commit();
        repository.release(&hub, &[]).is(0, "success");
        let (before, kept) = (head(&client).await, repository.delivered());
        repository.remove(".state");
        let ended = repository.release(&hub, &[]);
        assert_eq!(ended.is(0, "success").outcomes(), ["p@v1.0.0 already there", "q@v1.0.0 already there"]);
        assert_eq!((repository.delivered(), repository.baseline(), head(&client).await), (kept, commit, before));
        assert_eq!(ended.lines("warnings").len(), 0);

        // Delivered by hand, with another content.
        let labelled = |content| pb::DraftRequest { label: "1.1.0".to_owned(), ..draft_request("p", content) };
        client.draft(labelled("a: by hand")).await.expect("a draft");
        client.publish(publish_request("p", 2)).await.expect("a publication");
        repository.version("p", "1.1.0", "a: by git");
        repository.version("p", "1.2.0", "a: by git");
        let commit = repository.commit();
        let ended = repository.release(&hub, &[]);
        assert_eq!(ended.is(0, "success").outcomes(), ["p@v1.1.0 already there", "p@v1.2.0 published"]);
        let theirs = get_version(&client, "p", "v1.1.0").await.digest;
        let warnings = ended.lines("warnings");
        assert!(warnings[0].starts_with(&format!("p@v1.1.0 is delivered with other content: version 2 has {theirs}, git has sha256:")), "{warnings:?}");
        assert_eq!(repository.delivered()["versions"]["p@v1.1.0"]["digest"], theirs.as_str());
        assert_eq!(repository.baseline(), commit);
    }

    async fn a_version_that_needs_approvals_waits_for_them_staged(hub: Hub) {
        let client = hub.client().await;
        create(&client, "p", pb::PolicyKind::Yaml, needs(1)).await;
        let repository = Repository::new();
        repository.version("p", "1.0.0", "a: 1");
        repository.commit();
        let ended = repository.release(&hub, &[]);
        assert_eq!(ended.is(1, "failed").json()["versions"][0]["reason"], "APPROVALS_MISSING");
        let staged = get_version(&client, "p", 1).await;
        assert_eq!(staged.state(), pb::VersionState::Staged);
        let error = ended.json()["versions"][0]["error"].as_str().expect("an error").to_owned();
        assert!(error.contains(&format!("`policyhub approve p@1 --digest {}`", staged.digest)), "{error}");
        approve(&person(&hub, "ann").await, &staged).await.expect("an approval");
        assert_eq!(repository.release(&hub, &[]).is(0, "success").outcomes(), ["p@v1.0.0 published"]);
        assert_eq!(get_version(&client, "p", "latest").await.version, 1);
    }

    async fn releases_at_once_deliver_everything_once(hub: Hub) {
        let client = hub.client().await;
        let repository = Repository::new();
        for policy in ["p", "q", "r", "s"] {
            for label in ["1.0.0", "1.1.0", "1.2.0"] {
                repository.version(policy, label, &format!("policy: {policy}\nlabel: {label}"));
            }
        }
        let commit = repository.commit();
        let before = head(&client).await;
        let spawn = || {
            let mut command = repository.command(&hub, &["--jobs", "4", "--activate"]);
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
            command.spawn().expect("it runs")
        };
        for child in [spawn(), spawn(), spawn()] {
            let output = child.wait_with_output().expect("an end");
            // A release that loses a race for a pointer leaves it to the next one, which finds nothing to do.
            let code = output.status.code();
            assert!(matches!(code, Some(0 | 3)), "{code:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        repository.release(&hub, &["--activate"]).is(0, "success");
        assert_eq!((repository.delivered_names().len(), repository.baseline()), (12, commit));
        for policy in ["p", "q", "r", "s"] {
            let labels: Vec<String> = crate::harness::calls::events(&client, &crate::harness::calls::policy(policy), before)
                .await
                .iter()
                .filter(|event| event.kind() == pb::EventKind::Publish)
                .map(|event| event.versions[0].version_name.clone())
                .collect();
            let expected: Vec<String> = (1..=3).map(|number| crate::harness::calls::version(policy, number)).collect();
            assert_eq!(labels, expected, "each is published once");
            assert_eq!(get_version(&client, policy, "active").await.label, "1.2.0");
        }
    }

    async fn without_a_server_nothing_changes(hub: Hub) {
        let repository = Repository::new();
        repository.version("p", "1.0.0", "a: 1");
        repository.version("q", "1.0.0", "a: 1");
        let commit = repository.commit();
        let ended = repository.release_to_nobody(&[]);
        assert_eq!(ended.is(1, "failed").outcomes(), ["p@v1.0.0 held back", "q@v1.0.0 held back"]);
        assert!(ended.lines("problems")[0].starts_with("failed to connect: no server at"), "{ended:?}");
        assert_eq!(repository.git(&["status", "--porcelain", "--ignored"]), "", "no file is written");
        assert_eq!(repository.release(&hub, &[]).is(0, "success").outcomes().len(), 2);
        assert_eq!(repository.baseline(), commit);
    }

    async fn a_state_that_can_not_be_trusted_stops_the_release(hub: Hub) {
        let client = hub.client().await;
        let repository = Repository::new();
        repository.version("p", "1.0.0", "a: 1");
        repository.commit();
        repository.release(&hub, &[]).is(0, "success");
        let whole = std::fs::read_to_string(repository.path.join(".state/delivered.json")).expect("text");
        repository.version("p", "1.1.0", "a: 1");
        repository.commit();
        let before = head(&client).await;
        let merge = whole.replace("\"versions\"", "<<<<<<< HEAD\n\"versions\"");
        for (text, error) in [
            (&whole[..whole.len() / 2], "restore it from git"),
            (&merge, "restore it from git"),
            ("", "restore it from git"),
            (&whole.replace("\"format\": 1", "\"format\": 2"), "has format 2; this program knows 1"),
            (&whole.replace("\"default\"", "\"other\""), "is that of namespace other, not default"),
            (&whole.replace("p@v1.0.0", "p@1.0.0"), "names \"p@1.0.0\", which is no version"),
            (&whole.replace("\"sha256:", "\"sha1:"), "restore it from git"),
        ] {
            repository.write(".state/delivered.json", text);
            let ended = repository.release(&hub, &[]);
            assert!(ended.code == 1 && ended.stderr.contains(error), "{text}: {ended:?}");
            let kept = std::fs::read_to_string(repository.path.join(".state/delivered.json")).expect("text");
            assert_eq!(kept, text, "it is not written over");
        }
        repository.remove(".state");
        let outside = tempfile::tempdir().expect("a directory");
        std::os::unix::fs::symlink(outside.path(), repository.path.join(".state")).expect("a link");
        let ended = repository.release(&hub, &[]);
        assert!(ended.code == 1 && ended.stderr.contains("is a symbolic link"), "{ended:?}");
        assert_eq!(std::fs::read_dir(outside.path()).expect("there").count(), 0);
        assert_eq!(head(&client).await, before);
    }

    async fn a_commit_has_the_state_alone(hub: Hub) {
        let repository = Repository::new();
        repository.write(".gitignore", ".*\n");
        repository.version("p", "1.0.0", "a: 1");
        repository.git(&["add", "--force", ".gitignore"]);
        let released = repository.commit();
        // Uncommitted changes are neither released nor committed.
        repository.version("p", "1.0.0", "a: dirty");
        repository.version("p", "2.0.0", "a: dirty");
        repository.write("staged", "staged");
        repository.git(&["add", "staged"]);
        repository.release(&hub, &["--commit"]).is(0, "success");
        let content = get_version(&hub.client().await, "p", "v1.0.0").await.content;
        assert_eq!(&content[..], b"a: 1", "what is released is what the commit names");
        let last = repository.git(&["log", "-1", "--format=%s%n%P", "--name-only"]);
        let expected = format!("Record the release of {}\n{released}\n\n.state/baseline.sha\n.state/delivered.json", &released[..12]);
        assert_eq!(last, expected);
        assert_eq!(repository.git(&["diff", "--cached", "--name-only"]), "staged", "what was staged stays so");
        let head = repository.head();
        repository.release(&hub, &["--commit"]).is(0, "success");
        assert_eq!(repository.head(), head, "nothing changed, and nothing is committed");
    }

    async fn a_question_that_fails_stops_nothing(hub: Hub) {
        let repository = Repository::new();
        for policy in ["p", "q", "r", "s"] {
            repository.version(policy, "1.0.0", "a: 1");
            repository.version(policy, "1.1.0", "a: 2");
        }
        let commit = repository.commit();
        repository.release(&hub, &[]).is(0, "success");
        // One read in a second, and no retries: nearly every request is refused.
        let mut limit = hub.cli();
        limit.args(["namespace", "update", "default", "--reads-per-second", "1"]);
        assert!(limit.output().expect("it runs").status.success());
        let kept = repository.delivered();
        let count = || hub.tamper("SELECT count(*) FROM events WHERE namespace = 'default'");
        let before = count();
        repository.remove(".state");
        // The same requests with the same ids get the same answers.
        repository.release(&hub, &[]).is(0, "success");
        assert_eq!((repository.delivered(), repository.baseline()), (kept, commit));
        repository.remove(".state");
        repository.commit();
        let ended = repository.release(&hub, &[]);
        assert_eq!(ended.is(0, "success").json()["counts"]["already_there"], 8);
        assert_eq!(count(), before, "nothing is done again");
    }
}
