//! A subscriber counts for the policies that it watches and reported: reports under another filter, about another policy, or without a
//! watch do not count.

use policyhub::client::{Client, pb};

use crate::harness::calls::{activate, policy, publish, release};
use crate::harness::on_both_databases;
use crate::harness::subscribing::{
    SubscriberStream, applied, at, convergence, counts, eventually, rejected, subscriber, watch_request,
};
use crate::harness::watching::LIVELY;

async fn watch(client: &Client, id: &str, policies: &[&str]) -> SubscriberStream {
    client.watch_active(watch_request(id, policies)).await.expect("a watch")
}

async fn report(client: &Client, request: pb::ReportStatusRequest) {
    client.report_status(request).await.expect("taken");
}

on_both_databases! {
    with LIVELY;

    /// Given a subscriber that changes its filter, its earlier report says nothing about the other policy.
    async fn another_filter_begins_anew(hub: Hub) {
        let client = hub.client().await;
        publish(&client, "p", "a: 1").await;
        let first = activate(&client, "p", 1).await;
        release(&client, "q", "a: 1").await;
        let newest = crate::harness::calls::head(&client).await;
        let of_q = watch(&client, "moves", &["q"]).await;
        report(&client, applied(&client, "moves", newest).await).await;
        let found = convergence(&client, at(first), std::time::Duration::ZERO).await.expect("an answer");
        assert_eq!((found.applied, found.unconcerned), (0, 1), "it watches q alone");
        assert_eq!(counts(&client, newest).await, [1, 0, 0, 0]);

        let of_p = watch(&client, "moves", &["p"]).await;
        eventually("it watches p", async || subscriber(&client, "moves").await.policies == ["p"]).await;
        assert_eq!(counts(&client, first).await, [0, 0, 1, 0], "it never ran p");
        report(&client, applied(&client, "moves", newest).await).await;
        assert_eq!(counts(&client, first).await, [1, 0, 0, 0]);
        drop((of_q, of_p));
        let _again = watch(&client, "moves", &["p"]).await;
        assert_eq!(counts(&client, first).await, [1, 0, 0, 0], "the same filter goes on where it was");
        let _all = watch(&client, "moves", &[]).await;
        assert_eq!(counts(&client, first).await, [0, 0, 1, 0], "nor does a part speak for the whole");
    }

    /// Given a report without a watch, nobody waits for it: which policies it is about is unknown.
    async fn who_only_reports_is_not_waited_for(hub: Hub) {
        let client = hub.client().await;
        publish(&client, "p", "a: 1").await;
        publish(&client, "p", "a: 2").await;
        let first = activate(&client, "p", 1).await;
        let _stream = watch(&client, "runs", &["p"]).await;
        report(&client, rejected(&client, "ghost", first, "no").await).await;
        report(&client, applied(&client, "runs", first).await).await;
        let found = convergence(&client, at(first), std::time::Duration::ZERO).await.expect("an answer");
        assert_eq!((found.applied, found.rejected, found.pending, found.gone), (1, 0, 0, 0), "{found:?}");
        let second = activate(&client, "p", 2).await;
        report(&client, applied(&client, "runs", second).await).await;
        let found = convergence(&client, at(second), std::time::Duration::ZERO).await.expect("an answer");
        assert_eq!((found.applied, found.gone, found.settled), (1, 0, true), "{found:?}");
    }

    /// Given a rejection, it concerns the policies that its subscriber watches, whatever cursor it names.
    async fn a_rejection_is_of_what_is_watched(hub: Hub) {
        let client = hub.client().await;
        for content in ["a: 1", "a: 2"] {
            publish(&client, "p_1", content).await;
        }
        activate(&client, "p_1", 1).await;
        let second = activate(&client, "p_1", 2).await;
        activate(&client, "p_1", 1).await;
        // `_` matches any character in a LIKE pattern.
        let _streams = (watch(&client, "other", &["q", "pa1"]).await, watch(&client, "own", &["p_1", "q"]).await);
        let rehearsed = async || {
            let request = pb::RollbackRequest {
                name: policy("p_1"),
                to: Some(pb::rollback_request::To::Version(2)),
                reason: "a rehearsal".to_owned(),
                validate_only: true,
                ..Default::default()
            };
            client.rollback(request).await.expect("an answer").warnings
        };
        eventually("both are there", async || {
            subscriber(&client, "own").await.online && subscriber(&client, "other").await.online
        })
        .await;
        report(&client, rejected(&client, "other", second, "a lie").await).await;
        eventually("it is kept", async || !subscriber(&client, "other").await.reason.is_empty()).await;
        assert_eq!(rehearsed().await, Vec::<String>::new(), "it never watched p_1");
        report(&client, rejected(&client, "own", second, "no such field").await).await;
        eventually("it is named", async || rehearsed().await.iter().any(|warning| warning.contains("own rejected"))).await;
    }
}
