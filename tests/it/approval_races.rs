//! Concurrent approvals, publications and changes of a policy: the log must read as if they had run one after the other.

use std::collections::BTreeSet;
use std::sync::Arc;

use policyhub::client::{Client, pb};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::harness::calls::{NAMESPACE, Revision as _, events, head, policy, publish_request, refusal, version};
use crate::harness::on_both_databases;
use crate::harness::reviews::{approve, approvers, last_event, people, person, reviewed_policy, staged};

/// Checks that every publication in the log has enough approvals, of others than the author, since the policy's last change, and returns
/// the number of publications.
async fn check_log(client: &Client, required: usize) -> usize {
    let (mut given, mut published) = (BTreeSet::new(), 0);
    for event in events(client, NAMESPACE, 0).await {
        let about = event.versions.first().map(|change| change.version_name.clone()).unwrap_or_default();
        match event.kind() {
            pb::EventKind::UpdatePolicy => given.clear(),
            pb::EventKind::ApproveVersion => {
                given.insert((about, event.actor));
            }
            pb::EventKind::Publish => {
                let people: BTreeSet<String> =
                    given.iter().filter(|(version, _)| *version == about).map(|(_, actor)| actor.clone()).collect();
                assert!(people.len() >= required && !people.contains("local:ann"), "{about}: {people:?}");
                let payload: serde_json::Value = serde_json::from_slice(&event.payload).expect("JSON");
                let named = payload["approvals"].as_array().expect("approvals").iter();
                let named: BTreeSet<String> =
                    named.map(|each| each["approver"].as_str().expect("an approver").to_owned()).collect();
                assert_eq!(named, people, "{about}");
                published += 1;
            }
            _ => {}
        }
    }
    published
}

on_both_databases! {
    /// Given sixteen concurrent approvals, there are sixteen events, and the publication names all of them.
    async fn sixteen_approve_at_once(hub: Hub) {
        let [admin, ann] = people(&hub, ["admin", "ann"]).await;
        reviewed_policy(&admin, "p", 16).await;
        let reviewed = staged(&ann, "p", "a: 1").await;
        let at = head(&admin).await;
        let barrier = Arc::new(Barrier::new(16));
        let mut reviewers = JoinSet::new();
        for index in 0..16 {
            let (client, barrier, reviewed) = (person(&hub, &format!("r{index}")).await, barrier.clone(), reviewed.clone());
            reviewers.spawn(async move {
                barrier.wait().await;
                approve(&client, &reviewed).await.expect("an approval").cursor.revision()
            });
        }
        let mut revisions = reviewers.join_all().await;
        revisions.sort_unstable();
        assert_eq!(revisions, (at + 1..=at + 16).collect::<Vec<_>>());
        assert_eq!(approvers(&admin, "p", 1).await.len(), 16);
        ann.publish(publish_request("p", 1)).await.expect("a publication");
        assert_eq!((last_event(&admin).await.1.len(), check_log(&admin, 16).await), (16, 1));
    }

    /// Given one who publishes, one who approves and one who changes the policy, the log is consistent whichever comes first.
    async fn approve_races_publish_races_update(hub: Hub) {
        const ROUNDS: i64 = 12;
        let [admin, ann, bob, cat] = people(&hub, ["admin", "ann", "bob", "cat"]).await;
        reviewed_policy(&admin, "p", 2).await;
        for round in 1..=ROUNDS {
            let reviewed = staged(&ann, "p", &format!("a: {round}")).await;
            approve(&bob, &reviewed).await.expect("an approval");
            let barrier = Arc::new(Barrier::new(4));
            let mut racers: JoinSet<Option<String>> = JoinSet::new();
            let late = (cat.clone(), barrier.clone(), reviewed.clone());
            racers.spawn(async move {
                late.1.wait().await;
                approve(&late.0, &late.2).await.err().map(|error| refusal::<()>(Err(error)).reason().to_owned())
            });
            for publisher in [&ann, &bob] {
                let (client, barrier) = (publisher.clone(), barrier.clone());
                racers.spawn(async move {
                    barrier.wait().await;
                    let answer = client.publish(publish_request("p", round)).await;
                    answer.err().map(|error| refusal::<()>(Err(error)).reason().to_owned())
                });
            }
            let (client, barrier) = (admin.clone(), barrier.clone());
            racers.spawn(async move {
                barrier.wait().await;
                // Only in every second round, because otherwise hardly anything would be published.
                if round % 2 == 0 {
                    let description = format!("round {round}");
                    let policy = Some(pb::Policy { name: policy("p"), description, ..Default::default() });
                    let update_mask = Some(prost_types::FieldMask { paths: vec!["description".to_owned()] });
                    let request = pb::UpdatePolicyRequest { policy, update_mask, ..Default::default() };
                    client.update_policy(request).await.expect("a change");
                }
                None
            });
            for word in racers.join_all().await.into_iter().flatten() {
                let known = ["APPROVALS_MISSING", "CONCURRENT_CHANGE", "VERSION_NOT_OPEN"];
                assert!(known.contains(&word.as_str()), "{word}");
            }
            // A version that stayed open is approved by everybody who may, and then it must be published.
            for client in [&bob, &cat] {
                let open = approve(client, &reviewed).await.err().map(|error| error.reason().to_owned());
                assert!(open.as_deref().is_none_or(|word| word == "VERSION_NOT_OPEN"), "{open:?}");
            }
            let last = ann.publish(publish_request("p", round)).await.err().map(|error| error.reason().to_owned());
            assert!(last.as_deref().is_none_or(|word| word == "VERSION_NOT_OPEN"), "{} {last:?}", version("p", round));
        }
        assert_eq!(check_log(&admin, 2).await as i64, ROUNDS, "each version was published once");
    }
}
