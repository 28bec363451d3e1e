//! `policyhub agent`: versions that are activated again, a full disk, and names that do not exist.

use std::fs;
use std::path::Path;

use policyhub::client::pb;
use serde_json::Value;

use crate::harness::agents::{AGENT, AgentProcess, command, folder, is, once, revision, status};
use crate::harness::callers::{grant, issue};
use crate::harness::calls::{activate, draft, publish};
use crate::harness::disk_error::{DiskOperation, ENOSPC, FailingDisk};
use crate::harness::subscribing::{counts, eventually, subscribers};
use crate::harness::watching::LIVELY;
use crate::harness::{Database, Hub, on_both_databases};

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

on_both_databases! {
    with LIVELY;

    async fn activated_again_a_rejected_version_is_tried_again(hub: Hub) {
        let (client, folder) = (hub.client().await, folder(&hub));
        let [first, second] = [publish(&client, "p", "a: 1").await.version, publish(&client, "p", "a: 2").await.version];
        let base = activate(&client, "p", first).await;
        let mended = hub.dir.path().join("mended");
        let hook = format!(
            "test $POLICYHUB_REVISION -le {base} -o -e '{}' || {{ echo broken; exit 3; }}", mended.display()
        );
        let agent = AgentProcess::start(&hub, &folder, &["--hook", &hook]);
        agent.applied(base).await;
        let bad = activate(&client, "p", second).await;
        agent.rejected(bad).await;
        is(&folder, "REJECTED").await;
        fs::write(mended, "").expect("written");
        let again = activate(&client, "p", second).await;
        agent.applied(again).await;
        is(&folder, "READY").await;
        assert_eq!(revision(&folder), Some(again));
        eventually("the server knows", async || counts(&client, again).await == [1, 0, 0, 0]).await;

        // The set is already in force: the server gets the report, and the hook does not run.
        let applied = agent.count("applied");
        let same = activate(&client, "p", second).await;
        eventually("the server knows", async || counts(&client, same).await == [1, 0, 0, 0]).await;
        assert_eq!(agent.count("applied"), applied);
    }

    async fn each_activation_is_one_run_of_the_hook_also_of_the_same_version(hub: Hub) {
        let (client, folder, calls) = (hub.client().await, folder(&hub), hub.dir.path().join("calls"));
        let version = publish(&client, "p", "a: 1").await.version;
        let hook = format!("echo \"$POLICYHUB_REVISION $POLICYHUB_CHANGED\" >> '{}'", calls.display());
        let mut expected = vec![activate(&client, "p", version).await];
        let agent = AgentProcess::start(&hub, &folder, &["--every-activation", "--hook", &hook]);
        agent.applied(expected[0]).await;
        for _ in 0..5 {
            expected.push(activate(&client, "p", version).await);
        }
        agent.applied(expected[5]).await;
        assert_eq!(lines(&calls), expected.iter().map(|revision| format!("{revision} p")).collect::<Vec<_>>());
        eventually("the server knows", async || counts(&client, expected[5]).await == [1, 0, 0, 0]).await;
        is(&folder, "READY").await;
    }
}

/// Fills the disk: new files of the agent can no longer be written, while existing ones can be overwritten.
fn fill(disk: &FailingDisk) {
    let new = ["status.json.new", "mark.json.new", "active.json", "content.yaml", "manifest.jws"];
    disk.fail_all(&[DiskOperation::Write], ENOSPC, &new);
}

#[tokio::test]
async fn a_full_disk_is_said_in_the_file_that_probes_read_and_heals() {
    let hub = Hub::start_with(Database::Sqlite, LIVELY).await;
    let (client, folder, disk) = (hub.client().await, folder(&hub), FailingDisk::new(hub.dir.path()));
    let release = async |content: &str| {
        let version = publish(&client, "p", content).await.version;
        activate(&client, "p", version).await
    };
    release("a: 1").await;
    for (step, every_activation) in [&[][..], &["--every-activation"]].into_iter().enumerate() {
        let mut line = command(&hub, &folder, every_activation);
        line.envs(disk.environment());
        let agent = AgentProcess::spawn(line);
        is(&folder, "READY").await;
        fill(&disk);
        let newer = release(&format!("b: {step}")).await;
        is(&folder, "REJECTED").await;
        let said = status(&folder);
        assert!(said["problem"].as_str().is_some_and(|problem| problem.starts_with("disk full: ")), "{said}");
        assert!(said["behind"]["revisions"].is_i64() && said["in_force"]["revision"] != newer, "{said}");
        let shown = subscribers(&client).await.remove(AGENT).expect("listed");
        assert_eq!(shown.rejected, None, "the set is not to blame");
        let newest = release(&format!("c: {step}")).await;
        disk.heal();
        agent.applied(newest).await;
        is(&folder, "READY").await;
        assert_eq!(agent.applied_revisions().contains(&newer), !every_activation.is_empty(), "in order, or the newest");
        assert_eq!(revision(&folder), Some(newest));
        assert!(agent.end("TERM").await.success());
    }
}

#[tokio::test]
async fn a_policy_that_does_not_exist_is_said_until_it_is_made() {
    let hub = Hub::start_with(Database::Sqlite, LIVELY).await;
    let (client, folder) = (hub.client().await, folder(&hub));
    let version = publish(&client, "p", "a: 1").await.version;
    activate(&client, "p", version).await;
    draft(&client, "drafted", "a: 1").await;
    grant(&client, "runtime", pb::Role::Subscriber, "namespaces/default").await;
    let token = issue(&hub, &["--subject", "runtime", "--ttl", "1h"]);
    // The caller is a subscriber, not an admin: it may only ask for what it may watch.
    let asked = ["p", "drafted", "typo", "--token", &token];
    let synced = once(&hub, &folder, &asked).await;
    let said = String::from_utf8_lossy(&synced.stderr).into_owned();
    assert!(synced.status.success() && said.contains("typo does not exist; waiting for it to be made"), "{said}");
    assert!(!said.contains("drafted does not exist"), "{said}");
    assert_eq!(status(&folder)["missing"], Value::from(vec!["typo"]));

    let agent = AgentProcess::start(&hub, &folder, &asked);
    is(&folder, "READY").await;
    let made = publish(&client, "typo", "a: 1").await.version;
    let revision = activate(&client, "typo", made).await;
    agent.applied(revision).await;
    eventually("it is there", async || status(&folder)["missing"] == Value::Array(Vec::new())).await;

    let watched = hub.cli().args(["watch", "p", "nobody", "--until-revision", "1"]).output().expect("the binary runs");
    let said = String::from_utf8_lossy(&watched.stderr).into_owned();
    assert!(
        watched.status.success() && said.contains("nobody does not exist") && !said.contains("p does not"),
        "{said}"
    );
}
