//! The stream vectors against `policyhub watch`, checked by its output. The command ends at a refusal and keeps no state: of a lie in
//! several streams it sees those up to the first refusal.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::format::{ExpectedSet, StreamCase, StreamVectors, VectorSet};
use super::{StreamStage, each_by_a_process, expected, frames};
use crate::harness::clock;
use crate::harness::hostile_server::Act;
use crate::harness::hub::binary;
use crate::harness::signer::now;
use crate::harness::subscribing::eventually;
use crate::harness::watching::DEADLINE;

#[tokio::test]
async fn watch_gives_the_verdict_of_each() {
    let (vectors, built) = (StreamVectors::read(), tempfile::tempdir().expect("a directory"));
    clock::build(built.path());
    let count = each_by_a_process(&vectors, async |case| play(&vectors, &case, built.path()).await).await;
    assert_eq!(count, vectors.cases.len());
}

/// The set of a reader that believes each printed line.
#[derive(Debug, Default, Clone)]
struct Printed {
    set: Option<VectorSet>,
    /// The bundles and tombstones of all parts but the last one.
    parts: Vec<Value>,
}

impl Printed {
    fn line(&mut self, line: &Value) {
        let (is_snapshot, part) = match (&line["snapshot"], &line["activation"]) {
            (Value::Object(_), _) => (true, &line["snapshot"]),
            (_, Value::Object(_)) => (false, &line["activation"]),
            // Parts do not outlive their stream.
            _ if line["opened"].is_object() => return self.parts.clear(),
            _ => return self.moves_to(&line["heartbeat"]["cursor"]),
        };
        self.parts.push(part.clone());
        if part["complete"] != true {
            return;
        }
        let at =
            |cursor: &Value| (cursor["epoch"].as_i64().expect("a number"), cursor["revision"].as_i64().expect("one"));
        let (epoch, revision) = at(&part["cursor"]);
        let mut policies = self.set.take().filter(|_| !is_snapshot).map(|set| set.policies).unwrap_or_default();
        for part in std::mem::take(&mut self.parts) {
            let list = |name: &str| part[name].as_array().cloned().unwrap_or_default();
            for entry in list("bundles") {
                let (epoch, revision) = at(&entry["activation"]);
                let name = entry["name"].as_str().expect("a name");
                let version = entry["version"].as_i64().expect("a number");
                let digest = entry["digest"].as_str().expect("a digest").to_owned();
                let policy = name.split('/').nth(3).expect("a policy").to_owned();
                policies.insert(policy, ExpectedSet { version, digest, epoch, revision });
            }
            for name in list("tombstones") {
                policies.remove(name.as_str().and_then(|name| name.rsplit('/').next()).expect("a policy"));
            }
        }
        self.set = Some(VectorSet { epoch, revision, policies });
    }

    fn moves_to(&mut self, cursor: &Value) {
        if let (Some(set), Some(revision)) = (&mut self.set, cursor["revision"].as_i64()) {
            set.revision = revision;
        }
    }
}

/// A running `policyhub watch`.
struct WatchCommand {
    child: Child,
    printed: Arc<Mutex<Printed>>,
}

impl WatchCommand {
    fn start(vectors: &StreamVectors, case: &StreamCase, stage: &StreamStage, scratch: &Path) -> Self {
        let mut command: Command = binary();
        clock::preload(scratch, &mut command);
        command.env("POLICYHUB_SERVER", &stage.endpoint).env("POLICYHUB_TOKEN", "secret");
        let newest = vectors.set(&case.after, &[]).revision.to_string();
        command
            .args(["watch", "--output", "json", "--until-revision", &newest, "--jwks"])
            .arg(scratch.join("keys.json"));
        let mut child = command.args(&case.filter).stdout(Stdio::piped()).spawn().expect("the binary runs");
        let lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        let printed = Arc::new(Mutex::new(Printed::default()));
        let seen = Arc::clone(&printed);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                seen.lock().expect("lines").line(&serde_json::from_str(&line).expect("a JSON document on each line"));
            }
        });
        Self { child, printed }
    }

    fn set(&self) -> Option<VectorSet> {
        self.printed.lock().expect("lines").set.clone()
    }

    /// Waits until the process ends and returns whether it succeeded.
    async fn ends(&mut self, what: &str) -> bool {
        let mut status = None;
        let ending = async {
            while status.is_none() {
                status = self.child.try_wait().expect("a child");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(DEADLINE, ending).await.unwrap_or_else(|_| panic!("{what}: does not end"));
        status.is_some_and(|status| status.success())
    }
}

impl Drop for WatchCommand {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn play(vectors: &StreamVectors, case: &StreamCase, built: &Path) {
    let (stage, what, scratch) =
        (StreamStage::of(vectors, case, false).await, &case.name, tempfile::tempdir().expect("a directory"));
    clock::copy(built, scratch.path());
    clock::shift(scratch.path(), case.clock - now());
    fs::write(scratch.path().join("keys.json"), vectors.pins.to_string()).expect("written");
    let mut watching = WatchCommand::start(vectors, case, &stage, scratch.path());
    let (then, after) = (expected(vectors, case), vectors.set(&case.after, &case.filter));
    let reached = then.as_ref() == Some(&after);
    if case.then.refused > 0 || reached {
        assert_eq!(watching.ends(what).await, reached, "{what}: a refusal is a failure");
    } else {
        stage.is_over(case).await;
    }
    eventually(&format!("{what}: prints {then:?}"), async || watching.set() == then).await;
    if reached {
        return;
    }
    if case.then.refused > 0 {
        // The command has ended: another one begins, with the honest stream.
        stage.hostile.become_honest();
        let repair = frames(vectors, &case.repair).into_iter().chain([Act::Silence]);
        stage.hostile.script().streams.push_back(repair.collect());
        watching = WatchCommand::start(vectors, case, &stage, scratch.path());
    } else {
        stage.hostile.become_honest();
    }
    assert!(watching.ends(what).await, "{what}: is repaired");
    eventually(&format!("{what}: prints {after:?}"), async || watching.set().as_ref() == Some(&after)).await;
}
