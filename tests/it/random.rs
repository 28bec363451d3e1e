//! Two hundred random calls, and after each the invariants, checked through the API.
//!
//! `POLICYHUB_SEED` chooses another run; a failure prints the seed.

use policyhub::client::{Client, ClientError, pb};
use tonic::Code;

use crate::harness::calls::{
    NAMESPACE, Revision as _, create, draft_request, events, get, get_version, policy, publish_request,
    rollback_request, try_activate, version,
};
use crate::harness::on_both_databases;
use crate::harness::random::Random;

const OPERATIONS: usize = 200;
const POLICIES: [&str; 3] = ["a", "b", "c"];

/// Prints the seed when the test fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("again with POLICYHUB_SEED={}", self.0);
        }
    }
}

/// The expected state after the accepted calls.
#[derive(Default)]
struct Model {
    revision: i64,
    latest: [i64; 3],
    active: [i64; 3],
    /// The versions of each policy as last seen: number, state, digest.
    versions: [Vec<(i64, pb::VersionState, String)>; 3],
}

/// Makes a random call and returns its revision and, when it moved a pointer, the new version.
async fn call(client: &Client, random: &mut Random, id: &str) -> Result<(i64, Option<i64>), ClientError> {
    let number = random.below(8) + 1;
    let (name, etag) = (version(id, number), String::new());
    let reason = "a random call".to_owned();
    let moved = |activation: Option<pb::ActivationSummary>| activation.map(|each| each.changes[0].version);
    Ok(match random.below(10) {
        0..=2 => {
            let content = if random.below(6) == 0 { "a: [".to_owned() } else { format!("a: {}", random.below(4)) };
            let label = if random.below(4) == 0 { format!("1.0.{}", random.below(9)) } else { String::new() };
            let request = pb::DraftRequest { label, ..draft_request(id, &content) };
            (client.draft(request).await?.cursor.revision(), None)
        }
        3 => (client.stage(pb::StageRequest { name, etag, ..Default::default() }).await?.cursor.revision(), None),
        4 => {
            let request = pb::AbandonDraftRequest { name, reason, ..Default::default() };
            (client.abandon_draft(request).await?.cursor.revision(), None)
        }
        5 => (client.publish(publish_request(id, number)).await?.cursor.revision(), None),
        6 => {
            let request = pb::PublishRequest { activate: true, reason, ..publish_request(id, number) };
            let answer = client.publish(request).await?;
            (answer.cursor.revision(), moved(answer.activation))
        }
        7 => {
            let expected = (random.below(2) == 0).then(|| random.below(4));
            let answer = try_activate(client, id, number, expected).await?;
            (answer.cursor.revision(), moved(answer.activation))
        }
        8 => {
            let mode = random.below(3) as i32;
            let asked = if random.below(2) == 0 { 0 } else { number };
            let answer = client.rollback(pb::RollbackRequest { mode, ..rollback_request(id, asked) }).await?;
            (answer.cursor.revision(), moved(answer.activation))
        }
        _ => {
            let request = pb::DeactivateRequest { name: policy(id), reason, ..Default::default() };
            let answer = client.deactivate(request).await?;
            (answer.cursor.revision(), moved(answer.activation))
        }
    })
}

async fn list(client: &Client, id: &str) -> Vec<pb::Version> {
    let request = pb::ListVersionsRequest { parent: policy(id), page_size: 1_000, ..Default::default() };
    let mut versions = client.list_versions(request).await.expect("versions").versions;
    versions.reverse();
    versions
}

/// Checks the invariants of one policy after a call.
async fn check(client: &Client, index: usize, model: &mut Model) {
    use pb::VersionState::{Abandoned, Draft, Published, Staged, Superseded};
    let (id, found) = (POLICIES[index], list(client, POLICIES[index]).await);
    let now = get(client, id).await;
    assert_eq!(now.active_version, model.active[index], "the pointer of {id}");
    assert!(now.latest_version >= model.latest[index], "{id} forgot a number");
    let numbers: Vec<i64> = found.iter().map(|each| each.version).collect();
    assert_eq!(numbers, (1..=now.latest_version).collect::<Vec<_>>(), "{id} has a gap in its numbers");
    for (before, after) in model.versions[index].iter().zip(&found) {
        assert_eq!((before.0, &before.2), (after.version, &after.digest), "{} is other content now", after.name);
        let may = match before.1 {
            Draft => true,
            Staged => after.state() != Draft,
            ended => after.state() == ended,
        };
        assert!(may, "{} went from {:?} to {:?}", after.name, before.1, after.state());
    }
    for each in &found {
        assert_eq!(each.state() == Published, !each.manifest.is_empty(), "{}: {:?}", each.name, each.state());
        assert_eq!(each.active, each.version == now.active_version, "{}", each.name);
        assert!(!each.active || each.state() == Published, "{} is active and {:?}", each.name, each.state());
        assert!([Draft, Staged, Published, Superseded, Abandoned].contains(&each.state()));
    }
    let open = found.iter().filter(|each| [Draft, Staged].contains(&each.state())).count();
    assert!(index != 1 || open <= 1, "b takes one draft, and has {open}");
    let mut labels: Vec<&str> = found
        .iter()
        .filter(|each| [Draft, Staged, Published].contains(&each.state()) && !each.label.is_empty())
        .map(|each| each.label.as_str())
        .collect();
    let count = labels.len();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), count, "{id} has a label twice");
    model.latest[index] = now.latest_version;
    model.versions[index] = found.into_iter().map(|each| (each.version, each.state(), each.digest)).collect();
}

/// Checks that the replayed log ends in the state that the API shows.
async fn check_log(client: &Client, model: &Model) {
    let log = events(client, NAMESPACE, 0).await;
    assert_eq!(log.len() as i64, model.revision);
    let (mut active, mut states) = ([0; 3], std::collections::BTreeMap::new());
    for (event, revision) in log.iter().zip(1..) {
        assert_eq!(event.cursor.expect("a cursor").revision, revision);
        for change in &event.changes {
            let index = POLICIES.iter().position(|id| policy(id) == change.policy).expect("a policy");
            assert_eq!(change.previous_version, active[index], "revision {revision}");
            active[index] = change.version;
        }
        states.extend(event.versions.iter().map(|change| (change.version_name.clone(), change.state())));
    }
    assert_eq!(active, model.active, "the pointers of the log");
    for (index, id) in POLICIES.iter().enumerate() {
        for (number, state, digest) in &model.versions[index] {
            assert_eq!(states.get(&version(id, number)), Some(state), "{id} {number}");
            assert_eq!(&get_version(client, id, number).await.digest, digest);
        }
    }
}

on_both_databases! {
    /// Given policies a, b (one open draft) and c (two), the invariants hold after each of two hundred calls.
    async fn what_always_holds(hub: Hub) {
        let seed = std::env::var("POLICYHUB_SEED").ok().map_or(20_260_701, |text| text.parse().expect("a number"));
        let (seed, client) = (Seed(seed), hub.client().await);
        let mut random = Random::new(seed.0);
        for (id, max_open_drafts) in POLICIES.into_iter().zip(0..) {
            let settings = pb::PolicySettings { max_open_drafts, ..Default::default() };
            create(&client, id, pb::PolicyKind::Yaml, settings).await;
        }
        let (mut model, mut accepted) = (Model { revision: 3, ..Model::default() }, 0);
        for _ in 0..OPERATIONS {
            let index = random.below(3) as usize;
            match call(&client, &mut random, POLICIES[index]).await {
                Ok((0, _)) => {}
                Ok((revision, moved)) => {
                    accepted += 1;
                    model.revision += 1;
                    assert_eq!(revision, model.revision, "an accepted call is exactly one event");
                    model.active[index] = moved.unwrap_or(model.active[index]);
                }
                Err(error) => {
                    let codes = [
                        Code::InvalidArgument,
                        Code::NotFound,
                        Code::AlreadyExists,
                        Code::FailedPrecondition,
                        Code::Aborted,
                        Code::ResourceExhausted,
                    ];
                    assert!(codes.contains(&error.code()), "{error:?}");
                }
            }
            check(&client, index, &mut model).await;
        }
        check_log(&client, &model).await;
        let (kept, real) = crate::quotas::counted(&hub);
        assert_eq!(kept, real, "policies, versions and bytes of the namespace are not what it counted");
        assert!(accepted > OPERATIONS / 5, "only {accepted} calls were accepted: this run proves little");
    }
}
