//! A second store whose documents a subscriber trusts too: its policies never replace those of the first store, even when the saved set is
//! unusable, and the first store repairs any damage.

use std::fs;
use std::path::Path;

use policyhub::client::pb;
use policyhub::client::signing::KeySet;
use serde_json::Value;

use crate::harness::agents::{AgentProcess, in_force, is, status};
use crate::harness::calls::release;
use crate::harness::copies::run;
use crate::harness::watching::{LIVELY, keys};
use crate::harness::{Database, Hub, on_both_databases};

/// Writes the keys of both stores to one file, as it is while policies move from one store to the other, and returns its path.
async fn keys_of_both(one: &Hub, other: &Hub) -> String {
    let mut all = Vec::new();
    for hub in [one, other] {
        all.extend(keys(&hub.client().await).await.keys().cloned());
    }
    let path = one.dir.path().join("both.json");
    fs::write(&path, KeySet::from_keys(all).to_jwks().to_string()).expect("written");
    path.display().to_string()
}

/// Returns the id of a store, as `policyhub keys list` shows it.
async fn store_of(hub: &Hub) -> String {
    hub.client().await.list_signing_keys(pb::ListSigningKeysRequest::default()).await.expect("keys").store
}

/// Returns the path of a file that the agent's watcher keeps.
fn kept(folder: &Path, name: &str) -> std::path::PathBuf {
    folder.join(".agent/watcher").join(name)
}

fn store_in(path: &Path) -> String {
    let value: Value = serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON");
    value["store"].as_str().expect("the id of a store").to_owned()
}

/// What happens to the saved set between two runs.
type Damage = fn(&Path);

on_both_databases! {
    with LIVELY;

    async fn another_store_is_refused_whatever_became_of_the_saved_set(hub: Hub) {
        let other = Hub::start_with(Database::Sqlite, LIVELY).await;
        let (client, stranger) = (hub.client().await, other.client().await);
        for id in ["p", "q"] {
            release(&client, id, "a: 1").await;
        }
        // The other store is ahead, so that only its id distinguishes its messages from newer ones.
        for id in ["p", "x", "y", "z"] {
            release(&stranger, id, "a: 66").await;
        }
        let jwks = keys_of_both(&hub, &other).await;
        let nothing: Damage = |_| {};
        let cases: [(&str, &[&str], &[&str], Damage); 6] = [
            ("nothing", &[], &[], nothing),
            ("a filter that was added", &[], &["p"], nothing),
            ("a filter that was removed", &["p"], &[], nothing),
            ("a damaged index", &[], &[], |folder| fs::write(kept(folder, "active.json"), "{").expect("written")),
            ("no index", &[], &[], |folder| fs::remove_file(kept(folder, "active.json")).expect("removed")),
            ("a damaged content", &[], &[], |folder| {
                for content in fs::read_dir(kept(folder, "contents")).expect("contents") {
                    fs::write(content.expect("a content").path(), "x").expect("written");
                }
            }),
        ];
        for (index, (what, before, after, damage)) in cases.into_iter().enumerate() {
            let folder = hub.dir.path().join(format!("folder-{index}"));
            let with = |policies: &'static [&str]| [&["--jwks", &jwks], policies].concat();
            let agent = AgentProcess::start(&hub, &folder, &with(before));
            is(&folder, "READY").await;
            agent.end("TERM").await;
            let own = store_in(&kept(&folder, "mark.json"));
            let held = in_force(&folder).expect("a set");
            damage(&folder);

            let agent = AgentProcess::start(&other, &folder, &with(after));
            is(&folder, "DIVERGED").await;
            agent.end("TERM").await;
            assert_eq!(in_force(&folder).expect("a set"), held, "{what}: what was in force stays");
            let problem = status(&folder)["problem"].as_str().expect("a problem").to_owned();
            assert!(problem.contains(" is signed for store ") && problem.ends_with(&own), "{what}: {problem}");
            assert_eq!(store_in(&kept(&folder, "mark.json")), own, "{what}");

            let agent = AgentProcess::start(&hub, &folder, &with(after));
            is(&folder, "READY").await;
            agent.end("TERM").await;
            let contents = in_force(&folder).expect("a set").contents;
            assert!(contents.iter().all(|(_, content)| content == "a: 1"), "{what}: {contents:?}");
            assert_eq!(contents.len(), if after.is_empty() { 2 } else { 1 }, "{what}: {contents:?}");
        }
    }

    async fn who_names_the_store_takes_no_other_at_first_contact(hub: Hub) {
        let other = Hub::start_with(Database::Sqlite, LIVELY).await;
        release(&hub.client().await, "p", "a: 1").await;
        release(&other.client().await, "p", "a: 66").await;
        let jwks = keys_of_both(&hub, &other).await;
        let own = store_of(&hub).await;
        let folder = hub.dir.path().join("folder");
        let arguments = ["--jwks", &jwks, "--store", &own];
        let agent = AgentProcess::start(&other, &folder, &arguments);
        is(&folder, "DIVERGED").await;
        agent.end("TERM").await;
        assert!(in_force(&folder).is_none(), "nothing of another store");

        let agent = AgentProcess::start(&hub, &folder, &arguments);
        is(&folder, "READY").await;
        agent.end("TERM").await;
        let contents = in_force(&folder).expect("a set").contents;
        assert!(contents.iter().all(|(_, content)| content == "a: 1"), "{contents:?}");

        // The saved set is of one store, and the command asks for the other one.
        let theirs = store_of(&other).await;
        let mut command = other.cli();
        command.args(["agent", "--once", "--jwks", &jwks, "--store", &theirs, "--dir"]).arg(&folder);
        let (code, said) = run(command);
        assert!(code == 1 && said.contains("take another directory"), "{code}: {said}");
    }
}
