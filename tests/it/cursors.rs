//! A cursor names one event: the cursor of an answer can be sent back, and it is refused where another event is at that revision.

use policyhub::client::pb;
use policyhub::client::pb::get_active_request::At;
use tonic::Code;

use crate::harness::calls::{
    NAMESPACE, activate, draft, draft_of_its_kind, draft_request, events, get, get_version, policy, publish_request,
    refused, refused_fields, release, try_activate, version,
};
use crate::harness::on_both_databases;

/// Returns the cursor of an event of the log.
fn cursor_of(event: &pb::Event) -> pb::Cursor {
    let first_bytes: [u8; 8] = event.hash[..8].try_into().expect("a hash");
    pb::Cursor { fingerprint: u64::from_be_bytes(first_bytes), ..event.cursor.expect("a cursor") }
}

fn of_another_event(cursor: pb::Cursor) -> pb::Cursor {
    pb::Cursor { fingerprint: cursor.fingerprint ^ 1, ..cursor }
}

on_both_databases! {
    /// The answer of a mutation, and the policy whose pointer it moved, have the cursor of the event in the log.
    async fn mutations_answer_with_the_cursor_of_their_event(hub: Hub) {
        let client = hub.client().await;
        let drafted = client.draft(draft_request("p", "a: 1")).await.expect("a draft");
        let published = client.publish(publish_request("p", 1)).await.expect("a publication");
        let moved = try_activate(&client, "p", 1, None).await.expect("an activation");
        let log: Vec<pb::Cursor> = events(&client, NAMESPACE, 0).await.iter().map(cursor_of).collect();
        assert_eq!([drafted.cursor, published.cursor, moved.cursor].map(|cursor| cursor.expect("a cursor")), log[..]);
        assert_eq!(get(&client, "p").await.activation, moved.cursor);
        let listed = client
            .list_policies(pb::ListPoliciesRequest { parent: NAMESPACE.to_owned(), ..Default::default() })
            .await
            .expect("policies");
        assert_eq!(listed.policies[0].activation, moved.cursor);
        // A call that changes nothing has no cursor.
        let rehearsed = client.publish(pb::PublishRequest { validate_only: true, ..publish_request("q", 1) }).await;
        refused(rehearsed, Code::NotFound, "POLICY_NOT_FOUND");
        draft(&client, "q", "a: 1").await;
        let rehearsed = client.publish(pb::PublishRequest { validate_only: true, ..publish_request("q", 1) }).await;
        assert_eq!(rehearsed.expect("an answer").cursor, None);
        assert_eq!(get(&client, "q").await.activation, None);
    }

    /// Given a cursor of another history of the store, every request that takes one is refused.
    async fn a_cursor_of_another_event_is_refused(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        let log = events(&client, NAMESPACE, 0).await;
        let last = cursor_of(log.last().expect("an event"));
        let active = |at: pb::Cursor| {
            client.get_active(pb::GetActiveRequest { name: policy("p"), at: Some(At::Cursor(at)), ..Default::default() })
        };
        let set = |at: pb::Cursor| {
            let at = Some(pb::list_active_request::At::Cursor(at));
            client.list_active(pb::ListActiveRequest { parent: NAMESPACE.to_owned(), at, ..Default::default() })
        };
        let after = |at: pb::Cursor| {
            client.list_events(pb::ListEventsRequest {
                parent: NAMESPACE.to_owned(),
                after: Some(at),
                ..Default::default()
            })
        };
        assert_eq!(active(last).await.expect("a policy").cursor, Some(last));
        assert_eq!(set(last).await.expect("a set").cursor, Some(last));
        assert!(after(last).await.expect("events").events.is_empty());
        let other = of_another_event(last);
        refused(active(other).await, Code::OutOfRange, "RESUME_POINT_GONE");
        refused(set(other).await, Code::OutOfRange, "RESUME_POINT_GONE");
        refused(after(other).await, Code::OutOfRange, "RESUME_POINT_GONE");
        for wrong in [pb::Cursor { epoch: last.epoch + 1, ..last }, pb::Cursor { revision: last.revision + 1, ..last }] {
            refused_fields(active(wrong).await, &["cursor"]);
            refused_fields(set(wrong).await, &["cursor"]);
            refused_fields(after(wrong).await, &["after"]);
        }
    }

    /// Publish with `activate` detects a concurrent operator as Activate does.
    async fn publish_compares_what_is_active(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        let drafted = client.draft(draft_of_its_kind("p", "a: 2")).await.expect("a draft").version.expect("a version");
        let request = |expected_active| pb::PublishRequest {
            activate: true,
            reason: "reviewed".to_owned(),
            expected_active,
            ..publish_request("p", drafted.version)
        };
        for wrong in [0, 2] {
            let error =
                refused(client.publish(request(Some(wrong))).await, Code::Aborted, "EXPECTED_ACTIVE_MISMATCH");
            assert_eq!(error.metadata()["current_active"], "1", "{error:?}");
        }
        assert_eq!(get_version(&client, "p", 2).await.state(), pb::VersionState::Draft);
        let without = pb::PublishRequest { activate: false, ..request(Some(1)) };
        refused_fields(client.publish(without).await, &["expected_active"]);
        let done = client.publish(request(Some(1))).await.expect("a publication");
        assert_eq!(done.version.expect("a version").name, version("p", 2));
        activate(&client, "p", 1).await;
    }
}
