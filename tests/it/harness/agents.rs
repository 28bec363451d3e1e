//! Starts the agent as a process, and reads its folder as a runtime in another language does.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::Hub;
use super::subscribing::eventually;

/// The subscriber id of the tests' agents.
pub const AGENT: &str = "shop";

/// A running agent.
#[derive(Debug)]
pub struct AgentProcess {
    child: Child,
    events: Arc<Mutex<Vec<Value>>>,
}

/// Returns an agent's command line against a server, for a folder.
pub fn command(hub: &Hub, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = hub.cli();
    command.args(["agent", "--output", "json", "--subscriber-id", AGENT, "--dir"]).arg(folder).args(arguments);
    command
}

/// Runs an agent that ends by itself and returns its output.
pub async fn once(hub: &Hub, folder: &Path, arguments: &[&str]) -> Output {
    let mut command = command(hub, folder, &[&["--once"], arguments].concat());
    tokio::task::spawn_blocking(move || command.output()).await.expect("a thread").expect("the binary runs")
}

impl AgentProcess {
    /// Starts an agent with these arguments.
    pub fn start(hub: &Hub, folder: &Path, arguments: &[&str]) -> Self {
        Self::spawn(command(hub, folder, arguments))
    }

    /// Starts an agent by its command line.
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary runs");
        let lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&events);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let event = serde_json::from_str(&line).expect("one JSON document on each line");
                seen.lock().expect("the events").push(event);
            }
        });
        Self { child, events }
    }

    /// Waits until the agent printed an event for which `holds` is true.
    pub async fn wait_for_event(&self, what: &str, holds: impl Fn(&Value) -> bool) {
        eventually(what, async || self.events.lock().expect("the events").iter().any(&holds)).await;
    }

    /// Waits until the agent applied a revision.
    pub async fn applied(&self, revision: i64) {
        self.wait_for_event(&format!("{revision} is applied"), |event| {
            event["event"] == "applied" && event["revision"] == revision
        })
        .await;
    }

    /// Waits until the agent rejected a revision.
    pub async fn rejected(&self, revision: i64) {
        self.wait_for_event(&format!("{revision} is rejected"), |event| {
            event["event"] == "rejected" && event["revision"] == revision
        })
        .await;
    }

    /// Counts the printed events of this name.
    pub fn count(&self, name: &str) -> usize {
        self.events.lock().expect("the events").iter().filter(|event| event["event"] == name).count()
    }

    /// Returns the applied revisions, in order.
    pub fn applied_revisions(&self) -> Vec<i64> {
        let events = self.events.lock().expect("the events");
        let applied = events.iter().filter(|event| event["event"] == "applied");
        applied.map(|event| event["revision"].as_i64().expect("a revision")).collect()
    }

    /// Returns the peak memory of the process, in KiB.
    pub fn peak_kib(&self) -> u64 {
        super::peak_kib(self.child.id())
    }

    /// Sends a signal and waits until the process ends.
    pub async fn end(mut self, signal: &str) -> ExitStatus {
        let status = Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
        self.ended().await
    }

    /// Waits until the process ends.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the agent ends", async || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        })
        .await;
        status.expect("a status")
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The active set of a folder as a runtime reads it: the link is resolved once, and every file is read below its target.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentSet {
    /// The revision of the set.
    pub revision: i64,
    /// Contents by policy.
    pub contents: Vec<(String, String)>,
}

/// Returns the set that the link points at; `None` without a link. Panics when the set is incomplete.
pub fn in_force(folder: &Path) -> Option<AgentSet> {
    std::fs::symlink_metadata(folder.join("current")).ok()?;
    let place = folder.join("current").canonicalize().expect("the link leads to a set");
    let index = json(&place.join("active.json"));
    let contents = index["policies"].as_array().expect("policies").iter().map(|entry| {
        let file = |name: &str| place.join(entry[name].as_str().expect("a path"));
        let content = std::fs::read_to_string(file("content")).expect("content");
        let digest = policyhub::client::signing::digest_of(content.as_bytes());
        assert_eq!(entry["digest"], digest.as_str(), "content is what the index says");
        assert!(file("manifest").is_file(), "its proof is beside it");
        (entry["policy"].as_str().expect("an id").to_owned(), content)
    });
    Some(AgentSet { revision: index["revision"].as_i64().expect("a revision"), contents: contents.collect() })
}

/// Returns the revision in force.
pub fn revision(folder: &Path) -> Option<i64> {
    Some(in_force(folder)?.revision)
}

/// Returns `status.json` of the folder.
pub fn status(folder: &Path) -> Value {
    json(&folder.join("status.json"))
}

/// Waits until `status.json` has this state.
pub async fn is(folder: &Path, state: &str) {
    let path = folder.join("status.json");
    eventually(state, async || path.exists() && status(folder)["state"] == state).await;
}

/// Returns a folder for an agent, beside the data of a server.
pub fn folder(hub: &Hub) -> PathBuf {
    hub.dir.path().join("policies")
}

fn json(path: &Path) -> Value {
    let text = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).expect("JSON")
}
