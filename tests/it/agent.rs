//! `policyhub agent`: the active set as files, a hook on each change, and what operators see of it.

use std::fs;
use std::path::{Path, PathBuf};

use policyhub::client::{Client, pb};
use serde_json::Value;

use crate::harness::agents::{AGENT, AgentProcess, command, folder, in_force, is, once, revision, status};
use crate::harness::calls::{activate, deactivate, publish};
use crate::harness::subscribing::{at, convergence, counts, digest_at, eventually, subscribers};
use crate::harness::watching::LIVELY;
use crate::harness::{Database, Hub, on_both_databases};

/// Publishes, activates and returns the revision.
async fn release(client: &Client, id: &str, content: &str) -> i64 {
    let version = publish(client, id, content).await.version;
    activate(client, id, version).await
}

fn content_of(folder: &Path, policy: &str) -> Option<String> {
    in_force(folder)?.contents.into_iter().find(|(id, _)| id == policy).map(|(_, content)| content)
}

async fn applied_there(client: &Client, revision: i64) {
    eventually("the server knows", async || {
        subscriber_of(client).await.is_some_and(|heard| heard.applied == Some(at(revision)) && heard.rejected.is_none())
    })
    .await;
}

/// Returns the subscriber of the agent, as the server shows it.
async fn subscriber_of(client: &Client) -> Option<pb::Subscriber> {
    subscribers(client).await.remove(AGENT)
}

/// A hook that records the revision it runs for, and does not end while it is held.
struct SlowHook {
    calls: PathBuf,
    held: PathBuf,
}

impl SlowHook {
    fn new(hub: &Hub) -> Self {
        Self { calls: hub.dir.path().join("calls"), held: hub.dir.path().join("held") }
    }

    fn command(&self) -> String {
        let (calls, held) = (self.calls.display(), self.held.display());
        format!("echo \"$POLICYHUB_REVISION\" >> '{calls}'; while [ -e '{held}' ]; do sleep 0.02; done")
    }

    fn hold(&self) {
        fs::write(&self.held, "").expect("written");
    }

    fn release(&self) {
        fs::remove_file(&self.held).expect("removed");
    }

    fn ran(&self) -> Vec<i64> {
        let calls = fs::read_to_string(&self.calls).unwrap_or_default();
        calls.lines().map(|line| line.parse().expect("a revision")).collect()
    }
}

on_both_databases! {
    with LIVELY;

    async fn files_follow_the_active_set(hub: Hub) {
        let mut hub = hub;
        let (client, folder) = (hub.client().await, folder(&hub));
        let agent = AgentProcess::start(&hub, &folder, &[]);
        agent.wait_for_event("nothing is active", |event| event["event"] == "applied").await;
        assert_eq!(in_force(&folder).expect("a set").contents, [], "an empty set is one");

        let first = release(&client, "p", "a: 1").await;
        agent.applied(first).await;
        let second = release(&client, "q", "b: 1").await;
        agent.applied(second).await;
        let pairs = [("p", "a: 1"), ("q", "b: 1")].map(|(id, content)| (id.to_owned(), content.to_owned()));
        assert_eq!(in_force(&folder).expect("a set").contents, pairs);
        applied_there(&client, second).await;
        assert_eq!(subscriber_of(&client).await.expect("listed").digest, digest_at(&client, second).await);
        is(&folder, "READY").await;
        assert_eq!(status(&folder)["in_force"], serde_json::json!({"epoch": 1, "revision": second}));

        let third = deactivate(&client, "p").await;
        agent.applied(third).await;
        assert_eq!(in_force(&folder).expect("a set").contents, [("q".to_owned(), "b: 1".to_owned())]);
        applied_there(&client, third).await;

        // The files can still be verified long after.
        let keys = hub.dir.path().join("keys.json");
        fs::write(&keys, hub.cli().args(["keys", "list", "--jwks"]).output().expect("keys").stdout).expect("written");
        hub.kill().await;
        let file = |name: &str| folder.join("current/policies/q").join(name);
        let verified = hub.cli().arg("verify").arg("--jwks").arg(&keys).arg("--manifest").arg(file("manifest.jws"))
            .arg("--content").arg(file("content.yaml")).output();
        let verified = verified.expect("the binary runs");
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
        assert!(agent.end("TERM").await.success(), "it ends in order when it is told to");
    }

    async fn what_the_hook_rejects_operators_see_until_it_is_mended(hub: Hub) {
        let (client, folder) = (hub.client().await, folder(&hub));
        let first = release(&client, "p", "a: 1").await;
        let seen = hub.dir.path().join("seen");
        let hook = format!(
            "env >> '{}'; ! grep -q 'a: 2' \"$POLICYHUB_DIR/current/policies/p/content.yaml\" || {{ echo \"$POLICYHUB_CHANGED is bad\"; exit 4; }}",
            seen.display()
        );
        let mut line = command(&hub, &folder, &["--hook", &hook, "--label", "zone=a"]);
        line.env("POLICYHUB_TOKEN", hub.token());
        let agent = AgentProcess::spawn(line);
        agent.applied(first).await;
        let second = release(&client, "p", "a: 2").await;
        agent.rejected(second).await;
        assert_eq!(content_of(&folder, "p").as_deref(), Some("a: 1"), "the former set is back");
        eventually("the server knows", async || counts(&client, second).await == [0, 1, 0, 0]).await;
        let found = convergence(&client, at(second), std::time::Duration::ZERO).await.expect("an answer");
        assert_eq!(found.rejected_subscribers[0].reason, "--hook exited with 4: p is bad");
        assert_eq!(found.rejected_subscribers[0].attributes["zone"], "a");
        is(&folder, "REJECTED").await;

        let third = release(&client, "p", "a: 3").await;
        agent.applied(third).await;
        applied_there(&client, third).await;
        assert_eq!(counts(&client, third).await, [1, 0, 0, 0]);
        is(&folder, "READY").await;
        assert_eq!(content_of(&folder, "p").as_deref(), Some("a: 3"));
        let seen = fs::read_to_string(seen).expect("the hook ran");
        assert!(seen.contains("POLICYHUB_REVISION=") && !seen.contains(&hub.token()), "no token is handed on");
    }

    async fn a_first_set_that_the_hook_rejects_is_reported_too(hub: Hub) {
        let (client, folder) = (hub.client().await, folder(&hub));
        let first = release(&client, "p", "a: 1").await;
        let mut line = command(&hub, &folder, &["--hook", "echo no; exit 1"]);
        line.env("POLICYHUB_TOKEN", hub.token());
        let agent = AgentProcess::spawn(line);
        agent.rejected(first).await;
        eventually("the server knows", async || counts(&client, first).await == [0, 1, 0, 0]).await;
        let heard = subscriber_of(&client).await.expect("a subscriber");
        assert!(heard.applied.is_none() && heard.rejected == Some(at(first)), "{heard:?}");
    }

    async fn a_burst_under_a_slow_hook_is_behind_and_ends_at_the_newest_set(hub: Hub) {
        let (client, folder) = (hub.client().await, folder(&hub));
        let hook = SlowHook::new(&hub);
        let first = release(&client, "p", "a: 0").await;
        let agent = AgentProcess::start(&hub, &folder, &["--hook", &hook.command()]);
        agent.applied(first).await;
        is(&folder, "READY").await;
        hook.hold();
        let held = release(&client, "p", "a: 1").await;
        eventually("the hook runs", async || hook.ran().last() == Some(&held)).await;
        is(&folder, "BEHIND").await;
        let mut last = held;
        for step in 2..32 {
            last = release(&client, "p", &format!("a: {step}")).await;
        }
        eventually("it says by how much", async || status(&folder)["behind"]["revisions"] == last - first).await;
        let said = status(&folder);
        assert_eq!((&said["state"], &said["in_force"]["revision"]), (&"BEHIND".into(), &first.into()), "{said}");
        assert!(said["behind"]["since"].as_str().is_some_and(|since| since.ends_with('Z')), "{said}");
        assert_eq!(counts(&client, last).await, [0, 0, 1, 0], "the server does not take it for applied either");
        hook.release();
        agent.applied(last).await;
        is(&folder, "READY").await;
        assert_eq!((hook.ran(), revision(&folder)), (vec![first, held, last], Some(last)), "nothing in between is run");
        assert!(status(&folder)["behind"].is_null());
        eventually("the server knows", async || counts(&client, last).await == [1, 0, 0, 0]).await;
    }

    async fn every_activation_is_applied_in_order_when_it_is_asked_for(hub: Hub) {
        let (client, folder) = (hub.client().await, folder(&hub));
        let hook = SlowHook::new(&hub);
        let mut expected = vec![release(&client, "p", "a: 0").await];
        let agent = AgentProcess::start(&hub, &folder, &["--every-activation", "--hook", &hook.command()]);
        agent.applied(expected[0]).await;
        hook.hold();
        // More activations than are verified ahead.
        for step in 1..24 {
            expected.push(release(&client, "p", &format!("a: {step}")).await);
        }
        let last = expected[expected.len() - 1];
        eventually("it says by how much, also what it has not read yet", async || {
            status(&folder)["behind"]["revisions"] == last - expected[0]
        }).await;
        assert_eq!(status(&folder)["state"], "BEHIND");
        hook.release();
        agent.applied(last).await;
        is(&folder, "READY").await;
        assert_eq!(hook.ran(), expected);
    }

    async fn outages_and_restarts_leave_the_set_in_force(hub: Hub) {
        let (client, folder) = (hub.client().await, folder(&hub));
        let calls = hub.dir.path().join("calls");
        let hook = format!("echo \"$POLICYHUB_REVISION\" >> '{}'", calls.display());
        let called = || fs::read_to_string(&calls).unwrap_or_default().lines().count();
        let first = release(&client, "p", "a: 1").await;
        let agent = AgentProcess::start(&hub, &folder, &["--hook", &hook]);
        agent.applied(first).await;
        applied_there(&client, first).await;
        let mut hub = hub;
        hub.kill().await;
        agent.wait_for_event("it says what is wrong", |event| {
            event["event"] == "state" && event["problem"].as_str().is_some_and(|problem| !problem.is_empty())
        }).await;
        assert_eq!(revision(&folder), Some(first));
        agent.end("KILL").await;

        // Without a server, the set in force stays; and the hook, which accepted it, does not run again.
        let agent = AgentProcess::start(&hub, &folder, &["--hook", &hook]);
        is(&folder, "STALE").await;
        assert_eq!((revision(&folder), called()), (Some(first), 1));
        agent.end("KILL").await;

        // Also after somebody removed it: the set is written again from what was verified.
        fs::remove_dir_all(folder.join("sets")).expect("removed");
        let agent = AgentProcess::start(&hub, &folder, &["--hook", &hook]);
        agent.applied(first).await;
        assert_eq!((revision(&folder), called()), (Some(first), 2));

        let hub = hub.restart().await;
        let client = hub.client().await;
        agent.end("KILL").await;
        let agent = AgentProcess::start(&hub, &folder, &["--hook", &hook]);
        let second = release(&client, "p", "a: 2").await;
        agent.applied(second).await;
        applied_there(&client, second).await;
        is(&folder, "READY").await;
        assert_eq!(called(), 3);
    }
}

#[tokio::test]
async fn once_is_for_what_waits_for_policies() {
    let mut hub = Hub::start_with(Database::Sqlite, LIVELY).await;
    let (client, folder) = (hub.client().await, folder(&hub));
    let first = release(&client, "p", "a: 1").await;
    let synced = once(&hub, &folder, &[]).await;
    assert!(synced.status.success(), "{}", String::from_utf8_lossy(&synced.stderr));
    assert_eq!(revision(&folder), Some(first));
    applied_there(&client, first).await;

    let second = release(&client, "p", "a: 2").await;
    let refused = once(&hub, &folder, &["--check", "echo no; exit 1"]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("rejected: --check exited with 1: no"));
    assert_eq!(revision(&folder), Some(first));
    eventually("the server knows", async || {
        subscriber_of(&client)
            .await
            .is_some_and(|heard| heard.rejected == Some(at(second)) && heard.reason.ends_with(": no"))
    })
    .await;

    let synced = once(&hub, &folder, &[]).await;
    assert!(synced.status.success(), "{}", String::from_utf8_lossy(&synced.stderr));
    assert_eq!(revision(&folder), Some(second));
    hub.kill().await;
    let alone = once(&hub, &folder, &["--wait", "1s"]).await;
    assert_eq!(alone.status.code(), Some(1), "nothing says that it is the newest");
    assert_eq!(revision(&folder), Some(second));
}

#[tokio::test]
async fn some_policies_and_another_choice_after_a_restart() {
    let hub = Hub::start_with(Database::Sqlite, LIVELY).await;
    let (client, folder) = (hub.client().await, folder(&hub));
    release(&client, "p", "a: 1").await;
    let last = release(&client, "q", "b: 1").await;
    for (asked, expected) in [(&["p"][..], &["p"][..]), (&["q"], &["q"]), (&[], &["p", "q"])] {
        let synced = once(&hub, &folder, asked).await;
        assert!(synced.status.success(), "{asked:?}: {}", String::from_utf8_lossy(&synced.stderr));
        let found = in_force(&folder).expect("a set");
        let ids: Vec<&str> = found.contents.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!((ids.as_slice(), found.revision <= last), (expected, true));
    }
}

#[tokio::test]
async fn a_folder_has_one_agent_and_one_namespace() {
    let hub = Hub::start_with(Database::Sqlite, LIVELY).await;
    let folder = folder(&hub);
    let agent = AgentProcess::start(&hub, &folder, &[]);
    agent.wait_for_event("it began", |event| event["event"] == "applied").await;
    let second = once(&hub, &folder, &[]).await;
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another agent keeps this folder"));
    assert!(agent.end("INT").await.success());
    let elsewhere = once(&hub, &folder, &["--namespace", "team-a"]).await;
    assert_eq!(elsewhere.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&elsewhere.stderr).contains("namespace default"));
}

#[tokio::test]
async fn a_folder_that_can_not_be_is_said_at_once() {
    let hub = Hub::start_with(Database::Sqlite, LIVELY).await;
    let file = hub.dir.path().join("a-file");
    fs::write(&file, "").expect("written");
    for folder in [file.clone(), file.join("below"), Path::new("/proc/policies").to_owned()] {
        let refused = once(&hub, &folder, &[]).await;
        assert_eq!(refused.status.code(), Some(1));
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains(&format!("failed to make {}", folder.display())), "{said}");
    }
}

#[tokio::test]
async fn what_the_disk_refuses_is_said_and_tried_again() {
    let hub = Hub::start_with(Database::Sqlite, LIVELY).await;
    let (client, folder) = (hub.client().await, folder(&hub));
    let first = release(&client, "p", "a: 1").await;
    let agent = AgentProcess::start(&hub, &folder, &[]);
    agent.applied(first).await;
    // Tests may run as root, whom permissions do not stop. A file in place of the directory does.
    let (sets, aside) = (folder.join("sets"), folder.join("aside"));
    fs::rename(&sets, &aside).expect("moved");
    fs::write(&sets, "in the way").expect("written");
    let second = release(&client, "p", "a: 2").await;
    is(&folder, "REJECTED").await;
    assert!(status(&folder)["problem"].as_str().is_some_and(|problem| problem.contains("failed to write")));
    let shown = subscriber_of(&client).await;
    assert!(shown.as_ref().is_none_or(|shown| shown.rejected.is_none()), "the set is not to blame: {shown:?}");
    fs::remove_file(&sets).expect("removed");
    fs::rename(&aside, &sets).expect("moved");
    agent.applied(second).await;
    is(&folder, "READY").await;
    applied_there(&client, second).await;
    assert_eq!(agent.count("rejected"), 0);
}

#[tokio::test]
async fn a_token_is_read_again_when_it_was_renewed() {
    let mut hub = Hub::start_with(Database::Sqlite, LIVELY).await;
    let (client, folder) = (hub.client().await, folder(&hub));
    let first = release(&client, "p", "a: 1").await;
    let token = hub.dir.path().join("agent.token");
    fs::write(&token, "not.a.token").expect("written");
    let agent = AgentProcess::start(&hub, &folder, &["--token-file", &token.display().to_string()]);
    agent
        .wait_for_event("it is not let in", |event| {
            event["event"] == "state"
                && event["problem"].as_str().is_some_and(|problem| problem.contains("TOKEN_MALFORMED"))
        })
        .await;
    assert_eq!(revision(&folder), None);
    fs::write(&token, hub.token()).expect("written");
    agent.applied(first).await;
    assert!(hub.is_running());
}

/// Scripts depend on these parts of an event.
#[tokio::test]
async fn events_are_lines_of_json() {
    let hub = Hub::start_with(Database::Sqlite, LIVELY).await;
    let (client, folder) = (hub.client().await, folder(&hub));
    let first = release(&client, "p", "a: 1").await;
    let synced = once(&hub, &folder, &[]).await;
    let lines = String::from_utf8(synced.stdout).expect("UTF-8");
    let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let applied = events.iter().find(|event| event["event"] == "applied").expect("an event");
    assert_eq!(
        (&applied["epoch"], &applied["revision"], &applied["changed"][0]),
        (&1.into(), &first.into(), &"p".into())
    );
    let last = events.last().expect("an event");
    assert_eq!((&last["event"], &last["state"]), (&"state".into(), &"READY".into()));
    let spoken = String::from_utf8_lossy(&synced.stderr).into_owned();
    assert!(spoken.contains(&format!("applied 1:{first}: p -> 1")), "{spoken}");
}
