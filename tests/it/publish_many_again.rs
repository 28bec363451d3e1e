//! PublishVersions repeated, concurrent, and with a server that is killed: one effect in total, and one answer.

use std::collections::BTreeSet;
use std::time::Duration;

use policyhub::client::pb;
use policyhub::client::pb::publish_versions_result::Outcome;
use tokio::task::JoinSet;
use tonic::Code;

use crate::harness::calls::{draft, head, refused, set, version};
use crate::harness::reviews::{needs, reviewed_policy};
use crate::harness::{Hub, on_both_databases};
use crate::publish_many::{drafts, effects, outcomes, request, results};

on_both_databases! {
    /// The same id gets the same answer, refusals included, with one effect; a call that published nothing runs again.
    async fn a_request_has_one_effect(hub: Hub) {
        let client = hub.client().await;
        reviewed_policy(&client, "reviewed", 1).await;
        draft(&client, "reviewed", "a: 1").await;
        let mut names = drafts(&client, "p", 3).await;
        names.push(version("reviewed", 1));
        let asked = pb::PublishVersionsRequest { request_id: "id-1".to_owned(), ..request(names.clone()) };
        let first = results(&client, asked.clone()).await;
        assert_eq!(outcomes(&first), ["ok", "ok", "ok", "APPROVALS_MISSING"]);
        let at = head(&client).await;
        set(&client, "reviewed", needs(0)).await;
        assert_eq!(results(&client, asked.clone()).await, first, "also after what was missing is there");
        assert_eq!((effects(&client, "id-1").await.len(), head(&client).await), (3, at + 1));
        let other = pb::PublishVersionsRequest { reason: "another".to_owned(), ..asked.clone() };
        refused(client.publish_versions(other).await, Code::InvalidArgument, "REQUEST_ID_REUSED");
        let mut other = asked.clone();
        other.versions.swap(0, 1);
        refused(client.publish_versions(other).await, Code::InvalidArgument, "REQUEST_ID_REUSED");
        let rest = pb::PublishVersionsRequest { request_id: "id-2".to_owned(), ..request([version("reviewed", 1)]) };
        set(&client, "reviewed", needs(1)).await;
        assert_eq!(outcomes(&results(&client, rest.clone()).await), ["APPROVALS_MISSING"]);
        set(&client, "reviewed", needs(0)).await;
        assert_eq!(outcomes(&results(&client, rest).await), ["ok"], "a call that published nothing is run again");
    }

    /// Given concurrent callers with overlapping sets, each version is published by exactly one of them.
    async fn callers_at_once_share_what_they_ask_for(hub: Hub) {
        let client = hub.client().await;
        let names = drafts(&client, "p", 24).await;
        let at = head(&client).await;
        let mut calls = JoinSet::new();
        for number in 0..6 {
            let mut mine: Vec<String> = names.iter().cycle().skip(number * 4).take(16).cloned().collect();
            if number % 2 == 1 {
                mine.reverse();
            }
            let (client, request_id) = (client.clone(), format!("caller-{number}"));
            let asked = pb::PublishVersionsRequest { request_id, ..request(mine) };
            calls.spawn(async move { results(&client, asked).await });
        }
        let all = calls.join_all().await.concat();
        let mut done: Vec<&str> = Vec::new();
        for result in &all {
            match result.outcome.as_ref().expect("an outcome") {
                Outcome::Published(_) => done.push(&result.name),
                Outcome::Refusal(refusal) => assert_eq!(refusal.reason, "VERSION_NOT_OPEN", "{refusal:?}"),
            }
        }
        assert_eq!((done.len(), done.iter().collect::<BTreeSet<_>>().len()), (24, 24), "each once");
        assert_eq!(head(&client).await, at + 24);
    }

    /// Given concurrent single calls, and the same request twice at once, there is one effect and one answer.
    async fn the_same_request_at_once_has_one_effect(hub: Hub) {
        let client = hub.client().await;
        let names = drafts(&client, "p", 10).await;
        let asked = pb::PublishVersionsRequest { request_id: "id-1".to_owned(), ..request(names) };
        let mut calls = JoinSet::new();
        for _ in 0..4 {
            let (client, asked) = (client.clone(), asked.clone());
            calls.spawn(async move { results(&client, asked).await });
        }
        let answers = calls.join_all().await;
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        assert_eq!(outcomes(&answers[0]), ["ok"; 10]);
        assert_eq!(effects(&client, "id-1").await.len(), 10);
    }

    /// Given a server killed between two versions, none of them is published, and the same request publishes each once.
    async fn a_server_killed_in_the_middle_published_all_or_nothing(hub: Hub) {
        let client = hub.client().await;
        let names = drafts(&client, "p", 40).await;
        let at = head(&client).await;
        hub.tamper(slow_events(&hub));
        let asked = pb::PublishVersionsRequest { request_id: "id-1".to_owned(), ..request(names) };
        let call = {
            let (client, asked) = (client.clone(), asked.clone());
            tokio::spawn(async move { client.publish_versions(asked).await })
        };
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert!(!call.is_finished(), "it must be killed in the middle");
        let mut hub = hub;
        hub.kill().await;
        let error = call.await.expect("a task").expect_err("no answer");
        assert!(matches!(error.code(), Code::Unavailable | Code::Unknown | Code::Cancelled), "{error:?}");
        hub.tamper(usual_events(&hub));
        let hub = hub.restart().await;
        let client = hub.client().await;
        assert_eq!((head(&client).await, effects(&client, "id-1").await.len()), (at, 0), "nothing of it is there");
        let first = results(&client, asked.clone()).await;
        assert_eq!(outcomes(&first), ["ok"; 40]);
        assert_eq!(results(&client, asked.clone()).await, first, "the same answer");
        assert_eq!((effects(&client, "id-1").await.len(), head(&client).await), (40, at + 40));
        // A kill after the answer does not change it.
        let mut hub = hub;
        hub.kill().await;
        let hub = hub.restart().await;
        assert_eq!(results(&hub.client().await, asked).await, first);
    }
}

/// Returns SQL that makes each event take about a tenth of a second.
fn slow_events(hub: &Hub) -> &'static str {
    if hub.database_url.starts_with("sqlite") {
        "CREATE TRIGGER slow AFTER INSERT ON events BEGIN SELECT (WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL \
         SELECT x + 1 FROM c WHERE x < 800000) SELECT count(*) FROM c); END"
    } else {
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.1); RETURN NEW; END'; \
         CREATE TRIGGER slow AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION slow()"
    }
}

/// Returns SQL that removes `slow_events`.
fn usual_events(hub: &Hub) -> &'static str {
    if hub.database_url.starts_with("sqlite") { "DROP TRIGGER slow" } else { "DROP TRIGGER slow ON events" }
}
