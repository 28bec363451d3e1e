//! A namespace with a failed verification is frozen: nothing new is signed until an admin has decided, even when the edit is undone, and
//! even after a restart.

use policyhub::client::pb::watch_active_response::Message;
use policyhub::client::{Client, pb};
use tonic::{Code, Streaming};

use crate::harness::calls::{
    NAMESPACE, Revision as _, activate, draft_request, head, policy, publish, refused, refused_fields, release,
};
use crate::harness::http::get;
use crate::harness::keys::replicas;
use crate::harness::metrics::{text, wait_for};
use crate::harness::postgres::Cluster;
use crate::harness::subscribing::eventually;
use crate::harness::watching::{self, LIVELY};
use crate::harness::{Database, Hub, callers, on_both_databases};

/// Settings of a server that verifies its logs in the background.
const AUDITED: &[&str] = &[LIVELY[0], LIVELY[1], LIVELY[2], LIVELY[3], "--audit-interval-ms", "20"];
/// The metric of a frozen namespace.
const FROZEN: &str = "policyhub_namespace_frozen{namespace=\"default\"} 1";
/// Number of heartbeats, 100 ms apart, until a server signs the next checkpoint of a quiet namespace: it uses one for 5 s.
const HEARTBEATS_PER_CHECKPOINT: usize = 60;

fn thaw_request(reason: &str) -> pb::ThawNamespaceRequest {
    pb::ThawNamespaceRequest { name: NAMESPACE.to_owned(), reason: reason.to_owned(), ..Default::default() }
}

async fn next(stream: &mut Streaming<pb::WatchActiveResponse>) -> Message {
    let next = tokio::time::timeout(watching::DEADLINE, stream.message()).await.expect("a message before the deadline");
    next.expect("no error").expect("a stream that goes on").message.expect("a message")
}

async fn heartbeat(stream: &mut Streaming<pb::WatchActiveResponse>) -> pb::Heartbeat {
    loop {
        if let Message::Heartbeat(heartbeat) = next(stream).await {
            return heartbeat;
        }
    }
}

/// Checks that writes, new watches and reads of the active set are refused.
async fn stands_still(client: &Client) {
    let error = refused(client.draft(draft_request("p", "a: 9")).await, Code::DataLoss, "DATA_LOSS");
    assert!(error.message().contains("is frozen") && error.metadata().contains_key("frozen_at"), "{error:?}");
    let grant = callers::try_grant(client, "local:eve", pb::Role::Viewer, NAMESPACE).await;
    refused(grant, Code::DataLoss, "DATA_LOSS");
    let asked = client.get_active(pb::GetActiveRequest { name: policy("p"), ..Default::default() }).await;
    refused(asked, Code::DataLoss, "DATA_LOSS");
    refused(client.list_active(watching::whole_set()).await, Code::DataLoss, "DATA_LOSS");
    refused(watching::raw(client, None).await, Code::DataLoss, "DATA_LOSS");
}

on_both_databases! {
    with AUDITED;

    /// Given an edit, the server finds it by itself. Open streams keep their set; everything else waits for an admin.
    async fn what_an_audit_finds_stops_its_namespace(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        publish(&client, "q", "a: 1").await;
        let mut stream = watching::raw(&client, None).await.expect("a stream");
        assert!(!heartbeat(&mut stream).await.degraded);
        hub.tamper("UPDATE policies SET description = 'x' WHERE id = 'q'");
        wait_for(&hub, FROZEN).await;
        stands_still(&client).await;
        let ready = get(&hub.http, "/readyz").expect("an answer");
        assert_eq!((ready.0, ready.2.as_str()), (200, "degraded: 1 namespace is frozen; the metrics name them\n"));
        callers::namespace(&client, "other").await;
        let draft = pb::DraftRequest { parent: "namespaces/other/policies/p".to_owned(), ..draft_request("p", "a: 1") };
        client.draft(draft).await.expect("another namespace goes on");

        let mut last = heartbeat(&mut stream).await;
        while !last.degraded {
            last = heartbeat(&mut stream).await;
        }
        for _ in 0..HEARTBEATS_PER_CHECKPOINT {
            let heartbeat = heartbeat(&mut stream).await;
            assert_eq!(heartbeat.checkpoint, last.checkpoint, "nothing new is signed");
        }

        hub.tamper("UPDATE policies SET description = '' WHERE id = 'q'");
        wait_for(&hub, "policyhub_audit_findings 0").await;
        stands_still(&client).await;
        refused_fields(client.thaw_namespace(thaw_request(" ")).await, &["reason"]);
        let rehearsal = pb::ThawNamespaceRequest { validate_only: true, ..thaw_request("put back") };
        assert_eq!(client.thaw_namespace(rehearsal).await.expect("an answer").cursor.revision(), 0);
        stands_still(&client).await;
        let at = head(&client).await;
        let request = pb::ThawNamespaceRequest { request_id: "thaw-1".to_owned(), ..thaw_request("put back") };
        let revision = client.thaw_namespace(request.clone()).await.expect("it goes on").cursor.revision();
        assert_eq!(revision, at + 1);
        assert_eq!(client.thaw_namespace(request).await.expect("the same answer").cursor.revision(), revision);
        assert!(!text(&hub).contains("policyhub_namespace_frozen{"), "no scrape names it any more");
        let moved = activate(&client, "q", 1).await;
        loop {
            if let Message::Activation(received) = next(&mut stream).await {
                assert_eq!(received.cursor.map(|cursor| cursor.revision), Some(moved), "the stream goes on where it was");
                break;
            }
        }
        let lines = hub.log.lock().expect("the log").clone();
        assert_eq!(lines.lines().filter(|line| line.contains("a namespace is frozen")).count(), 1, "one line says so");
    }
}

/// Given a write that waits for its namespace while a check finds an edit there, it is refused when its turn comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_namespace_is_frozen_while_it_waits_is_refused() {
    let hub = Hub::start_with(Database::Postgres, AUDITED).await;
    let client = hub.client().await;
    release(&client, "p", "a: 1").await;
    publish(&client, "q", "a: 1").await;
    let before = head(&client).await;
    let cluster = Cluster::shared();
    let database = hub.database_url.rsplit('/').next().expect("a name").to_owned();
    let lock = cluster.hold(&database, "default");
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.draft(draft_request("p", "a: 2")).await }
    });
    cluster.waiting(&database);
    hub.tamper("UPDATE policies SET description = 'x' WHERE id = 'q'");
    // The turn of the server's own check may come when the write has waited too long.
    let request = pb::VerifyLogRequest { parent: NAMESPACE.to_owned(), after: None };
    assert!(!client.verify_log(request).await.expect("a verdict").valid);
    wait_for(&hub, FROZEN).await;
    cluster.release(&database, lock);
    let error = refused(waiting.await.expect("a task"), Code::DataLoss, "DATA_LOSS");
    assert!(error.message().contains("is frozen"), "{error:?}");
    let stored = cluster.psql(&database, "SELECT head_revision FROM namespaces WHERE id = 'default'");
    assert_eq!(stored, before.to_string(), "nothing was written");
}

mod accepted {
    use super::*;

    /// More than an answer names.
    const MANY_POLICIES: usize = 120;

    on_both_databases! {
        with AUDITED;

        /// Given a thaw that accepts a row as it was, another change of the row is a new finding.
        async fn a_row_that_changes_after_the_thaw_is_found_again(hub: Hub) {
            let client = hub.client().await;
            publish(&client, "q", "a: 1").await;
            for edit in ["x", "y"] {
                hub.tamper(&format!("UPDATE policies SET description = '{edit}' WHERE id = 'q'"));
                wait_for(&hub, FROZEN).await;
                let request = pb::VerifyLogRequest { parent: NAMESPACE.to_owned(), after: None };
                let accepted_findings = client.verify_log(request).await.expect("a verdict").findings;
                assert_eq!(accepted_findings.len(), 1, "{accepted_findings:?}");
                for other in [(9, 0), (0, 9)] {
                    let mut findings = accepted_findings.clone();
                    let cursor = findings[0].cursor.as_mut().expect("an event");
                    (cursor.epoch, cursor.fingerprint) = (cursor.epoch + other.0, cursor.fingerprint + other.1);
                    let request = pb::ThawNamespaceRequest { accepted_findings: findings, ..thaw_request("another event") };
                    refused(client.thaw_namespace(request).await, Code::InvalidArgument, "INVALID_ARGUMENT");
                }
                let request = pb::ThawNamespaceRequest { accepted_findings, ..thaw_request("it is known") };
                client.thaw_namespace(request).await.expect("a thaw");
                wait_for(&hub, "policyhub_audit_findings 0").await;
                client.draft(draft_request("p", "a: 1")).await.expect("it goes on");
            }
        }
    }

    on_both_databases! {
        with &["--audit-interval-ms", "0"];

        /// All findings are accepted by their digest, as VerifyLog showed it, and no findings that came later.
        async fn any_number_is_accepted_by_the_digest_of_all(hub: Hub) {
            let client = hub.client().await;
            for number in 0..MANY_POLICIES {
                client.draft(draft_request(&format!("p{number}"), "a: 1")).await.expect("a draft");
            }
            hub.tamper("UPDATE policies SET description = 'x'");
            let run = |arguments: &[&str]| {
                let output = hub.cli().args(arguments).output().expect("a command");
                let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                (output.status.code(), said.concat())
            };
            let digest = || {
                let (code, text) = run(&["verify", "--log", "default"]);
                assert_eq!(code, Some(1), "{text}");
                let line = text.lines().find_map(|line| line.strip_prefix("server: 120 findings, digest "));
                line.unwrap_or_else(|| panic!("{text}")).to_owned()
            };
            let first = digest();
            hub.tamper("UPDATE policies SET description = 'y' WHERE id = 'p7'");
            let thaw = |digest: &str| run(&["namespace", "thaw", "default", "--reason", "known", "--accept-all", digest]);
            let (code, text) = thaw(&first);
            assert!(code == Some(1) && text.contains("FINDINGS_REMAIN"), "{text}");
            let second = digest();
            assert_ne!(first, second, "a row says something else");
            let (code, text) = thaw(&second);
            assert_eq!(code, Some(0), "{text}");
            let (code, text) = run(&["verify", "--log", "default"]);
            assert_eq!(code, Some(0), "{text}");
            let (code, text) = thaw(&second);
            assert!(code == Some(1) && text.contains("INVALID_ARGUMENT"), "there is nothing to accept: {text}");
            // A finding that is not among them is reported by itself.
            hub.tamper("UPDATE policies SET description = 'z' WHERE id = 'p8'");
            let (code, text) = run(&["verify", "--log", "default"]);
            assert!(code == Some(1) && text.contains("server: 1 finding, digest "), "{text}");
        }
    }
}

/// Given a replica without requests, it notices a thaw by itself.
#[tokio::test]
async fn an_idle_replica_goes_on_after_a_thaw_elsewhere() {
    let hubs = replicas(Database::Postgres, AUDITED).await;
    let client = hubs[0].client().await;
    publish(&client, "q", "a: 1").await;
    hubs[0].tamper("UPDATE policies SET description = 'x' WHERE id = 'q'");
    for hub in &hubs {
        wait_for(hub, FROZEN).await;
    }
    hubs[0].tamper("UPDATE policies SET description = '' WHERE id = 'q'");
    for hub in &hubs {
        wait_for(hub, "policyhub_audit_findings 0").await;
    }
    client.thaw_namespace(thaw_request("put back")).await.expect("it goes on");
    eventually("the other replica is ready", async || {
        get(&hubs[1].http, "/readyz").expect("an answer").2 == "ok\n"
            && !text(&hubs[1]).contains("policyhub_namespace_frozen{")
    })
    .await;
}

mod pointers {
    use super::*;

    on_both_databases! {
        with &["--audit-interval-ms", "0"];

        /// Given a pointer that was edited while the server was stopped, the namespace is frozen. It can be thawed after the pointer is
        /// restored, and not before.
        async fn a_moved_pointer_stops_its_namespace(hub: Hub) {
            let mut hub = hub;
            let client = hub.client().await;
            release(&client, "p", "a: 1").await;
            release(&client, "p", "a: 2").await;
            hub.kill().await;
            hub.tamper("UPDATE policies SET active_version = 1 WHERE id = 'p'");
            let mut hub = hub.restart().await;
            let client = hub.client().await;
            let asked = client.get_active(pb::GetActiveRequest { name: policy("p"), ..Default::default() }).await;
            refused(asked, Code::DataLoss, "DATA_LOSS");
            stands_still(&client).await;
            wait_for(&hub, FROZEN).await;
            let error = refused(client.thaw_namespace(thaw_request("go")).await, Code::FailedPrecondition, "FINDINGS_REMAIN");
            assert_eq!(error.metadata()["findings"], "1", "{error:?}");
            // Nothing can be signed over edited pointers, whoever accepts them.
            let request = pb::VerifyLogRequest { parent: NAMESPACE.to_owned(), after: None };
            let accepted_findings = client.verify_log(request).await.expect("a verdict").findings;
            let accepting = pb::ThawNamespaceRequest { accepted_findings, ..thaw_request("go") };
            refused(client.thaw_namespace(accepting).await, Code::DataLoss, "DATA_LOSS");

            hub.kill().await;
            hub.tamper("UPDATE policies SET active_version = 2 WHERE id = 'p'");
            let hub = hub.restart().await;
            let client = hub.client().await;
            stands_still(&client).await;
            let done = hub.cli().args(["namespace", "thaw", "default", "--reason", "put back"]).output().expect("a command");
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            assert_eq!(watching::in_force(&client).await["p"].0, 2);
            release(&client, "p", "a: 3").await;
            let restarted = hub.restart_in_order().await;
            release(&restarted.client().await, "p", "a: 4").await;
        }
    }
}
