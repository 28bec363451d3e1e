//! The log: without gaps, chained, signed, and readable in any order from any cursor.

use policyhub::client::pb::activate_target::To;
use policyhub::client::signing::{digest_of, sha256, verify_event_signature, verify_statement};
use policyhub::client::{Client, pb};
use tokio::task::JoinSet;
use tonic::Code;

use crate::harness::calls::{
    NAMESPACE, Revision as _, VerifyKeys, abandon, activate, deactivate, draft, events, get_version, head, policy,
    publish, refused, refused_fields, release, rollback_request, set, trust,
};
use crate::harness::on_both_databases;

/// Verifies a log as an auditor would, from the first event: cursor, chain, event signature, statement and payload.
pub fn audit(log: &[pb::Event], trust: &VerifyKeys) {
    let mut before = [0_u8; 32];
    for (event, revision) in log.iter().zip(1..) {
        assert_eq!(event.cursor.expect("a cursor").revision, revision, "a gap before {event:?}");
        assert_eq!(event.prev_hash, &before[..], "event {revision} does not follow the one before");
        let hash = sha256(&[&before, &event.payload]);
        assert_eq!(event.hash, &hash[..], "event {revision} is not its hash");
        assert_eq!(event.seal_key_id, trust.seal_key.key_id());
        assert!(verify_event_signature(&hash, &event.seal, &trust.seal_key), "event {revision} is not sealed");
        audit_payload(event, revision, trust);
        if event.changes.is_empty() {
            assert_eq!(event.statement, "");
        } else {
            let statement = verify_statement(&event.statement, &trust.keys).expect("a statement");
            assert_eq!((statement.revision, statement.prev), (revision, before));
            assert_eq!(statement.reason_digest, digest_of(event.reason.as_bytes()));
            assert_eq!((statement.store, statement.actor), (trust.store.clone(), event.actor.clone()));
            let signed = statement.changes.iter().map(|each| {
                let digest = each.digest.as_ref().map(ToString::to_string).unwrap_or_default();
                (policy(each.policy.as_str()), each.version, digest, each.previous)
            });
            let received = event.changes.iter();
            let received =
                received.map(|each| (each.policy.clone(), each.version, each.digest.clone(), each.previous_version));
            assert_eq!(signed.collect::<Vec<_>>(), received.collect::<Vec<_>>());
        }
        before = hash;
    }
}

/// Checks that the fields of an event equal those of its payload, so that nothing is stated that was not hashed.
fn audit_payload(event: &pb::Event, revision: i64, trust: &VerifyKeys) {
    let payload: serde_json::Value = serde_json::from_slice(&event.payload).expect("JSON");
    let text = |name: &str| payload[name].as_str().unwrap_or_default().to_owned();
    assert_eq!((payload["revision"].as_i64(), text("store")), (Some(revision), trust.store.clone()));
    assert_eq!((text("actor"), text("reason")), (event.actor.clone(), event.reason.clone()));
    assert_eq!(format!("EVENT_KIND_{}", text("kind")), event.kind().as_str_name());
    assert_eq!(format!("namespaces/{}", text("namespace")), event.namespace);
    let about = if event.policy.is_empty() { String::new() } else { policy(&text("policy")) };
    assert_eq!(about, event.policy);
    let states = |list: &serde_json::Value| list.as_array().map_or(0, Vec::len);
    assert_eq!(
        (states(&payload["versions"]), states(&payload["changes"])),
        (event.versions.len(), event.changes.len())
    );
    let statement =
        if event.statement.is_empty() { String::new() } else { digest_of(event.statement.as_bytes()).to_string() };
    assert_eq!(text("statement_digest"), statement);
}

/// Makes one of each kind of event of a tenant's log.
async fn one_of_each(client: &Client) {
    crate::harness::calls::create(client, "p", pb::PolicyKind::Yaml, pb::PolicySettings::default()).await;
    draft(client, "p", "a: 1").await;
    client.stage(pb::StageRequest { name: policy("p"), ..Default::default() }).await.expect("a stage");
    client.publish(pb::PublishRequest { name: policy("p"), ..Default::default() }).await.expect("a publication");
    activate(client, "p", 1).await;
    release(client, "p", "a: 2").await;
    client.rollback(rollback_request("p", 0)).await.expect("a rollback");
    draft(client, "p", "a: 3").await;
    abandon(client, "p", 3).await;
    set(client, "p", pb::PolicySettings { max_open_drafts: 3, ..Default::default() }).await;
    deactivate(client, "p").await;
}

fn revisions(events: &[pb::Event]) -> Vec<i64> {
    events.iter().map(|event| event.cursor.expect("a cursor").revision).collect()
}

fn list(parent: String, page_size: i32) -> pb::ListEventsRequest {
    pb::ListEventsRequest { parent, page_size, ..Default::default() }
}

on_both_databases! {
    /// Given every kind of event, they are in one chain that an auditor can recompute up to the namespace's head.
    async fn the_chain_can_be_recomputed(hub: Hub) {
        let client = hub.client().await;
        one_of_each(&client).await;
        let log = events(&client, NAMESPACE, 0).await;
        audit(&log, &trust(&client).await);
        use pb::EventKind as K;
        let kinds: Vec<K> = log.iter().map(pb::Event::kind).collect();
        let expected = [
            K::CreatePolicy,
            K::Draft,
            K::Stage,
            K::Publish,
            K::Activate,
            K::Draft,
            K::Publish,
            K::Activate,
            K::Rollback,
            K::Draft,
            K::AbandonDraft,
            K::UpdatePolicy,
            K::Deactivate,
        ];
        assert_eq!(kinds, expected);
        assert!(log.iter().all(|event| event.actor == "local:admin" && event.time.is_some()));
        let request = pb::GetNamespaceRequest { name: NAMESPACE.to_owned() };
        let namespace = client.get_namespace(request).await.expect("a namespace").namespace.expect("a namespace");
        assert_eq!((namespace.head, namespace.head_hash), (log[12].cursor, log[12].hash.clone()));
        assert_eq!(log[1].versions[0].digest, get_version(&client, "p", 1).await.digest);
    }

    /// Given eight writers of twenty changes each, as many as have a connection to PostgreSQL, a concurrent reader never sees a gap, and the final chain verifies.
    async fn a_reader_never_sees_a_gap(hub: Hub) {
        const WRITERS: i64 = 8;
        const CHANGES: i64 = 20;
        let client = hub.client().await;
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let client = hub.client().await;
            writers.spawn(async move {
                for change in 0..CHANGES / 2 {
                    draft(&client, &format!("p{writer}"), &format!("a: {change}")).await;
                    abandon(&client, &format!("p{writer}"), change + 1).await;
                }
            });
        }
        let mut last = 0;
        while last < WRITERS * CHANGES {
            let request = pb::ListEventsRequest { after: Some(pb::Cursor::of_revision(last)), ..list(NAMESPACE.to_owned(), 7) };
            for event in client.list_events(request).await.expect("events").events {
                assert_eq!(event.cursor.expect("a cursor").revision, last + 1);
                last += 1;
            }
            while let Some(writer) = writers.try_join_next() {
                writer.expect("a writer that wrote everything");
            }
        }
        writers.join_all().await;
        let log = events(&client, NAMESPACE, 0).await;
        assert_eq!(log.len() as i64, WRITERS * CHANGES);
        audit(&log, &trust(&client).await);
    }

    /// The events about one policy include the activations of several policies that moved it.
    async fn a_policy_has_its_own_history(hub: Hub) {
        let client = hub.client().await;
        for id in ["a", "b", "c"] {
            publish(&client, id, "n: 1").await;
        }
        let target = |id: &str| pb::ActivateTarget { policy: id.to_owned(), to: Some(To::Version(1)), expected_active: None };
        let request = pb::ActivateRequest {
            parent: NAMESPACE.to_owned(),
            targets: vec![target("a"), target("b")],
            reason: "both".to_owned(),
            ..Default::default()
        };
        client.activate(request).await.expect("an activation");
        deactivate(&client, "b").await;
        assert_eq!(revisions(&events(&client, &policy("a"), 0).await), [1, 2, 7]);
        assert_eq!(revisions(&events(&client, &policy("b"), 0).await), [3, 4, 7, 8]);
        assert_eq!(revisions(&events(&client, &policy("c"), 0).await), [5, 6]);
        assert_eq!(revisions(&events(&client, &policy("b"), 4).await), [7, 8]);
        refused(client.list_events(list(policy("d"), 0)).await, Code::NotFound, "POLICY_NOT_FOUND");
    }

    /// Newest first and oldest first, page by page, with and without a cursor to start after.
    async fn both_orders_are_paged(hub: Hub) {
        let client = hub.client().await;
        for number in 1..=7 {
            draft(&client, "p", &format!("a: {number}")).await;
        }
        for (newest_first, after_revision, expected) in [
            (false, 0, vec![1, 2, 3, 4, 5, 6, 7]),
            (true, 0, vec![7, 6, 5, 4, 3, 2, 1]),
            (true, 3, vec![7, 6, 5, 4]),
            (false, 3, vec![4, 5, 6, 7]),
            (false, 7, vec![]),
            (true, 7, vec![]),
        ] {
            for parent in [NAMESPACE.to_owned(), policy("p")] {
                let order_by = if newest_first { "revision desc" } else { "" }.to_owned();
                let mut request = pb::ListEventsRequest { order_by, after: Some(pb::Cursor::of_revision(after_revision)), ..list(parent, 2) };
                let mut seen = Vec::new();
                loop {
                    let page = client.list_events(request.clone()).await.expect("a page");
                    assert!(page.events.len() <= 2);
                    seen.extend(revisions(&page.events));
                    if page.next_page_token.is_empty() {
                        break;
                    }
                    request.page_token = page.next_page_token;
                }
                assert_eq!(seen, expected, "newest first {newest_first}, after {after_revision}");
            }
        }
        let after = |revision| pb::ListEventsRequest {
            after: Some(pb::Cursor::of_revision(revision)),
            ..list(NAMESPACE.to_owned(), 2)
        };
        refused_fields(client.list_events(after(99)).await, &["after"]);
        refused_fields(
            client.list_events(after(-1)).await,
            &["after"],
        );
    }

    /// A filter by time includes an event at exactly that time, and none before.
    async fn events_since_a_time(hub: Hub) {
        let client = hub.client().await;
        for number in 1..=5 {
            draft(&client, "p", &format!("a: {number}")).await;
        }
        let log = events(&client, NAMESPACE, 0).await;
        let since = log[2].time.expect("a time");
        let filter = format!("time >= \"{since}\"");
        let request = pb::ListEventsRequest { filter, ..list(NAMESPACE.to_owned(), 0) };
        let found = client.list_events(request).await.expect("events").events;
        let at = |event: &pb::Event| event.time.map(|time| (time.seconds, time.nanos));
        let expected: Vec<pb::Event> =
            log.into_iter().filter(|event| at(event) >= Some((since.seconds, since.nanos))).collect();
        assert!(expected.len() >= 3);
        assert_eq!(found, expected);
        let filter = "time >= 99999-01-01T00:00:00Z".to_owned();
        let request = pb::ListEventsRequest { filter, ..list(NAMESPACE.to_owned(), 0) };
        refused_fields(client.list_events(request).await, &["filter"]);
    }

    /// The creation of a namespace is in the log of `system`, which is signed and chained like every other.
    async fn the_system_log_is_one_too(hub: Hub) {
        let client = hub.client().await;
        let request = pb::CreateNamespaceRequest { namespace_id: "team".to_owned(), ..Default::default() };
        let revision = client.create_namespace(request).await.expect("a namespace").cursor.revision();
        let log = events(&client, "namespaces/system", 0).await;
        audit(&log, &trust(&client).await);
        assert_eq!((log.len() as i64, log[log.len() - 1].kind()), (revision, pb::EventKind::CreateNamespace));
        assert_eq!(head(&client).await, 0, "a tenant's log holds its own changes alone");
        assert_eq!(events(&client, "namespaces/team", 0).await, []);
    }
}
