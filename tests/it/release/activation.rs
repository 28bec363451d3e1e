//! `release --activate`: one activation of everything that was published, and the effects of a kill or of another person in between.

use policyhub::client::pb;

use super::repository::Repository;
use crate::harness::calls::{NAMESPACE, active, events, head, rollback_request, set};
use crate::harness::{Database, Hub, on_both_databases};

/// Makes `.state` list these as waiting for activation.
fn make_pending(repository: &Repository, names: &[&str]) {
    let mut delivered = repository.delivered();
    for name in names {
        delivered["versions"][name]["activation"] = "pending".into();
    }
    repository.write(".state/delivered.json", delivered.to_string());
}

fn pending(repository: &Repository) -> usize {
    repository.delivered().to_string().matches("pending").count()
}

on_both_databases! {
    async fn everything_published_is_put_in_force_by_one_event(hub: Hub) {
        let client = hub.client().await;
        let repository = Repository::new();
        for (policy, label) in [("p", "1.0.0"), ("p", "1.1.0"), ("q", "2.0.0"), ("r", "0.1.0")] {
            repository.version(policy, label, "a: 1");
        }
        repository.version("bad", "1.0.0", "a: [");
        let commit = repository.commit();
        let ended = repository.release(&hub, &["--activate"]);
        ended.is(3, "partial");
        let last = head(&client).await;
        assert_eq!(ended.json()["activation"]["revision"], last);
        let event = events(&client, NAMESPACE, last - 1).await.pop().expect("an event");
        let moved: Vec<(&str, i64)> =
            event.changes.iter().map(|change| (change.policy.rsplit('/').next().expect("an id"), change.version)).collect();
        assert_eq!(moved, [("p", 2), ("q", 1), ("r", 1)]);
        assert_eq!(event.reason, format!("release of git commit {commit}"));
        assert_eq!(pending(&repository), 0);

        // Versions delivered without the option stay as they are; with a custom reason.
        repository.version("bad", "1.0.0", "a: 1");
        repository.version("q", "2.1.0", "a: 1");
        repository.commit();
        let ended = repository.release(&hub, &["--activate", "--reason", "spring"]);
        let targets = serde_json::json!([{"policy": "bad", "label": "1.0.0", "version": 1}, {"policy": "q", "label": "2.1.0", "version": 2}]);
        assert_eq!(ended.is(0, "success").json()["activation"]["targets"], targets);
        assert_eq!(events(&client, NAMESPACE, head(&client).await - 1).await[0].reason, "spring");
    }

    async fn what_a_killed_run_left_is_activated_once_and_no_rollback_is_undone(hub: Hub) {
        let client = hub.client().await;
        let repository = Repository::new();
        for policy in ["p", "q"] {
            repository.version(policy, "1.0.0", "a: 1");
        }
        repository.commit();
        repository.release(&hub, &["--activate"]).is(0, "success");
        for policy in ["p", "q"] {
            repository.version(policy, "1.1.0", "a: 1");
        }
        repository.commit();
        // As if killed before the activation: the versions are published, and the state on the disk says so.
        repository.release(&hub, &[]).is(0, "success");
        make_pending(&repository, &["p@v1.1.0", "q@v1.1.0"]);
        let ended = repository.release(&hub, &[]);
        assert_eq!(ended.lines("notes"), ["some published versions wait for a release with --activate"]);
        let ended = repository.release(&hub, &["--activate"]);
        assert_eq!(ended.is(0, "success").json()["activation"]["targets"].as_array().map(Vec::len), Some(2));
        assert_eq!((active(&client, "p").await, active(&client, "q").await, pending(&repository)), (2, 2, 0));

        // A number that is not the label's, as somebody who may change the repository could write.
        let mut delivered = repository.delivered();
        delivered["versions"]["q@v1.1.0"]["version"] = 1.into();
        delivered["versions"]["q@v1.1.0"]["activation"] = "pending".into();
        let kept = repository.delivered();
        repository.write(".state/delivered.json", delivered.to_string());
        let ended = repository.release(&hub, &["--activate"]);
        assert!(ended.is(1, "failed").lines("problems")[0].contains("says that q@v1.1.0 is version 1"), "{ended:?}");
        repository.write(".state/delivered.json", kept.to_string());

        // As if killed after the activation, followed by a rollback of somebody.
        make_pending(&repository, &["p@v1.1.0", "q@v1.1.0"]);
        client.rollback(rollback_request("p", 1)).await.expect("a rollback");
        let before = head(&client).await;
        let ended = repository.release(&hub, &["--activate"]);
        assert_eq!(ended.is(0, "success").json()["activation"], serde_json::Value::Null);
        assert_eq!((active(&client, "p").await, head(&client).await, pending(&repository)), (1, before, 0));

        // As if the runner lost all that it wrote: the first time the version was never in force, later it was.
        repository.version("p", "1.2.0", "a: 1");
        repository.commit();
        repository.release(&hub, &[]).is(0, "success");
        for (expected, activation) in [(3, true), (3, false)] {
            repository.remove(".state");
            let ended = repository.release(&hub, &["--activate"]);
            assert_eq!(ended.is(0, "success").json()["activation"].is_object(), activation, "{ended:?}");
            assert_eq!((active(&client, "p").await, active(&client, "q").await), (expected, 2));
        }
    }

    async fn nothing_lower_than_what_is_in_force_is_activated(hub: Hub) {
        let client = hub.client().await;
        let repository = Repository::new();
        repository.version("p", "2.0.0", "a: 2");
        repository.commit();
        repository.release(&hub, &["--activate"]).is(0, "success");
        set(&client, "p", pb::PolicySettings { allow_backport: true, ..Default::default() }).await;
        repository.version("p", "1.0.1", "a: 1");
        repository.version("q", "1.0.1", "a: 1");
        repository.commit();
        let ended = repository.release(&hub, &["--activate"]);
        assert_eq!(ended.is(0, "success").lines("notes"), ["p@v1.0.1 was not activated: v2.0.0 is in force, and higher"]);
        assert_eq!((active(&client, "p").await, active(&client, "q").await, pending(&repository)), (1, 1, 0));
    }
}

#[tokio::test]
async fn more_than_one_activation_carries_is_refused_before_anything_is_published() {
    let hub = Hub::start(Database::Sqlite).await;
    let client = hub.client().await;
    let repository = Repository::new();
    for number in 0..101 {
        repository.version(&format!("p{number}"), "1.0.0", "a: 1");
    }
    repository.version("p7", "1.1.0", "a: [");
    repository.commit();
    let before = head(&client).await;
    let ended = repository.release(&hub, &["--activate"]);
    assert_eq!(ended.is(1, "failed").json()["counts"]["held_back"], 101);
    let problem = &ended.lines("problems")[0];
    assert!(
        problem.starts_with(
            "101 policies would be activated, and one activation takes at most 100: nothing was published"
        ),
        "{problem}"
    );
    assert!(problem.contains("split the release") && problem.contains("without --activate"), "{problem}");
    assert_eq!((head(&client).await, repository.delivered_names().len()), (before, 0));
    repository.remove("policies/p100");
    repository.remove("policies/p7/v1.1.0");
    // Seventeen contents of slightly less than 1 MiB are over 16 MiB.
    for number in 0..17 {
        let policy = format!("p{number}");
        repository.version(&policy, "1.0.0", &format!("a: {}", "x".repeat(1024 * 1024 - 3)));
    }
    repository.commit();
    let ended = repository.release(&hub, &["--activate"]);
    assert!(ended.is(1, "failed").lines("problems")[0].starts_with("contents of 178"), "{:?}", ended.lines("problems"));
    assert_eq!(head(&client).await, before);
    for gone in ["policies/p0", "policies/p1"] {
        repository.remove(gone);
    }
    repository.commit();
    let ended = repository.release(&hub, &["--activate", "--jobs", "8"]);
    assert_eq!(ended.is(0, "success").json()["activation"]["targets"].as_array().map(Vec::len), Some(98));
}
