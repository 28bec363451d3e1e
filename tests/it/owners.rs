//! Subscriber ids and runs belong to the principal that used them first; no other principal can report for them.

use std::time::Duration;

use policyhub::client::{Client, ClientError, pb};
use tokio::task::JoinSet;
use tonic::Code;

use crate::harness::callers::{caller, grant};
use crate::harness::calls::{NAMESPACE, NamedEvent as _, activate, publish, refused};
use crate::harness::hub::binary;
use crate::harness::subscribing::{
    SubscriberStream, applied, at, convergence, counts, eventually, subscribe, subscriber, subscriber_name,
    subscribers, watch_request,
};
use crate::harness::watching::{DEADLINE, LIVELY};
use crate::harness::{Hub, on_both_databases, runs};
use crate::watch_many::two_servers;

/// Returns clients of two runtimes that may watch and report.
async fn runtimes(hub: &Hub) -> (Client, Client) {
    let admin = hub.client().await;
    for subject in ["prod", "sub1"] {
        grant(&admin, subject, pb::Role::Subscriber, NAMESPACE).await;
    }
    (caller(hub, "prod").await, caller(hub, "sub1").await)
}

/// Publishes two versions of a policy, activates the first one and returns the revision.
async fn two_versions(admin: &Client) -> i64 {
    publish(admin, "p", "a: 1").await;
    publish(admin, "p", "a: 2").await;
    activate(admin, "p", 1).await
}

async fn report(client: &Client, request: &pb::ReportStatusRequest) -> Result<(), ClientError> {
    client.report_status(request.clone()).await.map(|_| ())
}

/// Returns the error that ends a stream.
async fn end(mut stream: SubscriberStream) -> ClientError {
    let ending = async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ended as if nothing was wrong"),
                Err(status) => return ClientError::from(status),
            }
        }
    };
    tokio::time::timeout(DEADLINE, ending).await.expect("a stream that is refused")
}

async fn watch_is_refused(client: &Client, id: &str) {
    let error = match client.watch_active(watch_request(id, &[])).await {
        Ok(stream) => end(stream).await,
        Err(error) => error,
    };
    assert_eq!((error.code(), error.reason()), (Code::PermissionDenied, "SUBSCRIBER_ID_TAKEN"), "{error:?}");
}

async fn record(client: &Client, run_id: &str, cursor: Option<pb::Cursor>) -> Result<pb::Run, ClientError> {
    runs::record(client, runs::run_request(run_id, &["p"], cursor)).await
}

on_both_databases! {
    with LIVELY;

    /// Given an id of one principal, no other one can report for it: while it watches, after it left, and after a restart.
    async fn nobody_speaks_for_another(hub: Hub) {
        let admin = hub.client().await;
        let (prod, sub1) = runtimes(&hub).await;
        let first = two_versions(&admin).await;
        let stream = subscribe(&prod, "prod-1").await;
        report(&prod, &applied(&admin, "prod-1", first).await).await.expect("its own word");
        let second = activate(&admin, "p", 2).await;
        let before = subscriber(&admin, "prod-1").await;

        let lie = applied(&admin, "prod-1", second).await;
        refused(report(&sub1, &lie).await, Code::PermissionDenied, "SUBSCRIBER_ID_TAKEN");
        watch_is_refused(&sub1, "prod-1").await;
        let said = subscriber(&admin, "prod-1").await;
        let what = |subscriber: &pb::Subscriber| (subscriber.applied, subscriber.digest.clone(), subscriber.online);
        assert_eq!(what(&said), what(&before));
        assert_eq!(counts(&admin, second).await, [0, 0, 1, 0], "the lie settled nothing");
        report(&prod, &lie).await.expect("its own word, at last");
        assert_eq!(counts(&admin, second).await, [1, 0, 0, 0]);

        drop(stream);
        eventually("prod-1 is offline", async || !subscriber(&admin, "prod-1").await.online).await;
        watch_is_refused(&sub1, "prod-1").await;
        let hub = hub.restart_in_order().await;
        let (admin, prod, sub1) = (hub.client().await, caller(&hub, "prod").await, caller(&hub, "sub1").await);
        refused(report(&sub1, &lie).await, Code::PermissionDenied, "SUBSCRIBER_ID_TAKEN");
        assert!(!subscriber(&admin, "prod-1").await.online);
        let _again = subscribe(&prod, "prod-1").await;
        assert!(subscriber(&admin, "prod-1").await.online, "its own id");
    }

    /// Given two streams of one principal under one id, or one that comes back, they are one subscriber.
    async fn a_principal_comes_back_to_its_id(hub: Hub) {
        let admin = hub.client().await;
        let (prod, _) = runtimes(&hub).await;
        let one = subscribe(&prod, "prod-1").await;
        let other = subscribe(&caller(&hub, "prod").await, "prod-1").await;
        assert!(subscriber(&admin, "prod-1").await.online);
        drop(one);
        let _third = subscribe(&prod, "prod-1").await;
        drop(other);
        assert_eq!(subscribers(&admin).await.len(), 1);
        assert!(subscriber(&admin, "prod-1").await.online);
    }

    /// Given an id without activity for a day, it is free, and its next owner begins without a state.
    async fn an_id_is_free_after_a_day(hub: Hub) {
        const ALMOST_A_DAY_MICROS: i64 = (24 * 60 * 60 - 10 * 60) * 1_000_000;
        let admin = hub.client().await;
        let (prod, sub1) = runtimes(&hub).await;
        let first = two_versions(&admin).await;
        let word = applied(&admin, "host-1", first).await;
        report(&prod, &word).await.expect("its own word");
        let age = |micros: i64| {
            hub.tamper(&format!("UPDATE subscribers SET last_seen_time = last_seen_time - {micros}"));
        };
        age(ALMOST_A_DAY_MICROS);
        refused(report(&sub1, &word).await, Code::PermissionDenied, "SUBSCRIBER_ID_TAKEN");
        age(20 * 60 * 1_000_000);
        eventually("the id is free", async || {
            let stream = sub1.watch_active(watch_request("host-1", &[])).await;
            stream.is_ok() && subscriber(&admin, "host-1").await.online
        })
        .await;
        assert_eq!(subscriber(&admin, "host-1").await.applied, None, "it said nothing yet");
        refused(report(&prod, &word).await, Code::PermissionDenied, "SUBSCRIBER_ID_TAKEN");
    }

    /// Given a run id of one principal, another one gets a conflict that does not reveal the record.
    async fn nobody_records_the_run_of_another(hub: Hub) {
        let admin = hub.client().await;
        let (prod, sub1) = runtimes(&hub).await;
        let first = two_versions(&admin).await;
        activate(&admin, "p", 2).await;
        let planted = record(&sub1, "deploy-42", Some(at(first))).await.expect("a run");
        assert_eq!((runs::under(&planted).as_str(), planted.recorder.as_str()), ("p@1", "local:sub1"));
        for cursor in [None, Some(at(first))] {
            let error = refused(record(&prod, "deploy-42", cursor).await, Code::AlreadyExists, "RUN_CONFLICT");
            assert!(!error.message().contains("1:"), "what another one recorded is not told: {error:?}");
        }
        let own = record(&prod, "deploy-43", None).await.expect("a run");
        assert_eq!(runs::under(&own), "p@2");
        for again in [record(&prod, "deploy-43", None).await, record(&caller(&hub, "prod").await, "deploy-43", None).await] {
            assert_eq!(again.expect("the run"), own);
        }
        // Many at once: one of them gets the id, and every other principal is told so.
        let mut calls = JoinSet::new();
        for client in [&prod, &sub1, &prod, &sub1] {
            let client = client.clone();
            calls.spawn(async move { record(&client, "job-1", None).await });
        }
        let answers = calls.join_all().await;
        let recorders: Vec<&str> = answers.iter().flatten().map(|run| run.recorder.as_str()).collect();
        assert!(recorders.len() == 2 && recorders[0] == recorders[1], "{answers:?}");
    }
}

/// An id that is owned at one replica is owned at every other.
#[tokio::test]
async fn an_id_is_owned_on_every_replica() {
    let (one, other, keys) = two_servers().await;
    let admin = one.client().await;
    for subject in ["prod", "sub1"] {
        grant(&admin, subject, pb::Role::Subscriber, NAMESPACE).await;
    }
    let token = |subject: &str| {
        let mut command = binary();
        command
            .args(["token", "issue", "--subject", subject, "--ttl", "1h", "--keys-dir"])
            .arg(keys.path().join("keys"));
        let output = command.output().expect("the binary runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(String::from_utf8(output.stdout).expect("text").trim().to_owned())
    };
    let prod = one.client_with(token("prod")).await;
    let (prod_other, sub1_other) = (other.client_with(token("prod")).await, other.client_with(token("sub1")).await);
    let first = two_versions(&admin).await;
    let _stream = subscribe(&prod, "prod-1").await;
    assert!(subscriber(&admin, "prod-1").await.online);
    let word = applied(&admin, "prod-1", first).await;
    refused(report(&sub1_other, &word).await, Code::PermissionDenied, "SUBSCRIBER_ID_TAKEN");
    watch_is_refused(&sub1_other, "prod-1").await;
    assert_eq!(counts(&admin, first).await, [0, 0, 1, 0]);
    report(&prod_other, &word).await.expect("its own word");

    // Two principals at two replicas at once, each time for an unused id: one gets it.
    for round in 0..8 {
        let word = pb::ReportStatusRequest { name: subscriber_name(&format!("new-{round}")), ..word.clone() };
        let (here, there) = tokio::join!(report(&prod, &word), report(&sub1_other, &word));
        let won = [&here, &there].iter().filter(|answer| answer.is_ok()).count();
        assert_eq!(won, 1, "{round}: {here:?} {there:?}");
        refused(if here.is_ok() { there } else { here }, Code::PermissionDenied, "SUBSCRIBER_ID_TAKEN");
    }
}

/// Runs a client command against a server and returns its exit code and output.
fn run_cli(hub: &Hub, arguments: &[&str]) -> (Option<i32>, String) {
    let output = hub.cli().args(arguments).output().expect("the binary runs");
    (output.status.code(), String::from_utf8(output.stdout).expect("text"))
}

on_both_databases! {
    with &[LIVELY, &["--principal-max-subscribers", "5"]].concat();

    /// Given many invented ids, their number is limited, they are shown with their principal, and do not use up the limit of others.
    async fn ghosts_are_bounded_and_named(hub: Hub) {
        let admin = hub.client().await;
        let (prod, sub1) = runtimes(&hub).await;
        let first = two_versions(&admin).await;
        let _stream = subscribe(&prod, "prod-1").await;
        let word = applied(&admin, "prod-1", first).await;
        report(&prod, &word).await.expect("its own word");
        let mut ghosts = Vec::new();
        for number in 0..5 {
            ghosts.push(subscribe(&sub1, &format!("ghost-{number}")).await);
        }
        let another = pb::ReportStatusRequest { name: subscriber_name("ghost-5"), ..word.clone() };
        for answer in [
            sub1.watch_active(watch_request("ghost-5", &[])).await.map(|_| ()),
            report(&sub1, &another).await,
        ] {
            let error = refused(answer, Code::ResourceExhausted, "QUOTA_EXCEEDED");
            let of = |key: &str| error.metadata().get(key).map(String::as_str).unwrap_or_default();
            assert_eq!([of("quota"), of("limit"), of("subject")], ["max_subscribers", "5", "local:sub1"]);
            assert!(error.retry_after().is_some(), "{error:?}");
        }
        // Existing ids still work, and anonymous watches do not count.
        let own = pb::ReportStatusRequest { name: subscriber_name("ghost-4"), ..word.clone() };
        report(&sub1, &own).await.expect("an id it has");
        let _anonymous = subscribe(&sub1, "").await;
        let _more = subscribe(&prod, "prod-2").await;

        let found = convergence(&admin, at(first), Duration::ZERO).await.expect("an answer");
        let received: Vec<(&str, i32, i32)> =
            found.principals.iter().map(|own| (own.principal.as_str(), own.applied, own.pending)).collect();
        assert_eq!(received, [("local:sub1", 1, 4), ("local:prod", 1, 1)]);
        let named = |each: &pb::Subscriber| (each.id(), each.principal.clone());
        assert!(found.pending_subscribers.iter().map(named).any(|pair| pair == ("ghost-0".to_owned(), "local:sub1".to_owned())));
        let (code, text) = run_cli(&hub, &["convergence", &first.to_string()]);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("OF local:sub1: 1 applied, 0 rejected, 4 pending, 0 gone lately\n"), "{text}");

        // An id that is given back frees its slot.
        drop(ghosts);
        eventually("there is room again", async || report(&sub1, &another).await.is_ok()).await;
    }
}

on_both_databases! {
    with LIVELY;

    /// Given many ids that one principal used and left, only the newest are kept.
    async fn a_principal_leaves_so_many_behind(hub: Hub) {
        const KEPT: i64 = 1_000;
        let admin = hub.client().await;
        let (prod, sub1) = runtimes(&hub).await;
        let first = two_versions(&admin).await;
        let word = applied(&admin, "host-1", first).await;
        report(&prod, &word).await.expect("its own word");
        let oldest = pb::ReportStatusRequest { name: subscriber_name("oldest"), ..word.clone() };
        report(&sub1, &oldest).await.expect("its own word");
        hub.tamper("UPDATE subscribers SET last_seen_time = last_seen_time - 60000000");
        let numbers = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 1200)";
        let columns = "labels, policies, holder, lease_end_time, last_seen_time, applied_epoch, applied_revision, \
                       applied_matches, rejected_epoch, rejected_revision, reason, digest, owner";
        hub.tamper(&format!(
            "{numbers} INSERT INTO subscribers (namespace, id, {columns}) SELECT namespace, 'made-up-' || n, {columns} \
             FROM subscribers, numbers WHERE id = 'oldest'"
        ));
        hub.tamper("UPDATE subscribers SET last_seen_time = last_seen_time + 1000 WHERE id <> 'oldest'");
        let another = pb::ReportStatusRequest { name: subscriber_name("another"), ..word };
        report(&sub1, &another).await.expect("its own word");
        let of = |owner: &str| hub.tamper(&format!("SELECT count(*) FROM subscribers WHERE owner = 'local:{owner}'"));
        eventually("the oldest are forgotten", async || of("sub1") == KEPT.to_string()).await;
        assert_eq!(of("prod"), "1", "those of others stay");
        assert_eq!(hub.tamper("SELECT count(*) FROM subscribers WHERE id = 'oldest'"), "0");
        assert_eq!(hub.tamper("SELECT count(*) FROM subscribers WHERE id = 'another'"), "1");
    }
}
