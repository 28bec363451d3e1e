//! Deactivate: the pointer is removed, and watches receive it.

use policyhub::client::pb;
use policyhub::client::pb::watch_active_response::Message;
use policyhub::client::signing::verify_statement;
use tonic::Code;

use crate::harness::calls::{
    NAMESPACE, Revision as _, activate, active, deactivate, events, get, get_version, head, policy, refused,
    refused_fields, release, trust,
};
use crate::harness::{on_both_databases, watching};

fn request(expected_active: Option<i64>) -> pb::DeactivateRequest {
    pb::DeactivateRequest {
        name: policy("p"),
        expected_active,
        reason: "it must stop".to_owned(),
        ..Default::default()
    }
}

on_both_databases! {
    /// There is one event, with a statement that points to nothing; the version itself does not change.
    async fn the_pointer_is_removed(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        let (at, before) = (head(&client).await, get_version(&client, "p", 1).await);
        let answer = client.deactivate(request(Some(1))).await.expect("a deactivation");
        let policy_now = answer.policy.expect("a policy");
        assert_eq!((answer.cursor.revision(), policy_now.active_version, policy_now.activation.revision()), (at + 1, 0, at + 1));
        assert_eq!(get(&client, "p").await, policy_now);
        let log = events(&client, NAMESPACE, at).await;
        let [event] = log.as_slice() else { panic!("{log:?}") };
        assert_eq!((event.kind(), event.reason.as_str()), (pb::EventKind::Deactivate, "it must stop"));
        let change = &event.changes[0];
        assert_eq!((change.version, change.digest.as_str(), change.previous_version), (0, "", 1));
        let statement = verify_statement(&event.statement, &trust(&client).await.keys).expect("a statement");
        assert_eq!((statement.kind.as_str(), statement.changes[0].version), ("DEACTIVATE", 0));
        assert_eq!(statement.changes[0].digest, None);
        let one = pb::GetActiveRequest { name: policy("p"), ..Default::default() };
        refused(client.get_active(one).await, Code::FailedPrecondition, "NO_ACTIVE_VERSION");
        assert_eq!(get_version(&client, "p", 1).await, pb::Version { active: false, ..before });
        activate(&client, "p", 1).await;
        assert_eq!(active(&client, "p").await, 1, "and back");
    }

    /// A watch receives a tombstone.
    async fn a_watch_hears_of_it(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        let mut stream = watching::raw(&client, None).await.expect("a stream");
        let first = stream.message().await.expect("a message").expect("a message").message;
        assert!(matches!(&first, Some(Message::Snapshot(snapshot)) if snapshot.bundles.len() == 1), "{first:?}");
        let revision = deactivate(&client, "p").await;
        loop {
            match stream.message().await.expect("a message").expect("a message").message {
                Some(Message::Heartbeat(_)) => {}
                Some(Message::Activation(activation)) => {
                    assert_eq!((activation.tombstones, activation.bundles), (vec![policy("p")], vec![]));
                    assert_eq!(activation.cursor.expect("a cursor").revision, revision);
                    return;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Given nothing to remove, another active version, no reason, or validate_only, the pointer stays.
    async fn what_is_refused_changes_nothing(hub: Hub) {
        let client = hub.client().await;
        refused(client.deactivate(request(None)).await, Code::NotFound, "POLICY_NOT_FOUND");
        crate::harness::calls::publish(&client, "p", "a: 1").await;
        refused(client.deactivate(request(None)).await, Code::FailedPrecondition, "NO_ACTIVE_VERSION");
        refused(client.deactivate(request(Some(0))).await, Code::FailedPrecondition, "NO_ACTIVE_VERSION");
        activate(&client, "p", 1).await;
        let at = head(&client).await;
        let error = refused(client.deactivate(request(Some(2))).await, Code::Aborted, "EXPECTED_ACTIVE_MISMATCH");
        assert_eq!((error.metadata()["current_active"].as_str(), error.metadata()["expected_active"].as_str()), ("1", "2"));
        let without = pb::DeactivateRequest { reason: "\n ".to_owned(), ..request(None) };
        refused_fields(client.deactivate(without).await, &["reason"]);
        let rehearsal = pb::DeactivateRequest { validate_only: true, ..request(Some(1)) };
        let answer = client.deactivate(rehearsal).await.expect("an answer");
        assert_eq!((answer.policy.expect("a policy").active_version, answer.cursor.revision()), (0, 0));
        assert_eq!((head(&client).await, active(&client, "p").await), (at, 1));
    }
}
