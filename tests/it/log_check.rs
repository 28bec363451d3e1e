//! VerifyLog as a stream: it reports its progress, begins where it is asked to, and names events by their cursors.

use policyhub::client::{Client, pb};
use tonic::Code;

use crate::harness::calls::{NAMESPACE, draft, events, refused, release};
use crate::harness::{Hub, on_both_databases};

fn request(after: Option<pb::Cursor>) -> pb::VerifyLogRequest {
    pb::VerifyLogRequest { parent: NAMESPACE.to_owned(), after }
}

/// Returns the cursor of the event at a revision.
async fn at(client: &Client, revision: i64) -> pb::Cursor {
    let event = events(client, NAMESPACE, revision - 1).await.into_iter().next().expect("an event");
    let fingerprint = u64::from_be_bytes(event.hash[..8].try_into().expect("a hash"));
    pb::Cursor { fingerprint, ..event.cursor.expect("a cursor") }
}

on_both_databases! {
    async fn a_check_says_how_far_it_is(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        let mut received = Vec::new();
        let verdict = client.verify_log_with(request(None), |progress| received.push(*progress)).await.expect("a verdict");
        assert!(verdict.valid && verdict.events == 3, "{verdict:?}");
        let first = received.first().expect("at least how it began");
        assert!(first.phase() != pb::VerifyLogPhase::Unspecified && first.events <= 3, "{first:?}");
        assert_eq!(verdict.head, Some(at(&client, 3).await), "with its fingerprint");
    }

    /// Given an epoch or a fingerprint that is not that of the event, the check does not begin.
    async fn a_check_begins_after_the_event_that_is_named(hub: Hub) {
        let client = hub.client().await;
        for number in 0..4 {
            draft(&client, "p", &format!("a: {number}")).await;
        }
        let second = at(&client, 2).await;
        let without = pb::Cursor { fingerprint: 0, ..second };
        for cursor in [second, without, pb::Cursor { epoch: 0, ..without }] {
            let rest = client.verify_log(request(Some(cursor))).await.expect("a verdict");
            assert!(rest.valid && rest.events == 2 && rest.rows == 0, "{rest:?}");
        }
        let other = pb::Cursor { fingerprint: second.fingerprint ^ 1, ..second };
        refused(client.verify_log(request(Some(other))).await, Code::OutOfRange, "RESUME_POINT_GONE");
        for wrong in [pb::Cursor { epoch: 9, ..without }, pb::Cursor { revision: -1, ..without }, pb::Cursor { revision: 9, ..without }] {
            refused(client.verify_log(request(Some(wrong))).await, Code::InvalidArgument, "INVALID_ARGUMENT");
        }
    }

    /// A broken event is named by the cursor that is stored in its row.
    async fn a_broken_event_is_named_by_its_cursor(hub: Hub) {
        let client = hub.client().await;
        for number in 0..3 {
            draft(&client, "p", &format!("a: {number}")).await;
        }
        let second = at(&client, 2).await;
        off(&hub, "UPDATE events SET statement = 'x' WHERE namespace = 'default' AND revision = 2");
        let verdict = client.verify_log(request(None)).await.expect("a verdict");
        assert!(!verdict.valid && verdict.broken == Some(second), "{verdict:?}");
        assert!(verdict.findings.iter().any(|found| found.cursor == Some(second)), "{verdict:?}");
        off(&hub, "DELETE FROM events WHERE namespace = 'default' AND revision = 2");
        let verdict = client.verify_log(request(None)).await.expect("a verdict");
        let absent = |found: &pb::LogFinding| found.cursor.is_some_and(|cursor| cursor.epoch == 0 && cursor.revision == 2);
        let at_third = |found: &pb::LogFinding| found.cursor.is_some_and(|cursor| cursor.epoch == 1 && cursor.revision == 3);
        assert!(verdict.findings.iter().any(|found| absent(found) || at_third(found)), "{verdict:?}");
    }
}

/// Makes a change that triggers would refuse.
pub fn off(hub: &Hub, sql: &str) {
    if hub.database_url.starts_with("sqlite") {
        for name in hub.tamper("SELECT name FROM sqlite_master WHERE type = 'trigger'").lines() {
            hub.tamper(&format!("DROP TRIGGER {name}"));
        }
        hub.tamper(sql);
    } else {
        hub.tamper(&format!("SET session_replication_role = replica; {sql}"));
    }
}
