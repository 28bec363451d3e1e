//! The example states of a policy's lifecycle, the numbers of its versions, and what each state permits.

use policyhub::client::pb;
use policyhub::client::pb::VersionState::{Abandoned, Draft, Published, Staged, Superseded};
use tonic::Code;

use crate::harness::calls::{
    NAMESPACE, abandon, activate, active, create, draft, draft_request, events, get, get_version, head, policy,
    publish, publish_request, reason, release, rollback_request, try_activate, version,
};
use crate::harness::on_both_databases;

/// Returns what a reader of the policy sees: active, latest, and the states of all versions from 1.
async fn seen(client: &policyhub::client::Client, id: &str) -> (i64, i64, Vec<pb::VersionState>) {
    let request = pb::ListVersionsRequest { parent: policy(id), ..Default::default() };
    let mut versions = client.list_versions(request).await.expect("versions").versions;
    versions.reverse();
    let found = get(client, id).await;
    let flags: Vec<i64> = versions.iter().filter(|each| each.active).map(|each| each.version).collect();
    assert_eq!(flags, if found.active_version == 0 { vec![] } else { vec![found.active_version] });
    (found.active_version, found.latest_version, versions.iter().map(pb::Version::state).collect())
}

/// Publishes an existing draft.
async fn publish_number(client: &policyhub::client::Client, id: &str, number: i64) {
    client.publish(publish_request(id, number)).await.expect("a publication");
}

on_both_databases! {
    /// docs/lifecycle.md: nothing → draft v1 → v1 active → draft v2 → v2 active → draft v3 → back to v1.
    async fn worked_states(hub: Hub) {
        let client = hub.client().await;
        create(&client, "p", pb::PolicyKind::Yaml, pb::PolicySettings::default()).await;
        assert_eq!(seen(&client, "p").await, (0, 0, vec![]));
        let request = pb::GetActiveRequest { name: policy("p"), ..Default::default() };
        assert_eq!(reason(client.get_active(request).await), "NO_ACTIVE_VERSION");

        draft(&client, "p", "a: 1").await;
        assert_eq!(seen(&client, "p").await, (0, 1, vec![Draft]));
        publish_number(&client, "p", 1).await;
        assert_eq!(seen(&client, "p").await, (0, 1, vec![Published]));
        activate(&client, "p", 1).await;
        assert_eq!(seen(&client, "p").await, (1, 1, vec![Published]));

        draft(&client, "p", "a: 2").await;
        assert_eq!(seen(&client, "p").await, (1, 2, vec![Published, Draft]));
        publish_number(&client, "p", 2).await;
        activate(&client, "p", 2).await;
        assert_eq!(seen(&client, "p").await, (2, 2, vec![Published, Published]));

        draft(&client, "p", "a: 3").await;
        let before = (get_version(&client, "p", 2).await, get_version(&client, "p", 3).await);
        let back = client.rollback(rollback_request("p", 1)).await.expect("a rollback");
        assert_eq!(back.version.expect("a version").version, 1);
        assert_eq!(seen(&client, "p").await, (1, 3, vec![Published, Published, Draft]));

        let (mut two, three) = (get_version(&client, "p", 2).await, get_version(&client, "p", 3).await);
        assert!(before.0.active && !two.active);
        two.active = true;
        assert_eq!((two, three), before, "a rollback touches nothing but the pointer");

        let kinds: Vec<pb::EventKind> = events(&client, NAMESPACE, 0).await.iter().map(pb::Event::kind).collect();
        use pb::EventKind as K;
        let expected = [
            K::CreatePolicy,
            K::Draft,
            K::Publish,
            K::Activate,
            K::Draft,
            K::Publish,
            K::Activate,
            K::Draft,
            K::Rollback,
        ];
        assert_eq!(kinds, expected, "one change, one event");
    }

    /// Rule 1: nothing → 1; published 3 → 4; published 2 and draft 5 → 6; numbers are never used again.
    async fn numbers_follow_the_highest_ever_used(hub: Hub) {
        let client = hub.client().await;
        assert_eq!(draft(&client, "nothing", "a: 1").await.version, 1);

        for content in ["a: 1", "a: 2", "a: 3"] {
            publish(&client, "published-3", content).await;
        }
        assert_eq!(draft(&client, "published-3", "a: 4").await.version, 4);

        for content in ["a: 1", "a: 2"] {
            publish(&client, "mixed", content).await;
        }
        for (number, content) in [(3, "a: 3"), (4, "a: 4")] {
            assert_eq!(draft(&client, "mixed", content).await.version, number);
            abandon(&client, "mixed", number).await;
        }
        assert_eq!(draft(&client, "mixed", "a: 5").await.version, 5);
        assert_eq!(seen(&client, "mixed").await, (0, 5, vec![Published, Published, Abandoned, Abandoned, Draft]));
        assert_eq!(draft(&client, "mixed", "a: 6").await.version, 6);

        abandon(&client, "mixed", 6).await;
        assert_eq!(draft(&client, "mixed", "a: 6").await.version, 7, "an ended number is not used again");
        release(&client, "mixed", "a: 8").await;
        assert_eq!(active(&client, "mixed").await, 8);
        let forward =
            pb::RollbackRequest { mode: pb::RollbackMode::CopyForward.into(), ..rollback_request("mixed", 1) };
        let forward = client.rollback(forward).await.expect("a rollback").version.expect("a version");
        assert_eq!((forward.version, forward.source_version), (9, 1));
    }

    /// Given many concurrent authors, the numbers are 1 to n, each once.
    async fn numbers_are_unique_under_concurrency(hub: Hub) {
        const AUTHORS: i64 = 32;
        let client = hub.client().await;
        let mut authors = tokio::task::JoinSet::new();
        for author in 0..AUTHORS {
            let client = hub.client().await;
            authors.spawn(async move { draft(&client, "p", &format!("author: {author}")).await });
        }
        let mut drafts = authors.join_all().await;
        drafts.sort_by_key(|each| each.version);
        assert_eq!(drafts.iter().map(|each| each.version).collect::<Vec<_>>(), (1..=AUTHORS).collect::<Vec<_>>());
        assert_eq!(head(&client).await, AUTHORS);
        for each in drafts {
            let kept = get_version(&client, "p", each.version).await;
            assert_eq!((kept.digest, kept.size_bytes), (each.digest, each.size_bytes), "{}", each.name);
        }
    }

    /// Given each state and each verb, the verb works or is refused with the reason. A refusal changes nothing.
    async fn each_state_allows_what_it_allows(hub: Hub) {
        let client = hub.client().await;
        let states = ["draft", "staged", "published", "superseded", "abandoned"];
        for (state, expected) in states.into_iter().zip([Draft, Staged, Published, Superseded, Abandoned]) {
            let settings = pb::PolicySettings { max_open_drafts: 1, ..Default::default() };
            create(&client, state, pb::PolicyKind::Yaml, settings).await;
            draft(&client, state, "a: 1").await;
            match expected {
                Staged => {
                    let request = pb::StageRequest { name: version(state, 1), ..Default::default() };
                    client.stage(request).await.map(|_| ()).expect("a stage");
                }
                Published => publish_number(&client, state, 1).await,
                Superseded => draft(&client, state, "a: 2").await.version.eq(&2).then_some(()).expect("version 2"),
                Abandoned => abandon(&client, state, 1).await.version.eq(&1).then_some(()).expect("version 1"),
                _ => {}
            }
            assert_eq!(get_version(&client, state, 1).await.state(), expected);
            let (at, is_open) = (head(&client).await, matches!(expected, Draft | Staged));
            let stage = pb::StageRequest { name: version(state, 1), validate_only: true, ..Default::default() };
            let publish = pb::PublishRequest { validate_only: true, ..publish_request(state, 1) };
            let abandon =
                pb::AbandonDraftRequest { name: version(state, 1), validate_only: true, ..Default::default() };
            let answers = [
                ("stage", client.stage(stage).await.map(|_| ())),
                ("publish", client.publish(publish).await.map(|_| ())),
                ("abandon", client.abandon_draft(abandon).await.map(|_| ())),
            ];
            for (verb, answer) in answers {
                match answer {
                    Ok(()) => assert!(is_open, "{verb} of a {state} version"),
                    Err(error) => {
                        assert!(!is_open, "{verb} of a {state} version: {error:?}");
                        assert_eq!((error.code(), error.reason()), (Code::FailedPrecondition, "VERSION_NOT_OPEN"));
                        assert_eq!(error.metadata()["state"], state.to_uppercase());
                    }
                }
            }
            assert_eq!(head(&client).await, at, "{state}");
            if expected != Published {
                assert_eq!(reason(try_activate(&client, state, 1, None).await), "VERSION_NOT_PUBLISHED");
                assert_eq!(reason(client.rollback(rollback_request(state, 1)).await), "VERSION_NOT_PUBLISHED");
            }
            assert_eq!((head(&client).await, active(&client, state).await), (at, 0), "{state}");
        }
    }

    /// An etag lets a caller act only on exactly the state that was read.
    async fn an_etag_holds_for_one_state(hub: Hub) {
        let client = hub.client().await;
        let drafted = draft(&client, "p", "a: 1").await;
        let request = pb::StageRequest { name: drafted.name.clone(), etag: drafted.etag.clone(), ..Default::default() };
        let staged = client.stage(request).await.expect("a stage").version.expect("a version");
        assert_ne!(staged.etag, drafted.etag);
        let stale = pb::PublishRequest { etag: drafted.etag.clone(), ..publish_request("p", 1) };
        assert_eq!(reason(client.publish(stale).await), "ETAG_MISMATCH");
        let fresh = pb::PublishRequest { etag: staged.etag, ..publish_request("p", 1) };
        client.publish(fresh).await.expect("a publication");
        let again = client.draft(draft_request("p", "a: 2")).await.expect("a draft");
        assert_eq!(again.version.expect("a version").version, 2);
    }
}
