//! A release that is killed repeatedly, by SIGKILL at random moments, reaches the same state as one without a kill.

use std::collections::BTreeMap;
use std::process::{Child, Stdio};

use policyhub::client::{Client, pb};

use super::repository::Repository;
use crate::harness::calls::{NAMESPACE, events, head, policy};
use crate::harness::{Database, Hub, on_both_databases};

const POLICIES: usize = 6;
const LABELS: [&str; 3] = ["1.0.0", "1.1.0", "2.0.0"];
/// Number of events of a complete release: drafts, publications, one activation.
const EVENTS: i64 = (POLICIES * LABELS.len() * 2) as i64 + 1;

/// The final state: versions with number, label, digest and state, and what is in force.
type ReleaseEnd = BTreeMap<String, (Vec<(i64, String, String, i32)>, i64)>;

async fn end(client: &Client) -> ReleaseEnd {
    let mut end = ReleaseEnd::new();
    for number in 0..POLICIES {
        let id = format!("p{number}");
        let request = pb::ListVersionsRequest { parent: policy(&id), page_size: 100, ..Default::default() };
        let versions = client.list_versions(request).await.expect("versions").versions;
        let received = versions.into_iter().map(|one| (one.version, one.label, one.digest, one.state)).collect();
        let active = crate::harness::calls::active(client, &id).await;
        end.insert(id, (received, active));
    }
    end
}

fn repository() -> Repository {
    let repository = Repository::new();
    for number in 0..POLICIES {
        for label in LABELS {
            repository.version(&format!("p{number}"), label, &format!("policy: {number}\nlabel: {label}"));
        }
    }
    repository.commit();
    repository
}

/// Returns what was delivered, without times: the two servers published at different times.
fn without_times(mut delivered: serde_json::Value) -> serde_json::Value {
    for version in delivered["versions"].as_object_mut().expect("versions").values_mut() {
        assert!(version.as_object_mut().expect("an entry").remove("time").is_some(), "{version}");
    }
    delivered
}

fn start(repository: &Repository, hub: &Hub) -> Child {
    let mut command = repository.command(hub, &["--activate", "--jobs", "3"]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs")
}

/// Kills the release and returns whether it was still running.
fn kill(mut child: Child) -> bool {
    let is_running = child.try_wait().expect("a child").is_none();
    // This sends SIGKILL.
    child.kill().expect("killed, or ended");
    child.wait().expect("an end");
    is_running
}

on_both_databases! {
    async fn whenever_it_is_killed_the_next_run_ends_as_if_nobody_had(hub: Hub) {
        let client = hub.client().await;
        let repository = repository();
        let other = Hub::start(Database::Sqlite).await;
        let unkilled = Repository::cloned(&repository, &[]);
        unkilled.release(&other, &["--activate"]).is(0, "success");

        let before = head(&client).await;
        let mut kills = 0;
        for more in [1, 1, 2, 3, 1, 5, 4, 7, 2, 6, 1, 9, 3] {
            let (from, mut child) = (head(&client).await, start(&repository, &hub));
            // Wait until this many more events are in the log, or all of them, and then kill at once.
            while head(&client).await < (from + more).min(before + EVENTS) && child.try_wait().expect("a child").is_none() {}
            kills += usize::from(kill(child));
            repository.delivered();
        }
        // Writing the file of deliveries is another moment.
        for _ in 0..POLICIES {
            let (names, mut child) = (repository.delivered_names().len(), start(&repository, &hub));
            while repository.delivered_names().len() == names && child.try_wait().expect("a child").is_none() {}
            kills += usize::from(kill(child));
        }
        assert!(kills >= 8, "only {kills} kills came in time");
        repository.release(&hub, &["--activate"]).is(0, "success");

        assert_eq!(end(&client).await, end(&other.client().await).await);
        assert_eq!(without_times(repository.delivered()), without_times(unkilled.delivered()));
        assert_eq!(repository.baseline(), unkilled.baseline());
        let log = events(&client, NAMESPACE, before).await;
        let count = |kind| log.iter().filter(|event| event.kind() == kind).count();
        assert_eq!(count(pb::EventKind::Publish), POLICIES * LABELS.len(), "each is published once");
        assert_eq!(count(pb::EventKind::Activate), 1, "all of it is activated once");
        assert_eq!(log.len() as i64, EVENTS, "nothing else happened");
    }

    async fn a_server_that_is_killed_meanwhile_leaves_the_rest_to_the_next_release(hub: Hub) {
        let mut hub = hub;
        let repository = repository();
        let client = hub.client().await;
        let from = head(&client).await;
        let mut command = repository.command(&hub, &["--activate", "--jobs", "2"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it runs");
        while head(&client).await < from + 9 && child.try_wait().expect("a child").is_none() {}
        hub.kill().await;
        let output = child.wait_with_output().expect("an end");
        assert!(matches!(output.status.code(), Some(1 | 3)), "{output:?}");
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one document");
        let unreached = document.to_string().matches("the server can't be reached").count();
        assert!(unreached > 0, "a server that is gone is not tried for each version: {document}");
        assert_eq!(repository.baseline(), "");
        let hub = hub.restart().await;
        repository.release(&hub, &["--activate"]).is(0, "success");
        let end = end(&hub.client().await).await;
        let is_whole = |(versions, active): &(Vec<(i64, String, String, i32)>, i64)| versions.len() == 3 && *active == 3;
        assert!(end.values().all(is_whole), "{end:#?}");
        assert_eq!(repository.delivered_names().len(), POLICIES * LABELS.len());
    }
}
