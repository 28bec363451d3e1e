//! Activate: many pointers at once, compare-and-set under real concurrency, and validate_only.

use std::collections::BTreeMap;
use std::sync::Arc;

use policyhub::client::pb::activate_target::To;
use policyhub::client::signing::verify_statement;
use policyhub::client::{Client, ClientError, pb};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tonic::Code;

use crate::harness::calls::{
    NAMESPACE, Revision as _, activate, active, deactivate, draft, events, get, head, policy, publish, refused,
    refused_fields, trust, try_activate,
};
use crate::harness::on_both_databases;
use crate::harness::watching::{activation, change, held, in_force, open};

/// Clients that compete, each with its own connection.
const RIVALS: usize = 48;

fn request(targets: &[(&str, i64, Option<i64>)]) -> pb::ActivateRequest {
    let target = |(policy, version, expected_active): &(&str, i64, Option<i64>)| pb::ActivateTarget {
        policy: (*policy).to_owned(),
        to: Some(if *version == 0 { To::None(()) } else { To::Version(*version) }),
        expected_active: *expected_active,
    };
    pb::ActivateRequest {
        parent: NAMESPACE.to_owned(),
        targets: targets.iter().map(target).collect(),
        reason: "all together".to_owned(),
        ..Default::default()
    }
}

/// Publishes versions 1 and 2 of policies a, b and c.
async fn three(client: &Client) {
    for id in ["a", "b", "c"] {
        publish(client, id, "n: 1").await;
        publish(client, id, "n: 2").await;
    }
}

/// Activates a version of "p". What is refused as UNAVAILABLE, as when too many wait for a lock, is tried again with the same request id.
async fn settled(
    client: &Client,
    version: i64,
    expected: i64,
    caller: usize,
) -> Result<pb::ActivateResponse, ClientError> {
    let request_id = format!("{caller}-{version}");
    let again = pb::ActivateRequest { request_id, ..request(&[("p", version, Some(expected))]) };
    loop {
        match client.activate(again.clone()).await {
            Err(error) if error.code() == Code::Unavailable => tokio::task::yield_now().await,
            answer => return answer,
        }
    }
}

async fn pointers(client: &Client) -> [i64; 3] {
    [active(client, "a").await, active(client, "b").await, active(client, "c").await]
}

on_both_databases! {
    /// Given many targets, one activation is one event and revision, with one statement over every change, in the order of the targets.
    async fn many_policies_move_in_one_event(hub: Hub) {
        let client = hub.client().await;
        three(&client).await;
        activate(&client, "b", 1).await;
        let at = head(&client).await;
        let (c, b, a) = (policy("c"), "b", "a");
        let answer = client.activate(request(&[(&c, 1, None), (b, 2, Some(1)), (a, 2, Some(0))])).await;
        let answer = answer.expect("an activation");
        assert_eq!((answer.cursor.revision(), head(&client).await, pointers(&client).await), (at + 1, at + 1, [2, 2, 1]));
        let activation = answer.activation.expect("a summary");
        let moved: Vec<(String, i64, i64)> =
            activation.changes.iter().map(|each| (each.policy.clone(), each.version, each.previous_version)).collect();
        assert_eq!(moved, [(policy("c"), 1, 0), (policy("b"), 2, 1), (policy("a"), 2, 0)]);

        let statement = verify_statement(&activation.statement, &trust(&client).await.keys).expect("a statement");
        assert_eq!((statement.revision, statement.kind.as_str()), (at + 1, "ACTIVATE"));
        let signed: Vec<(String, i64, i64)> =
            statement.changes.iter().map(|each| (policy(each.policy.as_str()), each.version, each.previous)).collect();
        assert_eq!(signed, moved);
        for id in ["a", "b", "c"] {
            assert_eq!(get(&client, id).await.activation.revision(), at + 1);
            let about = events(&client, &policy(id), at).await;
            assert_eq!(about.len(), 1, "it is in the history of {id}");
            assert_eq!((about[0].reason.as_str(), about[0].policy.as_str()), ("all together", ""));
        }
    }

    /// Given one bad target, nothing moves at all.
    async fn all_or_none(hub: Hub) {
        let client = hub.client().await;
        three(&client).await;
        draft(&client, "c", "n: 3").await;
        activate(&client, "a", 1).await;
        let at = head(&client).await;
        for (bad, code, reason) in [
            (("c", 3, None), Code::FailedPrecondition, "VERSION_NOT_PUBLISHED"),
            (("c", 9, None), Code::NotFound, "VERSION_NOT_FOUND"),
            (("nobody", 1, None), Code::NotFound, "POLICY_NOT_FOUND"),
            (("c", 2, Some(1)), Code::Aborted, "EXPECTED_ACTIVE_MISMATCH"),
            (("a", 2, None), Code::InvalidArgument, "DUPLICATE_TARGET"),
        ] {
            refused(client.activate(request(&[("a", 2, None), ("b", 1, None), bad])).await, code, reason);
            assert_eq!((head(&client).await, pointers(&client).await), (at, [1, 0, 0]), "{bad:?}");
        }
    }

    /// Given activations and removals in one call, they are one event that is applied completely or not at all, and a removal is marked as
    /// one.
    async fn pointers_move_and_go_in_one_event(hub: Hub) {
        let client = hub.client().await;
        three(&client).await;
        activate(&client, "a", 1).await;
        activate(&client, "b", 1).await;
        let mut heard = open(&client).await;
        change(&mut heard).await;
        let at = head(&client).await;
        for (bad, reason) in [
            (request(&[("b", 0, Some(2)), ("a", 2, None)]), "EXPECTED_ACTIVE_MISMATCH"),
            (request(&[("b", 0, Some(1)), ("a", 2, Some(2))]), "EXPECTED_ACTIVE_MISMATCH"),
            (request(&[("c", 0, Some(1))]), "EXPECTED_ACTIVE_MISMATCH"),
        ] {
            refused(client.activate(bad).await, Code::Aborted, reason);
        }
        for bad in [None, Some(To::Version(0)), Some(To::Version(-1))] {
            let mut request = request(&[("a", 2, None), ("b", 1, Some(1))]);
            request.targets[1].to = bad;
            refused_fields(client.activate(request).await, &["targets[1].version"]);
        }
        refused(client.activate(request(&[("c", 0, None)])).await, Code::FailedPrecondition, "NO_ACTIVE_VERSION");
        assert_eq!((head(&client).await, pointers(&client).await), (at, [1, 1, 0]));
        let answer = client.activate(request(&[("b", 0, Some(1)), ("a", 2, Some(1)), ("c", 1, Some(0))])).await;
        let summary = answer.expect("an activation").activation.expect("a summary");
        assert_eq!((head(&client).await, pointers(&client).await), (at + 1, [2, 0, 1]));
        let statement = verify_statement(&summary.statement, &trust(&client).await.keys).expect("a statement");
        let signed: Vec<(&str, i64, i64)> =
            statement.changes.iter().map(|each| (each.policy.as_str(), each.version, each.previous)).collect();
        assert_eq!((statement.kind.as_str(), signed), ("ACTIVATE", vec![("b", 0, 1), ("a", 2, 1), ("c", 1, 0)]));
        let (a, c) = ("a@2".to_owned(), "c@1".to_owned());
        assert_eq!(activation(&mut heard).await, (at + 1, vec![a, c], vec!["b".to_owned()]));
        assert_eq!(held(&heard), in_force(&client).await);
        let log = client.verify_log(pb::VerifyLogRequest { parent: NAMESPACE.to_owned(), after: None }).await;
        assert!(log.expect("a verdict").valid, "the whole log holds");
    }

    /// unmoved_since is compare-and-set of the whole namespace: policies that are no target count too.
    async fn unmoved_since_covers_what_is_no_target(hub: Hub) {
        let client = hub.client().await;
        three(&client).await;
        let since = |cursor| pb::ActivateRequest { unmoved_since: Some(cursor), ..request(&[("a", 1, Some(0))]) };
        let cursor = |epoch, revision| pb::Cursor { epoch, revision, ..Default::default() };
        let at = activate(&client, "b", 1).await;
        let error = refused(client.activate(since(cursor(1, at - 1))).await, Code::Aborted, "EXPECTED_ACTIVE_MISMATCH");
        let received = (error.metadata()["unmoved_since"].clone(), error.metadata()["moved"].clone());
        assert_eq!(received, (format!("1:{}", at - 1), format!("1:{at}")));
        refused(client.activate(since(cursor(0, at + 1))).await, Code::Aborted, "EXPECTED_ACTIVE_MISMATCH");
        refused_fields(client.activate(since(cursor(1, -1))).await, &["unmoved_since"]);
        draft(&client, "c", "n: 3").await;
        for lost in [cursor(1, at + 2), pb::Cursor { fingerprint: 7, ..cursor(1, at) }] {
            refused(client.activate(since(lost)).await, Code::Aborted, "EXPECTED_ACTIVE_MISMATCH");
        }
        client.activate(since(cursor(1, at))).await.expect("a draft moves nothing");
        let removed = head(&client).await;
        deactivate(&client, "b").await;
        refused(client.activate(since(cursor(1, removed))).await, Code::Aborted, "EXPECTED_ACTIVE_MISMATCH");
        assert_eq!(pointers(&client).await, [1, 0, 0]);
    }

    /// expected_active is compare-and-set, 0 for nothing active; a mismatch names the active version.
    async fn expected_active_is_compare_and_set(hub: Hub) {
        let client = hub.client().await;
        three(&client).await;
        let error = refused(try_activate(&client, "a", 1, Some(2)).await, Code::Aborted, "EXPECTED_ACTIVE_MISMATCH");
        assert_eq!((error.metadata()["current_active"].as_str(), error.metadata()["expected_active"].as_str()), ("0", "2"));
        assert_eq!(error.metadata()["policy"], policy("a"));
        try_activate(&client, "a", 1, Some(0)).await.expect("nothing was active");
        let error = refused(try_activate(&client, "a", 2, Some(0)).await, Code::Aborted, "EXPECTED_ACTIVE_MISMATCH");
        assert_eq!(error.metadata()["current_active"], "1");
        try_activate(&client, "a", 2, Some(1)).await.expect("1 was active");
        deactivate(&client, "a").await;
        try_activate(&client, "a", 2, Some(0)).await.expect("nothing is active again");
    }

    /// Given 48 clients that compete for the same step in each round, one wins and the others get the active version.
    async fn one_winner_per_step(hub: Hub) {
        const STEPS: i64 = 6;
        let client = hub.client().await;
        for step in 1..=STEPS {
            publish(&client, "p", &format!("step: {step}")).await;
        }
        let at = head(&client).await;
        let barrier = Arc::new(Barrier::new(RIVALS));
        let mut rivals = JoinSet::new();
        for rival in 0..RIVALS {
            let (client, barrier) = (hub.client().await, barrier.clone());
            rivals.spawn(async move {
                let mut answers: Vec<(i64, Result<pb::ActivateResponse, ClientError>)> = Vec::new();
                for step in 1..=STEPS {
                    barrier.wait().await;
                    answers.push((step, settled(&client, step, step - 1, rival).await));
                }
                answers
            });
        }
        let mut winners: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for (step, answer) in rivals.join_all().await.into_iter().flatten() {
            match answer {
                Ok(won) => winners.entry(step).or_default().push(won.cursor.revision()),
                Err(error) => {
                    let current = error.metadata().get("current_active").cloned();
                    refused(Err::<(), _>(error), Code::Aborted, "EXPECTED_ACTIVE_MISMATCH");
                    assert_eq!(current, Some(step.to_string()));
                }
            }
        }
        let expected: BTreeMap<i64, Vec<i64>> = (1..=STEPS).map(|step| (step, vec![at + step])).collect();
        assert_eq!(winners, expected, "one winner per step, one revision each");
        assert_eq!((active(&client, "p").await, head(&client).await), (STEPS, at + STEPS));
    }

    /// Given 32 clients that read and then increment, each increment has one winner and no update is lost.
    async fn increments_are_never_lost(hub: Hub) {
        const TOP: i64 = 12;
        let client = hub.client().await;
        for number in 1..=TOP {
            publish(&client, "p", &format!("number: {number}")).await;
        }
        let mut rivals = JoinSet::new();
        for rival in 0..32 {
            let client = hub.client().await;
            rivals.spawn(async move {
                let mut won = Vec::new();
                loop {
                    let seen = active(&client, "p").await;
                    if seen == TOP {
                        return won;
                    }
                    match settled(&client, seen + 1, seen, rival).await {
                        Ok(_) => won.push(seen + 1),
                        Err(error) => {
                            refused(Err::<(), _>(error), Code::Aborted, "EXPECTED_ACTIVE_MISMATCH");
                        }
                    }
                }
            });
        }
        let mut won: Vec<i64> = rivals.join_all().await.into_iter().flatten().collect();
        won.sort_unstable();
        assert_eq!(won, (1..=TOP).collect::<Vec<_>>());
        let steps: Vec<(i64, i64)> = events(&client, &policy("p"), 0)
            .await
            .iter()
            .flat_map(|event| event.changes.iter().map(|each| (each.previous_version, each.version)))
            .collect();
        assert_eq!(steps, (0..TOP).map(|from| (from, from + 1)).collect::<Vec<_>>(), "the log tells the same");
    }

    /// validate_only answers what would move and which subscribers it would reach, and moves nothing.
    async fn validate_only_is_a_rehearsal(hub: Hub) {
        let client = hub.client().await;
        three(&client).await;
        activate(&client, "a", 1).await;
        let at = head(&client).await;
        let rehearsal = pb::ActivateRequest { validate_only: true, ..request(&[("a", 2, Some(1)), ("b", 1, None)]) };
        let mut open = Vec::new();
        for streams in 0..3 {
            let answer = client.activate(rehearsal.clone()).await.expect("an answer");
            let activation = answer.activation.expect("a summary");
            let moved: Vec<(i64, i64)> =
                activation.changes.iter().map(|each| (each.previous_version, each.version)).collect();
            assert_eq!((moved, answer.cursor.revision()), (vec![(1, 2), (0, 1)], 0));
            assert_eq!(activation.statement, "");
            assert_eq!(activation.watching_streams, streams);
            let watch = pb::WatchActiveRequest { targets: vec![pb::WatchTarget { parent: NAMESPACE.to_owned(), ..Default::default() }], ..Default::default() };
            let mut stream = client.watch_active(watch).await.expect("a stream");
            stream.message().await.expect("a message").expect("the snapshot");
            open.push(stream);
        }
        assert_eq!((head(&client).await, pointers(&client).await), (at, [1, 0, 0]));
        let stale = pb::ActivateRequest { validate_only: true, ..request(&[("a", 2, Some(7))]) };
        refused(client.activate(stale).await, Code::Aborted, "EXPECTED_ACTIVE_MISMATCH");
    }

    /// One activation takes 1 to 100 targets, and all bad ones are named at once.
    async fn targets_are_bounded_and_named(hub: Hub) {
        let client = hub.client().await;
        refused_fields(client.activate(request(&[])).await, &["targets"]);
        refused_fields(
            client.activate(request(&[("a", -2, None), ("b", 1, None), ("c", -1, None)])).await,
            &["targets[0].version", "targets[2].version"],
        );
        let ids: Vec<String> = (0..101).map(|index| format!("p{index}")).collect();
        for id in &ids[..100] {
            publish(&client, id, "n: 1").await;
        }
        let targets: Vec<(&str, i64, Option<i64>)> = ids.iter().map(|id| (id.as_str(), 1, None)).collect();
        refused_fields(client.activate(request(&targets)).await, &["targets"]);
        let answer = client.activate(request(&targets[..100])).await.expect("100 targets");
        assert_eq!(answer.activation.expect("a summary").changes.len(), 100);
        assert_eq!(in_force(&client).await.len(), 100);
    }
}
