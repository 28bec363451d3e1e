//! An agent that is killed: at each single disk operation, in its commands, and repeatedly under load.
//!
//! Whatever the moment, the folder holds a complete set that is not older than before, and the next agent continues.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use policyhub::client::Client;

use crate::harness::agents::{AgentProcess, command, folder, in_force, once, revision};
use crate::harness::calls::{activate, publish};
use crate::harness::subscribing::eventually;
use crate::harness::watching::LIVELY;
use crate::harness::{Database, Hub};

/// Publishes versions of one policy, so that an activation is one call.
async fn versions(client: &Client, count: i64) {
    for version in 1..=count {
        publish(client, "p", &format!("a: {version}")).await;
    }
}

/// Builds the library that kills at a disk operation, and returns its path.
pub fn killer(directory: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/harness/kill_at.c");
    let object = directory.join("kill_at.so");
    let flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"];
    let built = Command::new("cc").args(flags).arg(&object).arg(source).status();
    assert!(built.expect("cc runs").success());
    object
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.expect("cp runs").success());
}

/// Returns the disk operations of a trace, in order, with their paths.
fn steps(trace: &Path) -> Vec<[String; 3]> {
    let text = fs::read_to_string(trace).expect("a trace");
    let fields = |line: &str| line.split('\t').map(str::to_owned).collect::<Vec<_>>().try_into().expect("three fields");
    text.lines().map(fields).collect()
}

/// Checks the order of flushes, which a power cut depends on: the set before its name, its name before the link, the link before the set
/// counts as accepted.
fn is_flushed_in_order(folder: &Path, steps: &[[String; 3]]) {
    let path = |inner: &str| folder.join(inner).display().to_string();
    let after = |from: usize, what: &str, on: &str| {
        let found = steps.iter().skip(from).position(|[did, path, _]| did == what && path == on);
        from + found.unwrap_or_else(|| panic!("no {what} of {on} after step {from}: {steps:?}"))
    };
    let drafts = path("sets/.new-");
    let named = steps.iter().position(|[did, from, _]| did == "rename" && from.starts_with(&drafts)).expect("a set");
    let moved = after(named, "rename", &path(".agent/next"));
    assert_eq!(steps[moved][2], path("current"));
    let mut made = 0;
    for (at, [did, path, _]) in
        steps.iter().enumerate().take(named).filter(|(_, [_, path, _])| path.starts_with(&drafts))
    {
        if did == "create" || did == "mkdir" {
            made += 1;
            assert!(after(at, "sync", path) < named, "{path} is flushed before the set has its name");
        }
    }
    assert!(made >= 6, "the set, three directories, and the files that changed: {steps:?}");
    assert!(after(named, "sync", &path("sets")) < moved);
    let accepted = after(moved, "rename", &path(".agent/accepted.new"));
    assert!(after(moved, "sync", &folder.display().to_string()) < accepted);
    assert!(after(moved, "sync", &path(".agent/accepted.new")) < accepted);
    after(accepted, "sync", &path(".agent"));
}

#[tokio::test]
async fn killed_at_each_step_it_goes_on() {
    let hub = Hub::start_with(Database::Sqlite, LIVELY).await;
    let (client, before, tried) = (hub.client().await, hub.dir.path().join("before"), folder(&hub));
    versions(&client, 2).await;
    publish(&client, "q", "b: 1").await;
    let first = activate(&client, "p", 1).await.max(activate(&client, "q", 1).await);
    let ready = once(&hub, &before, &[]).await;
    assert!(ready.status.success(), "{}", String::from_utf8_lossy(&ready.stderr));
    let second = activate(&client, "p", 2).await;

    let (killer, trace) = (killer(hub.dir.path()), hub.dir.path().join("trace"));
    let run = |at: usize| -> Output {
        let _ = fs::remove_file(&trace);
        let mut line = command(&hub, &tried, &["--once"]);
        line.env("LD_PRELOAD", &killer).env("KILL_TRACE", &trace).env("KILL_AT", at.to_string());
        line.output().expect("the binary runs")
    };
    copy(&before, &tried);
    assert!(run(0).status.success());
    let steps = steps(&trace);
    is_flushed_in_order(&tried, &steps);
    let steps = steps.len();
    assert!(steps > 30, "{steps} steps: is the library in the way?");
    let mut seen = Vec::new();
    for at in 1..=steps {
        copy(&before, &tried);
        let killed = run(at);
        let left = in_force(&tried).unwrap_or_else(|| panic!("nothing is in force after a kill at step {at}"));
        let expected = if left.revision == second { "a: 2" } else { "a: 1" };
        assert!([first, second].contains(&left.revision), "step {at}");
        assert_eq!(left.contents[0].1, expected, "step {at}");
        seen.push(left.revision);
        let again = run(0);
        let said = String::from_utf8_lossy(&again.stderr).into_owned();
        assert!(again.status.success(), "after step {at} ({:?}): {said}", killed.status);
        assert_eq!(revision(&tried), Some(second), "step {at}");
        let left = fs::read_dir(tried.join("sets")).expect("listed").count();
        assert_eq!(left, 2, "after step {at}: leftovers");
    }
    assert!(seen.is_sorted(), "once in force, it stays: {seen:?}");
    assert!(seen.contains(&first) && seen.contains(&second));
}

#[tokio::test]
async fn killed_in_a_command_it_runs_the_command_again() {
    let mut hub = Hub::start_with(Database::Sqlite, LIVELY).await;
    let (client, folder) = (hub.client().await, folder(&hub));
    versions(&client, 3).await;
    let first = activate(&client, "p", 1).await;
    assert!(once(&hub, &folder, &[]).await.status.success());
    let second = activate(&client, "p", 2).await;
    let calls = hub.dir.path().join("calls");
    let note = format!("echo \"$POLICYHUB_REVISION\" >> '{}'", calls.display());
    let suicide = format!("{note}; kill -9 $PPID");

    let killed = once(&hub, &folder, &["--check", &suicide]).await;
    assert_eq!((killed.status.code(), revision(&folder)), (None, Some(first)), "checked, and not in force");
    let killed = once(&hub, &folder, &["--check", &note, "--hook", &suicide]).await;
    assert_eq!((killed.status.code(), revision(&folder)), (None, Some(second)), "in force, and not accepted");

    // The server is not needed: the hook runs again for the set in force, which is not rolled back.
    hub.kill().await;
    let agent = AgentProcess::start(&hub, &folder, &["--hook", &note]);
    eventually("the hook is run again", async || fs::read_to_string(&calls).expect("calls").lines().count() == 4).await;
    let called: Vec<i64> =
        fs::read_to_string(&calls).expect("calls").lines().map(|line| line.parse().expect("a revision")).collect();
    assert_eq!((called, revision(&folder)), (vec![second; 4], Some(second)));
    agent.end("KILL").await;
    let hub = hub.restart().await;
    let third = activate(&hub.client().await, "p", 3).await;
    let agent = AgentProcess::start(&hub, &folder, &["--hook", &note]);
    agent.applied(third).await;
    assert_eq!(fs::read_to_string(&calls).expect("calls").lines().count(), 5, "once for what is new");
}

#[tokio::test]
async fn killed_again_and_again_it_never_goes_back() {
    const KILLS: u64 = 25;
    let hub = Hub::start_with(Database::Sqlite, LIVELY).await;
    let (client, folder) = (hub.client().await, folder(&hub));
    versions(&client, 2).await;
    let mut highest = None;
    for kill in 0..KILLS {
        let agent = AgentProcess::start(&hub, &folder, &["--hook", "true"]);
        // Some agents are killed while they start, some while they apply the newest set, some later: the test can't choose the moment.
        for version in [1, 2] {
            activate(&client, "p", version).await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(kill * 13)).await;
        agent.end("KILL").await;
        let found = in_force(&folder).map(|found| found.revision);
        assert!(found >= highest, "{found:?} after {highest:?}");
        highest = found;
    }
    let last = activate(&client, "p", 1).await;
    let agent = AgentProcess::start(&hub, &folder, &["--hook", "true"]);
    agent.applied(last).await;
    assert!(fs::read_dir(folder.join("sets")).expect("listed").count() <= 4, "what kills left is gone");
}
